//! Which kernel type, field or value corresponds to the object's, and what is asked of it.
//!
//! **Invariant**: recursion through the types has a [`Budget`].

use super::compat::{Budget, compatible, fields_compatible};
use super::spec::{Spec, Step, bits};
use super::{FieldSizes, RelocErrorKind, RelocKind, Resolution};
use crate::btf::kernel::essential;
use crate::btf::{Btf, BtfError, Kind, Member, TypeId, TypeView};
use std::ops::Deref;

/// What in the kernel corresponds to a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matched {
    root: TypeId,
    bit_offset: u64,
    leaf: TypeId,
    /// The last named member, when nothing follows it.
    member: Option<Member>,
    /// The enumerator's value.
    value: u64,
}

/// Follows `spec` from the kernel's type `candidate`; `None` when it does not correspond.
pub(super) fn find<L, K>(
    local: &Btf<L>,
    target: &Btf<K>,
    spec: &Spec<'_>,
    candidate: TypeId,
) -> Result<Option<Matched>, RelocErrorKind>
where
    L: Deref<Target = [u8]>,
    K: Deref<Target = [u8]>,
{
    let mut at =
        Matched { root: candidate, bit_offset: 0, leaf: candidate, member: None, value: 0 };
    if let [Step::Enumerator { name }] = spec.steps.as_slice() {
        return Ok(enumerator(target, candidate, name)?.map(|value| Matched { value, ..at }));
    }
    if spec.steps.is_empty()
        && !compatible(local, target, spec.root, candidate, &mut Budget::default())?
    {
        return Ok(None);
    }
    if spec.root_index > 0 {
        let Some(offset) = bits(spec.root_index, target.size(candidate)?) else { return Ok(None) };
        at.bit_offset = offset;
    }
    for step in &spec.steps {
        let Some(view) = target.resolve(at.leaf)? else { return Ok(None) };
        let found = match step {
            Step::Member { name, member } => {
                let Some((found, offset)) =
                    find_member(target, view, name, &mut Budget::default())?
                else {
                    return Ok(None);
                };
                if !fields_compatible(local, target, member.ty, found.ty)? {
                    return Ok(None);
                }
                Some((offset, found.ty, Some(found)))
            }
            Step::Element { index } => element(target, view, *index, at.member.is_some())?,
            Step::Enumerator { .. } => None,
        };
        let Some((offset, leaf, member)) = found else { return Ok(None) };
        let Some(bit_offset) = at.bit_offset.checked_add(offset) else { return Ok(None) };
        at = Matched { bit_offset, leaf, member, ..at };
    }
    Ok(Some(at))
}

type Place = (u64, TypeId, Option<Member>);

/// Element `index` of the array `view`.
fn element<K: Deref<Target = [u8]>>(
    target: &Btf<K>,
    view: TypeView<'_>,
    index: u64,
    in_member: bool,
) -> Result<Option<Place>, BtfError> {
    if view.kind != Kind::Array {
        return Ok(None);
    }
    let array = view.array()?;
    let flexible = array.elements == 0 && in_member;
    if index >= u64::from(array.elements) && !flexible {
        return Ok(None);
    }
    Ok(bits(index, target.size(array.element)?).map(|offset| (offset, array.element, None)))
}

/// The member called `name`, also in anonymous members, and its offset in bits.
fn find_member<K: Deref<Target = [u8]>>(
    target: &Btf<K>,
    view: TypeView<'_>,
    name: &str,
    budget: &mut Budget,
) -> Result<Option<(Member, u64)>, BtfError> {
    budget.enter(view.id)?;
    for member in view.struct_members() {
        let offset = u64::from(member.bit_offset);
        if member.name != 0 && !starts_with(target, member.name, name) {
            continue;
        }
        let member_name = target.strings().get(member.name)?;
        if member_name == name {
            return Ok(Some((member, offset)));
        }
        if !member_name.is_empty() {
            continue;
        }
        let Some(inner) = target.resolve(member.ty)?.filter(|view| view.kind.is_composite()) else {
            continue;
        };
        let found = find_member(target, inner, name, budget)?;
        if let Some((found, inside)) = found {
            return Ok(Some((found, offset + inside)));
        }
    }
    budget.leave();
    Ok(None)
}

/// A cheap first look at a name.
fn starts_with<K: Deref<Target = [u8]>>(target: &Btf<K>, offset: u32, name: &str) -> bool {
    target.strings().rest(offset).is_some_and(|rest| rest.starts_with(name.as_bytes()))
}

/// The value of the enumerator called `name`, flavours aside.
fn enumerator<K: Deref<Target = [u8]>>(
    target: &Btf<K>,
    candidate: TypeId,
    name: &str,
) -> Result<Option<u64>, BtfError> {
    let Some(view) = target.resolve(candidate)? else { return Ok(None) };
    for value in view.enum_values() {
        if essential(target.strings().get(value.name)?) == essential(name) {
            return Ok(Some(value.value));
        }
    }
    Ok(None)
}

/// What `kind` asks of what was found.
pub(super) fn value<L, K>(
    local: &Btf<L>,
    target: &Btf<K>,
    spec: &Spec<'_>,
    matched: &Matched,
    kind: RelocKind,
) -> Result<Resolution, RelocErrorKind>
where
    L: Deref<Target = [u8]>,
    K: Deref<Target = [u8]>,
{
    let plain = |value| Ok(Resolution { value: Some(value), sizes: None });
    match kind {
        RelocKind::FieldExists | RelocKind::TypeExists | RelocKind::EnumValueExists => plain(1),
        RelocKind::TypeIdLocal => plain(spec.root.0.into()),
        RelocKind::TypeIdTarget => plain(matched.root.0.into()),
        RelocKind::TypeSize => plain(target.size(matched.root)?),
        RelocKind::EnumValue => plain(matched.value),
        RelocKind::FieldByteOffset
        | RelocKind::FieldByteSize
        | RelocKind::FieldSigned
        | RelocKind::FieldLeftShift
        | RelocKind::FieldRightShift => {
            let field = Field::new(target, matched)?;
            if kind == RelocKind::FieldByteOffset {
                let whole = !field.is_bitfield;
                let sizes = if whole { sizes(local, target, spec, matched)? } else { None };
                return Ok(Resolution { value: Some(field.byte_offset), sizes });
            }
            plain(field.answer(kind))
        }
    }
}

/// A field as the words that hold it.
struct Field {
    byte_offset: u64,
    bytes: u64,
    bit_offset: u64,
    bits: u64,
    signed: bool,
    is_bitfield: bool,
}

impl Field {
    fn new<K: Deref<Target = [u8]>>(target: &Btf<K>, at: &Matched) -> Result<Self, RelocErrorKind> {
        let view = target.resolve(at.leaf)?;
        let signed = view.is_some_and(|view| view.is_signed());
        let mut bytes = target.size(at.leaf)?;
        let bit_size = at.member.map_or(0, |member| u64::from(member.bit_size));
        let bit_offset = at.bit_offset;
        if bit_size == 0 {
            return Ok(Self {
                byte_offset: bit_offset / 8,
                bytes,
                bit_offset,
                bits: bytes.saturating_mul(8),
                signed,
                is_bitfield: false,
            });
        }
        // The smallest aligned word that holds all its bits.
        loop {
            let wide = || RelocErrorKind::Insn { reason: "a bitfield of more than 64 bits".into() };
            if bytes == 0 || bytes > 8 {
                return Err(wide());
            }
            let byte_offset = bit_offset / 8 / bytes * bytes;
            if bit_offset + bit_size - byte_offset * 8 <= bytes * 8 {
                return Ok(Self {
                    byte_offset,
                    bytes,
                    bit_offset,
                    bits: bit_size,
                    signed,
                    is_bitfield: true,
                });
            }
            bytes *= 2;
        }
    }

    /// What `kind` asks, for the kinds other than the offset.
    fn answer(&self, kind: RelocKind) -> u64 {
        if kind == RelocKind::FieldByteSize {
            self.bytes
        } else if kind == RelocKind::FieldSigned {
            u64::from(self.signed)
        } else if kind == RelocKind::FieldLeftShift {
            self.left_shift()
        } else {
            64_u64.saturating_sub(self.bits)
        }
    }

    /// On a little-endian machine the bits above the field are shifted out.
    fn left_shift(&self) -> u64 {
        let end = self.bit_offset.saturating_add(self.bits).saturating_sub(self.byte_offset * 8);
        64_u64.saturating_sub(end)
    }
}

/// How a load of the field must be adapted; `None` when its size is the same.
fn sizes<L, K>(
    local: &Btf<L>,
    target: &Btf<K>,
    spec: &Spec<'_>,
    matched: &Matched,
) -> Result<Option<FieldSizes>, BtfError>
where
    L: Deref<Target = [u8]>,
    K: Deref<Target = [u8]>,
{
    let (Ok(here), Ok(there)) = (local.size(spec.leaf), target.size(matched.leaf)) else {
        return Ok(None);
    };
    if here == there {
        return Ok(None);
    }
    // Pointers and unsigned integers keep their value in another width.
    let adjustable = match (local.resolve(spec.leaf)?, target.resolve(matched.leaf)?) {
        (Some(a), Some(b)) => match (a.kind, b.kind) {
            (Kind::Ptr, Kind::Ptr) => true,
            (Kind::Int, Kind::Int) => !a.is_signed() && !b.is_signed(),
            _ => false,
        },
        (None, _) | (_, None) => false,
    };
    Ok(Some(FieldSizes { local: here, target: there, adjustable }))
}
