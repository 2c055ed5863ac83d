//! CO-RE: insns that depend on the layout of kernel types, adapted to the running kernel.
//!
//! Pure: the object's types, the kernel's types and a relocation in, a value out. The rules
//! for which types correspond are libbpf's, so that one object means the same to both.
//!
//! **Invariant**: an insn whose type or field the kernel lacks is poisoned, not guessed: it
//! loads only if the program never reaches it.

mod compat;
mod matching;
mod patch;
mod spec;
#[cfg(test)]
mod tests;

pub(crate) use patch::POISON;
pub use patch::patch;

use crate::btf::ext::CoreReloc;
use crate::btf::kernel::{KernelBtf, Wanted};
use crate::btf::{Btf, BtfError, TypeId};
use spec::Spec;
use std::ops::Deref;

/// What a relocation asks of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelocKind {
    /// A field's offset in bytes.
    FieldByteOffset,
    /// A field's size in bytes.
    FieldByteSize,
    /// Whether a field exists.
    FieldExists,
    /// Whether a field is signed.
    FieldSigned,
    /// How far a bitfield's word is shifted to the left.
    FieldLeftShift,
    /// How far it is then shifted to the right.
    FieldRightShift,
    /// A type's id in the object.
    TypeIdLocal,
    /// A type's id in the kernel.
    TypeIdTarget,
    /// Whether a type exists.
    TypeExists,
    /// A type's size in bytes.
    TypeSize,
    /// Whether an enumeration has a value.
    EnumValueExists,
    /// An enumeration's value.
    EnumValue,
}

impl RelocKind {
    const ALL: [Self; 12] = [
        Self::FieldByteOffset,
        Self::FieldByteSize,
        Self::FieldExists,
        Self::FieldSigned,
        Self::FieldLeftShift,
        Self::FieldRightShift,
        Self::TypeIdLocal,
        Self::TypeIdTarget,
        Self::TypeExists,
        Self::TypeSize,
        Self::EnumValueExists,
        Self::EnumValue,
    ];

    /// The kind with this number in `.BTF.ext`.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    const fn is_type(self) -> bool {
        matches!(self, Self::TypeIdLocal | Self::TypeIdTarget | Self::TypeExists | Self::TypeSize)
    }

    const fn is_enum_value(self) -> bool {
        matches!(self, Self::EnumValueExists | Self::EnumValue)
    }

    /// What it is when the kernel has nothing that corresponds; `None` poisons the insn.
    const fn when_absent(self) -> Option<u64> {
        match self {
            Self::FieldExists | Self::TypeExists | Self::TypeSize | Self::EnumValueExists => {
                Some(0)
            }
            Self::FieldByteOffset
            | Self::FieldByteSize
            | Self::FieldSigned
            | Self::FieldLeftShift
            | Self::FieldRightShift
            | Self::TypeIdLocal
            | Self::TypeIdTarget
            | Self::EnumValue => None,
        }
    }
}

/// A relocation that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} in `{function}`, insn {slot}: {kind}")]
pub struct RelocError {
    /// The type or field.
    pub what: String,
    /// The function.
    pub function: String,
    /// The slot in it.
    pub slot: usize,
    /// Why.
    pub kind: RelocErrorKind,
}

/// Why a relocation cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelocErrorKind {
    /// A kind that is not known.
    #[error("unknown CO-RE relocation {number}")]
    UnknownKind {
        /// Its number.
        number: u32,
    },
    /// The path into the type is broken.
    #[error("the access path `{path}` does not fit the type")]
    Path {
        /// The path.
        path: String,
    },
    /// The kernel has several types that correspond, and they disagree.
    #[error("the kernel's candidates {one} and {other} disagree")]
    Ambiguous {
        /// A type's id.
        one: u32,
        /// Another one's.
        other: u32,
    },
    /// The insn cannot hold the value.
    #[error("{reason}")]
    Insn {
        /// Why not.
        reason: String,
    },
    /// The kernel has no such function.
    #[error("the kernel has no such function")]
    NoKfunc,
    /// Broken BTF.
    #[error(transparent)]
    Btf(#[from] BtfError),
}

/// What becomes of one insn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The value; `None` when the kernel has nothing that corresponds.
    pub value: Option<u64>,
    /// A field's size here and there, when a load or store of it must be adapted.
    pub sizes: Option<FieldSizes>,
}

/// The size of a field in the object's types and in the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldSizes {
    /// In the object's.
    pub local: u64,
    /// In the kernel's.
    pub target: u64,
    /// Whether reading it in the other size keeps its value.
    pub adjustable: bool,
}

/// Adds the names that `relocs` will ask the kernel's types for.
///
/// # Errors
/// When a relocation's type does not exist.
pub fn want<B: Deref<Target = [u8]>>(
    local: &Btf<B>,
    relocs: &[CoreReloc],
    wanted: &mut Wanted,
) -> Result<(), BtfError> {
    for reloc in relocs {
        wanted.add(local.name(&local.ty(reloc.ty)?)?);
    }
    Ok(())
}

/// The type and the path of a relocation, for messages.
pub fn describe<B: Deref<Target = [u8]>>(local: &Btf<B>, reloc: &CoreReloc) -> String {
    let root = local.ty(reloc.ty).and_then(|view| local.name(&view)).unwrap_or("?");
    let path = local.strings().get(reloc.access).unwrap_or("?");
    match RelocKind::from_number(reloc.kind) {
        Some(kind) if !kind.is_type() => match Spec::parse(local, reloc.ty, path, kind) {
            Ok(spec) => spec.describe(root),
            Err(_) => format!("{root} {path}"),
        },
        Some(_) | None => root.to_owned(),
    }
}

/// What the kernel's types say to one relocation.
///
/// # Errors
/// [`RelocErrorKind`] when the relocation makes no sense or has no single answer.
pub fn resolve<L, K>(
    local: &Btf<L>,
    kernel: &KernelBtf<K>,
    reloc: &CoreReloc,
) -> Result<Resolution, RelocErrorKind>
where
    L: Deref<Target = [u8]>,
    K: Deref<Target = [u8]>,
{
    let kind = RelocKind::from_number(reloc.kind)
        .ok_or(RelocErrorKind::UnknownKind { number: reloc.kind })?;
    let path = local.strings().get(reloc.access)?;
    let spec = Spec::parse(local, reloc.ty, path, kind)?;
    if kind == RelocKind::TypeIdLocal {
        return Ok(Resolution { value: Some(reloc.ty.0.into()), sizes: None });
    }
    let root = local.ty(reloc.ty)?;
    let mut found: Option<(TypeId, Resolution)> = None;
    for &(candidate_kind, candidate) in kernel.named(local.name(&root)?) {
        let same = candidate_kind == root.kind || candidate_kind.is_enum() && root.kind.is_enum();
        if !same {
            continue;
        }
        let target = kernel.types();
        let Some(matched) = matching::find(local, target, &spec, candidate)? else { continue };
        let resolution = matching::value(local, target, &spec, &matched, kind)?;
        match found {
            None => found = Some((candidate, resolution)),
            Some((_, first)) if first.value == resolution.value => {}
            Some((one, _)) => {
                return Err(RelocErrorKind::Ambiguous { one: one.0, other: candidate.0 });
            }
        }
    }
    Ok(match found {
        Some((_, resolution)) => resolution,
        None => Resolution { value: kind.when_absent(), sizes: None },
    })
}
