//! What a register or a stack slot holds.

use crate::domain::Scalar;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing that may be read.
    Unset,
    /// A number.
    Scalar,
    /// A pointer into the row.
    Row,
    /// A pointer into the row's state.
    State,
    /// A pointer into the parameters.
    Params,
    /// A pointer into this function's stack, counted from its top.
    Stack,
    /// A pointer to `size` initialised bytes of a caller's stack, which hold numbers.
    Window {
        /// Its bytes.
        size: u16,
    },
    /// A map.
    Map(u16),
    /// A pointer into a value of a map.
    MapValue(u16),
    /// A value of a map, or null; equal `id`s are equal pointers.
    MapValueOrNull {
        /// The map's index.
        map: u16,
        /// The insn that looked it up.
        id: u32,
    },
    /// A function of the program, by its first slot.
    Func(u32),
}

impl Kind {
    /// Whether it is an address, or a secret like one.
    #[must_use]
    pub const fn is_pointer(self) -> bool {
        !matches!(self, Self::Unset | Self::Scalar)
    }
}

/// A value: its type, and the number that it is or its distance from the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// What it is.
    pub kind: Kind,
    /// Of a scalar the number, of a pointer the bytes from its base.
    pub scalar: Scalar,
}

impl Value {
    /// Nothing that may be read.
    pub const UNSET: Self = Self { kind: Kind::Unset, scalar: Scalar::any() };

    /// A number.
    #[must_use]
    pub const fn scalar(scalar: Scalar) -> Self {
        Self { kind: Kind::Scalar, scalar }
    }

    /// The start of a region.
    #[must_use]
    pub const fn pointer(kind: Kind) -> Self {
        Self { kind, scalar: Scalar::exactly(0) }
    }

    /// What may be either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let kind = match (self.kind, other.kind) {
            (a, b) if a == b => a,
            (Kind::Window { size: a }, Kind::Window { size: b }) => {
                Kind::Window { size: if a < b { a } else { b } }
            }
            (
                Kind::MapValue(a) | Kind::MapValueOrNull { map: a, .. },
                Kind::MapValue(b) | Kind::MapValueOrNull { map: b, .. },
            ) if a == b => match (self.kind, other.kind) {
                // Which lookup it comes from is lost, and with it what a test would prove of
                // copies; an id that no insn has keeps it apart.
                (Kind::MapValueOrNull { .. }, _) | (_, Kind::MapValueOrNull { .. }) => {
                    Kind::MapValueOrNull { map: a, id: u32::MAX }
                }
                _ => Kind::MapValue(a),
            },
            _ => return mutant!(JoinOfKindsKeepsFirst, Self::UNSET, *self),
        };
        Self { kind, scalar: self.scalar.union(&other.scalar) }
    }
}
