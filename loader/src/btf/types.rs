//! One type of BTF and the parts of it.
//!
//! **Invariant**: a [`TypeView`]'s payload has exactly the bytes that its kind and its
//! number of members ask for.

use super::{BtfError, BtfErrorKind, TYPE_BYTES, TypeId, word_at};

/// What a type is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// An integer.
    Int = 1,
    /// A pointer.
    Ptr,
    /// An array.
    Array,
    /// A struct.
    Struct,
    /// A union.
    Union,
    /// An enumeration with 32-bit values.
    Enum,
    /// A struct or union without its definition.
    Fwd,
    /// A typedef.
    Typedef,
    /// A volatile type.
    Volatile,
    /// A const type.
    Const,
    /// A restrict pointer.
    Restrict,
    /// A function.
    Func,
    /// A function's type.
    FuncProto,
    /// A variable.
    Var,
    /// A section of variables.
    Datasec,
    /// A floating-point number.
    Float,
    /// A tag on a declaration.
    DeclTag,
    /// A tag on a pointer's type.
    TypeTag,
    /// An enumeration with 64-bit values.
    Enum64,
}

impl Kind {
    /// Kind and sizes by number: kinds follow each other at random, so that a table is
    /// several times faster than a branch for each.
    const BY_NUMBER: [Option<(Self, u8, u8)>; 32] = {
        let mut kinds = [None; 32];
        let mut i = 0;
        while i < Self::ALL.len() {
            let kind = Self::ALL[i];
            kinds[i + 1] = Some((kind, kind.fixed_bytes(), kind.member_bytes()));
            i += 1;
        }
        kinds
    };

    const ALL: [Self; 19] = [
        Self::Int,
        Self::Ptr,
        Self::Array,
        Self::Struct,
        Self::Union,
        Self::Enum,
        Self::Fwd,
        Self::Typedef,
        Self::Volatile,
        Self::Const,
        Self::Restrict,
        Self::Func,
        Self::FuncProto,
        Self::Var,
        Self::Datasec,
        Self::Float,
        Self::DeclTag,
        Self::TypeTag,
        Self::Enum64,
    ];

    /// The kind in a type's second word, and the bytes that follow the common part.
    #[inline]
    fn from_info(info: u32) -> Option<(Self, usize)> {
        let (kind, fixed, each) = Self::BY_NUMBER[(info >> 24 & 0x1f) as usize]?;
        Some((kind, usize::from(fixed) + usize::from(each) * (info & 0xffff) as usize))
    }

    /// What to call it in a message.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int => "an integer",
            Self::Ptr => "a pointer",
            Self::Array => "an array",
            Self::Struct => "a struct",
            Self::Union => "a union",
            Self::Enum | Self::Enum64 => "an enum",
            Self::Fwd => "a forward declaration",
            Self::Typedef => "a typedef",
            Self::Volatile | Self::Const | Self::Restrict => "a qualifier",
            Self::Func => "a function",
            Self::FuncProto => "a function type",
            Self::Var => "a variable",
            Self::Datasec => "a section",
            Self::Float => "a floating-point number",
            Self::DeclTag | Self::TypeTag => "a tag",
        }
    }

    /// Whether it is a struct or a union.
    #[must_use]
    pub const fn is_composite(self) -> bool {
        matches!(self, Self::Struct | Self::Union)
    }

    /// Whether it is an enumeration of either width.
    #[must_use]
    pub const fn is_enum(self) -> bool {
        matches!(self, Self::Enum | Self::Enum64)
    }

    /// Bytes behind the common part, whatever the members.
    const fn fixed_bytes(self) -> u8 {
        match self {
            Self::Int | Self::Var | Self::DeclTag => 4,
            Self::Array => 12,
            Self::Struct
            | Self::Union
            | Self::Datasec
            | Self::Enum64
            | Self::Enum
            | Self::FuncProto
            | Self::Ptr
            | Self::Fwd
            | Self::Typedef
            | Self::Volatile
            | Self::Const
            | Self::Restrict
            | Self::Func
            | Self::Float
            | Self::TypeTag => 0,
        }
    }

    /// Bytes of each member.
    const fn member_bytes(self) -> u8 {
        match self {
            Self::Struct | Self::Union | Self::Datasec | Self::Enum64 => 12,
            Self::Enum | Self::FuncProto => 8,
            Self::Int
            | Self::Var
            | Self::DeclTag
            | Self::Array
            | Self::Ptr
            | Self::Fwd
            | Self::Typedef
            | Self::Volatile
            | Self::Const
            | Self::Restrict
            | Self::Func
            | Self::Float
            | Self::TypeTag => 0,
        }
    }
}

/// A type where it lies.
#[derive(Clone, Copy, Debug)]
pub struct TypeView<'a> {
    /// Its id.
    pub id: TypeId,
    /// What it is.
    pub kind: Kind,
    /// Offset of its name in the string section; 0 for none.
    pub name: u32,
    /// The kind's flag: bitfields in a struct, signed values in an enumeration.
    pub flag: bool,
    /// Number of members; a function's linkage.
    pub members: u16,
    /// Size in bytes, or the id of the type that it refers to.
    size_or_type: u32,
    /// Where it begins.
    offset: usize,
    /// What follows the common part.
    pub(super) payload: &'a [u8],
}

/// A member of a struct or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Offset of its name in the string section; 0 for an anonymous one.
    pub name: u32,
    /// Its type.
    pub ty: TypeId,
    /// Bits from the start of the struct.
    pub bit_offset: u32,
    /// Bits of a bitfield; 0 for any other member.
    pub bit_size: u8,
}

/// An array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Array {
    /// The type of its elements.
    pub element: TypeId,
    /// How many there are; 0 for a flexible one.
    pub elements: u32,
}

/// One named value of an enumeration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnumValue {
    /// Offset of its name in the string section.
    pub name: u32,
    /// The value, sign-extended when the enumeration is signed.
    pub value: u64,
}

/// What a walk that looks for names has to know of a type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Skimmed {
    /// Offset of its name in the string section; 0 for none.
    pub(super) name: u32,
    /// The number of its kind.
    kind: u8,
    /// Its bytes with all that belongs to it.
    pub(super) bytes: usize,
}

impl Skimmed {
    /// What it is.
    pub(super) const fn kind(self) -> Option<Kind> {
        match Kind::BY_NUMBER[(self.kind & 0x1f) as usize] {
            Some((kind, ..)) => Some(kind),
            None => None,
        }
    }
}

/// As much of the type at `at` as a walk needs; `None` when it is malformed. That it does
/// not reach beyond the end is known only when the walk arrives there exactly.
#[inline(always)]
pub(super) fn skim(types: &[u8], at: usize) -> Option<Skimmed> {
    /// Bytes of the common and the fixed part, and of each member; 0 for an unknown kind.
    const BYTES: [(u8, u8); 32] = {
        let mut bytes = [(0, 0); 32];
        let mut i = 0;
        while i < bytes.len() {
            if let Some((_, fixed, each)) = Kind::BY_NUMBER[i] {
                bytes[i] = (TYPE_BYTES as u8 + fixed, each);
            }
            i += 1;
        }
        bytes
    };
    let [n0, n1, n2, n3, v0, v1, _, kind, ..] = *types.get(at..)?.first_chunk::<TYPE_BYTES>()?;
    let (fixed, each) = BYTES[(kind & 0x1f) as usize];
    let bytes = usize::from(fixed) + usize::from(each) * usize::from(u16::from_le_bytes([v0, v1]));
    let name = u32::from_le_bytes([n0, n1, n2, n3]);
    (fixed != 0).then_some(Skimmed { name, kind, bytes })
}

/// The type at the start of `rest`, which begins at byte `offset`, and what follows it.
#[inline]
pub(super) fn read(
    rest: &[u8],
    offset: usize,
    id: TypeId,
) -> Result<(TypeView<'_>, &[u8]), BtfError> {
    let cut = || BtfError { offset, kind: BtfErrorKind::Truncated { what: "a type" } };
    let (common, after) = rest.split_first_chunk::<TYPE_BYTES>().ok_or_else(cut)?;
    let [n0, n1, n2, n3, i0, i1, i2, i3, s0, s1, s2, s3] = *common;
    let info = u32::from_le_bytes([i0, i1, i2, i3]);
    let (kind, len) = Kind::from_info(info).ok_or(BtfError {
        offset,
        kind: BtfErrorKind::UnknownKind { id: id.0, kind: (info >> 24 & 0x1f) as u8 },
    })?;
    let (payload, next) = after.split_at_checked(len).ok_or_else(cut)?;
    let view = TypeView {
        id,
        kind,
        name: u32::from_le_bytes([n0, n1, n2, n3]),
        flag: info >> 31 != 0,
        members: (info & 0xffff) as u16,
        size_or_type: u32::from_le_bytes([s0, s1, s2, s3]),
        offset,
        payload,
    };
    Ok((view, next))
}

impl<'a> TypeView<'a> {
    /// Whether the parts that hardly any value fits make sense, with `names` bytes of names.
    pub(super) fn is_credible(&self, names: usize) -> bool {
        let has_members = self.kind.member_bytes() != 0;
        (self.name as usize) < names && (has_members || self.members <= 2)
    }

    /// The type that a pointer, typedef, qualifier, function or variable refers to.
    #[must_use]
    pub const fn target(&self) -> TypeId {
        TypeId(self.size_or_type)
    }

    /// Its size in bytes, for the kinds that have one.
    #[must_use]
    pub const fn size(&self) -> u32 {
        self.size_or_type
    }

    /// The members of a struct or union; none of another kind.
    pub fn struct_members(&self) -> impl Iterator<Item = Member> + use<'a> {
        let bitfields = self.flag;
        let payload: &'a [u8] = if self.kind.is_composite() { self.payload } else { &[] };
        payload.chunks_exact(12).map(move |bytes| {
            let offset = word_at(bytes, 8).unwrap_or(0);
            Member {
                name: word_at(bytes, 0).unwrap_or(0),
                ty: TypeId(word_at(bytes, 4).unwrap_or(0)),
                bit_offset: if bitfields { offset & 0xff_ffff } else { offset },
                bit_size: if bitfields { (offset >> 24) as u8 } else { 0 },
            }
        })
    }

    /// The values of an enumeration; none of another kind.
    pub fn enum_values(&self) -> impl Iterator<Item = EnumValue> + use<'a> {
        let (kind, signed) = (self.kind, self.flag);
        let payload: &'a [u8] = if kind.is_enum() { self.payload } else { &[] };
        let width = if kind == Kind::Enum { 8 } else { 12 };
        payload.chunks_exact(width).map(move |bytes| {
            let low = word_at(bytes, 4).unwrap_or(0);
            let high = word_at(bytes, 8);
            let value = match high {
                Some(high) => u64::from(high) << 32 | u64::from(low),
                None if signed => i64::from(low.cast_signed()).cast_unsigned(),
                None => u64::from(low),
            };
            EnumValue { name: word_at(bytes, 0).unwrap_or(0), value }
        })
    }

    /// The types of a function type's parameters; none of another kind.
    pub fn params(&self) -> impl Iterator<Item = TypeId> + use<'a> {
        let payload: &'a [u8] = if self.kind == Kind::FuncProto { self.payload } else { &[] };
        payload.chunks_exact(8).map(|bytes| TypeId(word_at(bytes, 4).unwrap_or(0)))
    }

    /// The variables of a section: type, offset and size; none of another kind.
    pub fn variables(&self) -> impl Iterator<Item = (TypeId, u32, u32)> + use<'a> {
        let payload: &'a [u8] = if self.kind == Kind::Datasec { self.payload } else { &[] };
        payload.chunks_exact(12).map(|bytes| {
            let word = |offset| word_at(bytes, offset).unwrap_or(0);
            (TypeId(word(0)), word(4), word(8))
        })
    }

    /// An array's element type and length.
    ///
    /// # Errors
    /// [`BtfErrorKind::WrongKind`] when it is no array.
    pub fn array(&self) -> Result<Array, BtfError> {
        match (self.kind, word_at(self.payload, 0), word_at(self.payload, 8)) {
            (Kind::Array, Some(element), Some(elements)) => {
                Ok(Array { element: TypeId(element), elements })
            }
            _ => Err(self.wrong("an array")),
        }
    }

    /// Whether an integer or enumeration is signed.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        match self.kind {
            Kind::Int => word_at(self.payload, 0).is_some_and(|word| word >> 24 & 1 != 0),
            Kind::Enum | Kind::Enum64 => self.flag,
            Kind::Ptr
            | Kind::Array
            | Kind::Struct
            | Kind::Union
            | Kind::Fwd
            | Kind::Typedef
            | Kind::Volatile
            | Kind::Const
            | Kind::Restrict
            | Kind::Func
            | Kind::FuncProto
            | Kind::Var
            | Kind::Datasec
            | Kind::Float
            | Kind::DeclTag
            | Kind::TypeTag => false,
        }
    }

    /// An integer's bit offset within its storage, which old compilers wrote for bitfields.
    #[must_use]
    pub fn int_bit_offset(&self) -> u32 {
        word_at(self.payload, 0).map_or(0, |word| word >> 16 & 0xff)
    }

    /// A variable's linkage: 0 static, 1 global, 2 elsewhere. A function has it in `members`.
    #[must_use]
    pub fn linkage(&self) -> u32 {
        if self.kind == Kind::Func {
            self.members.into()
        } else {
            word_at(self.payload, 0).unwrap_or(0)
        }
    }

    /// An error that says it is not `wanted`.
    #[must_use]
    pub fn wrong(&self, wanted: &'static str) -> BtfError {
        BtfError {
            offset: self.offset,
            kind: BtfErrorKind::WrongKind { id: self.id.0, found: self.kind.name(), wanted },
        }
    }
}
