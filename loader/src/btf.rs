//! A reader for BTF: an object's own, and the kernel's 126,000 types in one scan.
//!
//! [`Btf::parse`] walks the types once, checks their bounds and shows each to a visitor,
//! so that names are looked up on the way and never twice. Afterwards a type is found by
//! its id through a sparse index.
//!
//! **Invariant**: every type that [`Btf::ty`] returns lies within the data with all its
//! members. Ids and string offsets *in* a type are still allegations: they are checked
//! when they are followed.

#[cfg(test)]
pub(crate) mod builder;
pub mod ext;
pub mod kernel;
mod lanes;
mod sanitise;
#[cfg(test)]
mod tests;
mod types;

pub use sanitise::{DataLayout, for_kernel};
pub use types::{Array, EnumValue, Kind, Member, TypeView};

use lanes::Lane;
use std::ops::{Deref, Range};
use types::Skimmed;

/// Every how many types the index has an entry.
const INDEX_STRIDE: usize = 16;
/// Longest chain of modifiers, typedefs and nested arrays that is followed.
pub(crate) const CHAIN_MAX: usize = 32;
/// Largest BTF that is read: the kernel's takes 6 MiB.
pub const BTF_BYTES_MAX: usize = 64 << 20;

const MAGIC: u16 = 0xeb9f;
const HEADER_BYTES: usize = 24;
const TYPE_BYTES: usize = 12;

/// The number of a type; 0 is `void`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u32);

/// What is wrong with BTF, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} (byte {offset:#x})")]
pub struct BtfError {
    /// Bytes from the start of the BTF data.
    pub offset: usize,
    /// What is wrong there.
    pub kind: BtfErrorKind,
}

/// What can be wrong with BTF.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BtfErrorKind {
    /// The data end too early.
    #[error("{what} is cut off")]
    Truncated {
        /// What is cut off.
        what: &'static str,
    },
    /// The first bytes are not BTF's in little endian.
    #[error("no little-endian BTF")]
    Magic,
    /// A version that is not 1.
    #[error("BTF version {version}")]
    Version {
        /// The version found.
        version: u8,
    },
    /// More bytes than are read.
    #[error("{bytes} bytes of BTF are more than the {BTF_BYTES_MAX} that are read")]
    TooLarge {
        /// The size found.
        bytes: usize,
    },
    /// A kind that is not known.
    #[error("type {id} has the unknown kind {kind}")]
    UnknownKind {
        /// The type.
        id: u32,
        /// Its kind's number.
        kind: u8,
    },
    /// A reference to a type that does not exist.
    #[error("type {id} does not exist")]
    NoSuchType {
        /// The type.
        id: u32,
    },
    /// A string that does not exist or does not end.
    #[error("no string at {string}")]
    NoSuchString {
        /// Its offset in the string section.
        string: u32,
    },
    /// A type that refers to itself, or a very long chain.
    #[error("type {id} is nested too deeply")]
    Chain {
        /// The type.
        id: u32,
    },
    /// A type of another kind than its place asks for.
    #[error("type {id} is {found}, not {wanted}")]
    WrongKind {
        /// The type.
        id: u32,
        /// Its kind.
        found: &'static str,
        /// What it ought to be.
        wanted: &'static str,
    },
}

/// BTF data and the way to find types in them.
#[derive(Clone, Debug)]
pub struct Btf<B> {
    data: B,
    types: Range<usize>,
    strings: Range<usize>,
    /// Where the types are, in the order of their ids.
    lanes: Vec<Lane>,
    count: u32,
}

impl<B: Deref<Target = [u8]>> Btf<B> {
    /// Reads `data`, showing each type to `visit` in the order of the ids.
    ///
    /// # Errors
    /// [`BtfError`] when the data are no well-formed BTF, or from `visit`.
    pub fn parse(
        data: B,
        mut visit: impl FnMut(&Strings<'_>, TypeView<'_>) -> Result<(), BtfError>,
    ) -> Result<Self, BtfError> {
        let bytes: &[u8] = &data;
        let (types, strings) = sections(bytes)?;
        let mut index = Vec::new();
        let names = Strings { bytes: &bytes[strings.clone()], base: strings.start };
        let mut rest = &bytes[types.clone()];
        let mut count = 0_u32;
        while !rest.is_empty() {
            let at = types.end - rest.len();
            if (count as usize).is_multiple_of(INDEX_STRIDE) {
                index.push(at as u32);
            }
            count += 1;
            let (view, next) = types::read(rest, at, TypeId(count))?;
            visit(&names, view)?;
            rest = next;
        }
        let lanes = vec![Lane::whole(count, index, types.end)];
        Ok(Self { types, strings, lanes, count, data })
    }

    /// Reads `data`, which is large, and shows the name and kind of each type to `visit`
    /// with the number of its lane and its number within the lane.
    /// [`Btf::lane_starts`] says which ids these are.
    ///
    /// `Err` with the data when they have to be [parsed](Self::parse).
    fn skim(data: B, mut visit: impl FnMut(&Strings<'_>, usize, u32, Skimmed)) -> Result<Self, B> {
        let bytes: &[u8] = &data;
        let Ok((types, strings)) = sections(bytes) else { return Err(data) };
        let names = Strings { bytes: &bytes[strings.clone()], base: strings.start };
        let show = |lane, number, skimmed| visit(&names, lane, number, skimmed);
        let Some(lanes) = lanes::walk(bytes, types.clone(), strings.len(), show) else {
            return Err(data);
        };
        let count = lanes.iter().map(|lane| lane.count).sum();
        Ok(Self { types, strings, lanes, count, data })
    }

    /// How many types come before each lane.
    fn lane_starts(&self) -> impl Iterator<Item = u32> {
        self.lanes.iter().map(|lane| lane.before)
    }

    /// How many types there are, `void` not counted.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The whole data.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.data
    }

    /// The strings.
    #[must_use]
    pub fn strings(&self) -> Strings<'_> {
        Strings { bytes: &self.data[self.strings.clone()], base: self.strings.start }
    }

    /// The type with this id; id 0 is none.
    ///
    /// # Errors
    /// [`BtfErrorKind::NoSuchType`].
    pub fn ty(&self, id: TypeId) -> Result<TypeView<'_>, BtfError> {
        let missing = || BtfError { offset: 0, kind: BtfErrorKind::NoSuchType { id: id.0 } };
        let number = id.0.checked_sub(1).filter(|_| id.0 <= self.count).ok_or_else(missing)?;
        let lane = self.lanes.iter().rfind(|lane| lane.before <= number).ok_or_else(missing)?;
        let number = (number - lane.before) as usize;
        let start = *lane.index.get(number / INDEX_STRIDE).ok_or_else(missing)? as usize;
        let mut rest = self.data.get(start..self.types.end).ok_or_else(missing)?;
        for _ in 0..number % INDEX_STRIDE {
            rest = types::read(rest, self.types.end - rest.len(), id)?.1;
        }
        Ok(types::read(rest, self.types.end - rest.len(), id)?.0)
    }

    /// Every type, in the order of the ids.
    pub fn iter(&self) -> impl Iterator<Item = TypeView<'_>> {
        let mut rest = &self.data[self.types.clone()];
        (1..=self.count).map_while(move |id| {
            let at = self.types.end - rest.len();
            let (view, next) = types::read(rest, at, TypeId(id)).ok()?;
            rest = next;
            Some(view)
        })
    }

    /// The name of a type; empty when it has none.
    ///
    /// # Errors
    /// [`BtfErrorKind::NoSuchString`].
    pub fn name(&self, view: &TypeView<'_>) -> Result<&str, BtfError> {
        self.strings().get(view.name)
    }

    /// Follows typedefs and qualifiers to the type behind them; `None` for `void`.
    ///
    /// # Errors
    /// When an id does not exist or the chain does not end.
    pub fn resolve(&self, id: TypeId) -> Result<Option<TypeView<'_>>, BtfError> {
        let mut current = id;
        for _ in 0..CHAIN_MAX {
            if current.0 == 0 {
                return Ok(None);
            }
            let view = self.ty(current)?;
            match view.kind {
                Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => {
                    current = view.target()
                }
                Kind::Int
                | Kind::Ptr
                | Kind::Array
                | Kind::Struct
                | Kind::Union
                | Kind::Enum
                | Kind::Fwd
                | Kind::Func
                | Kind::FuncProto
                | Kind::Var
                | Kind::Datasec
                | Kind::Float
                | Kind::DeclTag
                | Kind::Enum64 => return Ok(Some(view)),
            }
        }
        Err(BtfError { offset: 0, kind: BtfErrorKind::Chain { id: id.0 } })
    }

    /// The size of a type in bytes.
    ///
    /// # Errors
    /// When it has none, or the chain of types does not end.
    pub fn size(&self, id: TypeId) -> Result<u64, BtfError> {
        let mut current = id;
        let mut elements = 1_u64;
        let chain = || BtfError { offset: 0, kind: BtfErrorKind::Chain { id: id.0 } };
        for _ in 0..CHAIN_MAX {
            let sizeless = |found| BtfError {
                offset: 0,
                kind: BtfErrorKind::WrongKind { id: id.0, found, wanted: "a type with a size" },
            };
            let view = self.resolve(current)?.ok_or_else(|| sizeless("void"))?;
            let one = match view.kind {
                Kind::Int
                | Kind::Struct
                | Kind::Union
                | Kind::Enum
                | Kind::Enum64
                | Kind::Float
                | Kind::Datasec => u64::from(view.size()),
                Kind::Ptr => 8,
                Kind::Array => {
                    let array = view.array()?;
                    elements = elements.checked_mul(array.elements.into()).ok_or_else(chain)?;
                    current = array.element;
                    continue;
                }
                Kind::Var => {
                    current = view.target();
                    continue;
                }
                Kind::Fwd
                | Kind::Func
                | Kind::FuncProto
                | Kind::Typedef
                | Kind::Volatile
                | Kind::Const
                | Kind::Restrict
                | Kind::TypeTag
                | Kind::DeclTag => return Err(sizeless(view.kind.name())),
            };
            return one.checked_mul(elements).ok_or_else(chain);
        }
        Err(chain())
    }
}

/// The string section.
#[derive(Clone, Copy, Debug)]
pub struct Strings<'a> {
    bytes: &'a [u8],
    base: usize,
}

impl<'a> Strings<'a> {
    /// The string at `offset`.
    ///
    /// # Errors
    /// [`BtfErrorKind::NoSuchString`] when it does not exist, does not end or is no UTF-8.
    pub fn get(&self, offset: u32) -> Result<&'a str, BtfError> {
        let error = || BtfError {
            offset: self.base.saturating_add(offset as usize),
            kind: BtfErrorKind::NoSuchString { string: offset },
        };
        let rest = self.rest(offset).ok_or_else(error)?;
        let end = rest.iter().position(|&byte| byte == 0).ok_or_else(error)?;
        std::str::from_utf8(&rest[..end]).map_err(|_| error())
    }

    /// The bytes from `offset` to the end of the section: cheap, as nothing is searched.
    pub(crate) fn rest(&self, offset: u32) -> Option<&'a [u8]> {
        self.bytes.get(offset as usize..)
    }
}

/// The ranges of the type and the string section.
fn sections(bytes: &[u8]) -> Result<(Range<usize>, Range<usize>), BtfError> {
    let at = |offset, kind| BtfError { offset, kind };
    let cut = |what| at(0, BtfErrorKind::Truncated { what });
    if bytes.len() > BTF_BYTES_MAX {
        return Err(too_large(bytes.len()));
    }
    let header = bytes.get(..HEADER_BYTES).ok_or_else(|| cut("the header"))?;
    if u16::from_le_bytes([header[0], header[1]]) != MAGIC {
        return Err(at(0, BtfErrorKind::Magic));
    }
    if header[2] != 1 {
        return Err(at(2, BtfErrorKind::Version { version: header[2] }));
    }
    let word = |offset: usize| word_at(header, offset).map(|word| word as usize);
    let fields = (|| Some([word(4)?, word(8)?, word(12)?, word(16)?, word(20)?]))();
    let [header_len, type_off, type_len, str_off, str_len] =
        fields.ok_or_else(|| cut("the header"))?;
    let range = |offset: usize, len: usize, what| {
        let start = header_len.checked_add(offset)?;
        let end = start.checked_add(len)?;
        (header_len >= HEADER_BYTES && end <= bytes.len() && len > 0).then_some((start..end, what))
    };
    let (types, _) = range(type_off, type_len, ()).ok_or_else(|| cut("the type section"))?;
    let (strings, _) = range(str_off, str_len, ()).ok_or_else(|| cut("the string section"))?;
    Ok((types, strings))
}

fn too_large(bytes: usize) -> BtfError {
    BtfError { offset: 0, kind: BtfErrorKind::TooLarge { bytes } }
}

/// The little-endian word at `offset`.
pub(crate) fn word_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}

/// Appends the words of `values`, little endian.
pub(crate) fn push_words(bytes: &mut Vec<u8>, values: &[u32]) {
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}
