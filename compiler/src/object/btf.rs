//! BTF, the kernel's type format: an interning builder.
//!
//! A type record is interned by its bytes, so equal types get one id and nothing has to be
//! deduplicated afterwards. Structs that may point to themselves are reserved by name first
//! and filled later.
//!
//! **Invariant**: ids are dense from 1 (0 is `void`), and offset 0 of the strings is empty.

use std::collections::HashMap;

/// The number of a type; 0 is `void`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u32);

/// `void`.
pub const VOID: TypeId = TypeId(0);

const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
const HEADER_BYTES: u32 = 24;

/// Kinds of types (`BTF_KIND_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Kind {
    Int = 1,
    Ptr = 2,
    Array = 3,
    Struct = 4,
    Enum = 6,
    Func = 12,
    FuncProto = 13,
    Var = 14,
    DataSec = 15,
}

/// How an integer is to be read (`BTF_INT_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// No sign.
    Unsigned,
    /// Two's complement.
    Signed,
    /// 0 or 1.
    Bool,
}

/// How far a function or variable is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Linkage {
    /// In its object only.
    Static = 0,
    /// By its symbol.
    Global = 1,
    /// It is elsewhere.
    Extern = 2,
}

/// A member of a struct.
#[derive(Clone, Debug)]
pub struct BtfMember {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: TypeId,
    /// Bytes from the struct's start.
    pub offset: u32,
}

/// A variable's or function's place in a section.
#[derive(Clone, Copy, Debug)]
pub struct SectionVar {
    /// The variable or function.
    pub ty: TypeId,
    /// Bytes from the section's start.
    pub offset: u32,
    /// Its size in bytes.
    pub size: u32,
}

/// Collects types and strings.
#[derive(Debug)]
pub struct Btf {
    strings: Vec<u8>,
    string_offsets: HashMap<String, u32>,
    types: Vec<Vec<u8>>,
    interned: HashMap<Vec<u8>, TypeId>,
}

impl Default for Btf {
    fn default() -> Self {
        Self::new()
    }
}

impl Btf {
    /// Neither types nor strings, but for `void` and the empty string.
    #[must_use]
    pub fn new() -> Self {
        Self {
            strings: vec![0],
            string_offsets: HashMap::from([(String::new(), 0)]),
            types: Vec::new(),
            interned: HashMap::new(),
        }
    }

    /// The offset of `text` among the strings; it ends at the first NUL.
    pub fn string(&mut self, text: &str) -> u32 {
        let text = text.split('\0').next().unwrap_or_default();
        if let Some(&offset) = self.string_offsets.get(text) {
            return offset;
        }
        let offset = size_u32(self.strings.len());
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        self.string_offsets.insert(text.to_owned(), offset);
        offset
    }

    /// An integer of `bytes` bytes.
    pub fn int(&mut self, name: &str, bytes: u32, encoding: Encoding) -> TypeId {
        let encoding = match encoding {
            Encoding::Unsigned => 0,
            Encoding::Signed => 1 << 24,
            Encoding::Bool => 4 << 24,
        };
        let record = self.record(name, Kind::Int, 0, bytes, &[encoding | (bytes * 8)]);
        self.intern(record)
    }

    /// A pointer to `target`.
    pub fn pointer(&mut self, target: TypeId) -> TypeId {
        let record = self.record("", Kind::Ptr, 0, target.0, &[]);
        self.intern(record)
    }

    /// `count` times `element`.
    pub fn array(&mut self, element: TypeId, count: u32) -> TypeId {
        let index = self.int("unsigned int", 4, Encoding::Unsigned);
        let record = self.record("", Kind::Array, 0, 0, &[element.0, index.0, count]);
        self.intern(record)
    }

    /// A struct; an empty name makes it anonymous.
    pub fn structure(&mut self, name: &str, size: u32, members: &[BtfMember]) -> TypeId {
        let record = self.structure_record(name, size, members);
        self.intern(record)
    }

    /// The id of a struct that [`Btf::fill`] describes later.
    pub fn reserve(&mut self) -> TypeId {
        self.types.push(Vec::new());
        TypeId(size_u32(self.types.len()))
    }

    /// Describes a struct that was reserved.
    pub fn fill(&mut self, id: TypeId, name: &str, size: u32, members: &[BtfMember]) {
        let record = self.structure_record(name, size, members);
        self.interned.insert(record.clone(), id);
        if let Some(slot) = self.types.get_mut((id.0 as usize).wrapping_sub(1)) {
            *slot = record;
        }
    }

    /// An enumeration of 4-byte values.
    pub fn enumeration(&mut self, name: &str, values: &[(&str, i32)]) -> TypeId {
        let mut words = Vec::with_capacity(values.len() * 2);
        for &(value_name, value) in values {
            words.push(self.string(value_name));
            words.push(value.cast_unsigned());
        }
        let record = self.record(name, Kind::Enum, values.len(), 4, &words);
        self.intern(record)
    }

    /// The type of a function.
    pub fn prototype(&mut self, result: TypeId, args: &[(&str, TypeId)]) -> TypeId {
        let mut words = Vec::with_capacity(args.len() * 2);
        for &(arg_name, ty) in args {
            words.push(self.string(arg_name));
            words.push(ty.0);
        }
        let record = self.record("", Kind::FuncProto, args.len(), result.0, &words);
        self.intern(record)
    }

    /// A function.
    pub fn function(&mut self, name: &str, prototype: TypeId, linkage: Linkage) -> TypeId {
        // The linkage stands where other kinds have their number of members.
        let record = self.record(name, Kind::Func, linkage as usize, prototype.0, &[]);
        self.intern(record)
    }

    /// A variable.
    pub fn variable(&mut self, name: &str, ty: TypeId, linkage: Linkage) -> TypeId {
        let record = self.record(name, Kind::Var, 0, ty.0, &[linkage as u32]);
        self.intern(record)
    }

    /// A section and its variables, by ascending offset.
    pub fn data_section(&mut self, name: &str, size: u32, vars: &[SectionVar]) -> TypeId {
        let words: Vec<u32> =
            vars.iter().flat_map(|var| [var.ty.0, var.offset, var.size]).collect();
        let record = self.record(name, Kind::DataSec, vars.len(), size, &words);
        self.intern(record)
    }

    /// The contents of the section `.BTF`.
    #[must_use]
    pub fn finish(&self) -> Vec<u8> {
        let types_bytes = size_u32(self.types.iter().map(Vec::len).sum());
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&[VERSION, 0]);
        for word in [HEADER_BYTES, 0, types_bytes, types_bytes, size_u32(self.strings.len())] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for record in &self.types {
            out.extend_from_slice(record);
        }
        out.extend_from_slice(&self.strings);
        out
    }

    fn structure_record(&mut self, name: &str, size: u32, members: &[BtfMember]) -> Vec<u8> {
        let mut words = Vec::with_capacity(members.len() * 3);
        for member in members {
            words.extend([self.string(&member.name), member.ty.0, member.offset * 8]);
        }
        self.record(name, Kind::Struct, members.len(), size, &words)
    }

    /// `struct btf_type` and what follows it; `size_or_type` is its last word.
    fn record(
        &mut self,
        name: &str,
        kind: Kind,
        members: usize,
        size_or_type: u32,
        rest: &[u32],
    ) -> Vec<u8> {
        let info = ((kind as u32) << 24) | (size_u32(members) & 0xffff);
        let head = [self.string(name), info, size_or_type];
        head.iter().chain(rest).flat_map(|word| word.to_le_bytes()).collect()
    }

    fn intern(&mut self, record: Vec<u8>) -> TypeId {
        if let Some(&id) = self.interned.get(&record) {
            return id;
        }
        self.types.push(record.clone());
        let id = TypeId(size_u32(self.types.len()));
        self.interned.insert(record, id);
        id
    }
}

/// Sizes in BTF have 32 bits; an object that exceeded them could not have been held in
/// memory by the stages before.
pub(super) fn size_u32(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
