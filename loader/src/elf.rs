//! A BPF object file: programs, subprograms, maps, data, BTF and our own sections.
//!
//! Pure: bytes in, [`Object`] out. References between the parts are resolved here to
//! indexes; what depends on the kernel (types, file descriptors) is left to `link`.
//!
//! **Invariant**: everything in a file is an allegation. Every offset, size and index in an
//! [`Object`] was checked against what it refers to.

mod code;
mod error;
mod maps;
mod meta;
mod sections;

pub use error::{ObjectError, ObjectErrorKind};
pub use maps::{MapDef, map_type};

use crate::btf::{Btf, DataLayout, ext::Ext};
use crate::insn::Insn;
use kernel_vm::object::{Block, FilterMeta, ObjectMeta};

/// Largest object file that is read.
pub const OBJECT_BYTES_MAX: usize = 16 << 20;
/// Largest section of code or data.
pub const SECTION_BYTES_MAX: u64 = 4 << 20;
/// Most sections.
pub const SECTIONS_MAX: usize = 1024;
/// Most symbols.
pub const SYMBOLS_MAX: usize = 1 << 14;
/// Most functions.
pub const FUNCTIONS_MAX: usize = 4096;
/// Most maps.
pub const MAPS_MAX: usize = 1024;

/// A parsed object file.
#[derive(Clone, Debug)]
pub struct Object {
    /// The programs' license, for helpers that ask for the GPL.
    pub license: String,
    /// Programs and subprograms, by section and place.
    pub functions: Vec<Function>,
    /// Maps in the order of the `.maps` section.
    pub maps: Vec<MapDef>,
    /// Sections of variables: each becomes a map of one value.
    pub data: Vec<DataSection>,
    /// The types.
    pub btf: Btf<Vec<u8>>,
    /// Lines, function types and CO-RE relocations.
    pub ext: Ext,
    meta: Option<ObjectMeta>,
    vm: Vec<u8>,
}

/// A function: the entry of a program, or a subprogram.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its symbol.
    pub name: String,
    /// The section that it is in; programs are told by it.
    pub section: String,
    /// Its first slot in that section.
    pub first: usize,
    /// The insns.
    pub insns: Vec<Insn>,
    /// References to be filled in, by slot, ascending.
    pub references: Vec<Reference>,
}

/// A place in a function that refers to another part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The slot, from the function's start.
    pub slot: usize,
    /// To what.
    pub target: Target,
}

/// What a slot refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A map, by its index in [`Object::maps`]; an `lddw`.
    Map(usize),
    /// An address in a data section; an `lddw`.
    Data {
        /// Index in [`Object::data`].
        section: usize,
        /// Bytes from its start.
        offset: u32,
    },
    /// A function of this object, by its index in [`Object::functions`]; a call, or an
    /// `lddw` of its address.
    Function(usize),
    /// A function of the kernel; a call.
    Kfunc {
        /// Its name.
        name: String,
        /// The program can do without it.
        weak: bool,
    },
}

/// What becomes of a section of variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataKind {
    /// Constants: frozen before programs are loaded.
    Constants,
    /// Variables.
    Variables,
}

/// A section of variables.
#[derive(Clone, Debug)]
pub struct DataSection {
    /// `.rodata`, `.bss`, `.data`, or one of these with a suffix.
    pub name: String,
    /// What becomes of it.
    pub kind: DataKind,
    /// Its first contents; zeros for `.bss`.
    pub bytes: Vec<u8>,
    /// Its variables' names and offsets.
    pub variables: Vec<(String, u32)>,
}

impl Object {
    /// Reads an object file.
    ///
    /// # Errors
    /// [`ObjectError`] names the section and the offset of what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, ObjectError> {
        let file = sections::File::parse(bytes)?;
        let btf = file.btf()?;
        let ext = file.ext()?;
        let data = file.data()?;
        let maps = maps::parse(&file, &btf)?;
        let functions = code::parse(&file, &maps, &data)?;
        let license = file.license()?;
        let mut object = Self {
            license,
            functions,
            maps,
            data,
            btf,
            ext,
            meta: None,
            vm: file.bytes_of(kernel_vm::object::VM_SECTION)?.unwrap_or_default().to_vec(),
        };
        object.meta = meta::parse(&file, &object)?;
        Ok(object)
    }

    /// The metadata, when a kfilter compiler wrote the object.
    #[must_use]
    pub const fn meta(&self) -> Option<&ObjectMeta> {
        self.meta.as_ref()
    }

    /// The filters, none in a foreign object.
    #[must_use]
    pub fn filters(&self) -> &[FilterMeta] {
        self.meta.as_ref().map_or(&[], |meta| &meta.filters)
    }

    /// The filter called `name`.
    #[must_use]
    pub fn filter(&self, name: &str) -> Option<&FilterMeta> {
        self.filters().iter().find(|filter| filter.name == name)
    }

    /// The bytes of a filter's `vm` program.
    #[must_use]
    pub fn vm_program(&self, filter: &FilterMeta) -> &[u8] {
        self.vm_code(filter.vm.program)
    }

    /// A part of the section of `vm` programs; empty when it is not inside of it.
    #[must_use]
    pub fn vm_code(&self, block: Block) -> &[u8] {
        let start = block.offset as usize;
        self.vm.get(start..start.saturating_add(block.size as usize)).unwrap_or(&[])
    }

    /// The index of the function called `name`.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<usize> {
        self.functions.iter().position(|function| function.name == name)
    }

    /// The data section called `name`.
    #[must_use]
    pub fn data_section(&self, name: &str) -> Option<&DataSection> {
        self.data.iter().find(|data| data.name == name)
    }
}

impl DataLayout for Object {
    fn section_size(&self, section: &str) -> Option<u32> {
        if section == ".maps" {
            return self.maps.iter().map(|map| map.offset.saturating_add(map.size)).max();
        }
        u32::try_from(self.data_section(section)?.bytes.len()).ok()
    }

    fn variable_offset(&self, section: &str, variable: &str) -> Option<u32> {
        if section == ".maps" {
            return self.maps.iter().find(|map| map.name == variable).map(|map| map.offset);
        }
        let data = self.data_section(section)?;
        data.variables.iter().find(|(name, _)| name == variable).map(|(_, offset)| *offset)
    }
}
