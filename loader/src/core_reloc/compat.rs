//! Whether a type of the object and one of the kernel are of the same shape.
//!
//! **Invariant**: recursion through the types is bounded in depth and in all, as they may
//! refer to themselves and fan out.

use crate::btf::kernel::essential;
use crate::btf::{Btf, BtfError, BtfErrorKind, CHAIN_MAX, Kind, TypeId};
use std::ops::Deref;

/// Types may nest without end or fan out: how deep and how far is followed.
#[derive(Debug, Default)]
pub(super) struct Budget {
    depth: usize,
    visited: usize,
}

impl Budget {
    const VISITED_MAX: usize = 1 << 12;

    pub(super) fn enter(&mut self, id: TypeId) -> Result<(), BtfError> {
        self.depth += 1;
        self.visited += 1;
        if self.depth > CHAIN_MAX || self.visited > Self::VISITED_MAX {
            return Err(BtfError { offset: 0, kind: BtfErrorKind::Chain { id: id.0 } });
        }
        Ok(())
    }

    pub(super) const fn leave(&mut self) {
        self.depth -= 1;
    }
}

/// Whether a field of type `one` can be read as the object expects it: the shape must agree,
/// sizes may differ.
pub(super) fn fields_compatible<L, K>(
    local: &Btf<L>,
    target: &Btf<K>,
    one: TypeId,
    other: TypeId,
) -> Result<bool, BtfError>
where
    L: Deref<Target = [u8]>,
    K: Deref<Target = [u8]>,
{
    let (mut one, mut other) = (one, other);
    for _ in 0..CHAIN_MAX {
        let (a, b) = match (local.resolve(one)?, target.resolve(other)?) {
            (Some(a), Some(b)) => (a, b),
            (None, None) => return Ok(true),
            (None, Some(_)) | (Some(_), None) => return Ok(false),
        };
        if a.kind.is_composite() && b.kind.is_composite() {
            return Ok(true);
        }
        if a.kind != b.kind && !(a.kind.is_enum() && b.kind.is_enum()) {
            return Ok(false);
        }
        match a.kind {
            Kind::Ptr | Kind::Float => return Ok(true),
            Kind::Enum | Kind::Enum64 | Kind::Fwd => {
                let (a, b) = (essential(local.name(&a)?), essential(target.name(&b)?));
                return Ok(a.is_empty() || b.is_empty() || a == b);
            }
            // Bitfields in the form of odd integers are of old compilers only.
            Kind::Int => return Ok(a.int_bit_offset() == 0 && b.int_bit_offset() == 0),
            Kind::Array => {
                one = a.array()?.element;
                other = b.array()?.element;
            }
            Kind::Struct
            | Kind::Union
            | Kind::Typedef
            | Kind::Volatile
            | Kind::Const
            | Kind::Restrict
            | Kind::Func
            | Kind::FuncProto
            | Kind::Var
            | Kind::Datasec
            | Kind::DeclTag
            | Kind::TypeTag => return Ok(false),
        }
    }
    Err(BtfError { offset: 0, kind: BtfErrorKind::Chain { id: one.0 } })
}

/// Whether two types are of the same shape: for questions about a type as such.
pub(super) fn compatible<L, K>(
    local: &Btf<L>,
    target: &Btf<K>,
    one: TypeId,
    other: TypeId,
    budget: &mut Budget,
) -> Result<bool, BtfError>
where
    L: Deref<Target = [u8]>,
    K: Deref<Target = [u8]>,
{
    budget.enter(one)?;
    let same = same_shape(local, target, one, other, budget)?;
    budget.leave();
    Ok(same)
}

fn same_shape<L, K>(
    local: &Btf<L>,
    target: &Btf<K>,
    one: TypeId,
    other: TypeId,
    budget: &mut Budget,
) -> Result<bool, BtfError>
where
    L: Deref<Target = [u8]>,
    K: Deref<Target = [u8]>,
{
    let (a, b) = match (local.resolve(one)?, target.resolve(other)?) {
        (Some(a), Some(b)) => (a, b),
        (None, None) => return Ok(true),
        (None, Some(_)) | (Some(_), None) => return Ok(false),
    };
    if a.kind != b.kind && !(a.kind.is_enum() && b.kind.is_enum()) {
        return Ok(false);
    }
    match a.kind {
        Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Fwd | Kind::Float => {
            Ok(true)
        }
        Kind::Int => Ok(a.int_bit_offset() == 0 && b.int_bit_offset() == 0),
        Kind::Ptr => compatible(local, target, a.target(), b.target(), budget),
        Kind::Array => {
            let (a, b) = (a.array()?, b.array()?);
            compatible(local, target, a.element, b.element, budget)
        }
        Kind::FuncProto => {
            if a.members != b.members {
                return Ok(false);
            }
            for (a, b) in a.params().zip(b.params()) {
                if !compatible(local, target, a, b, budget)? {
                    return Ok(false);
                }
            }
            compatible(local, target, a.target(), b.target(), budget)
        }
        Kind::Typedef
        | Kind::Volatile
        | Kind::Const
        | Kind::Restrict
        | Kind::Func
        | Kind::Var
        | Kind::Datasec
        | Kind::DeclTag
        | Kind::TypeTag => Ok(false),
    }
}
