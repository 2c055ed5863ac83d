//! The object writer: code, maps, data and metadata in, an ELF BPF relocatable out.
//!
//! Last stage of the compiler. Each part of the object has its own module: [`btf`] builds
//! the types, `used`, `kernel` and `describe` decide which, `ext` writes line information and CO-RE
//! records, `elf` lays out sections, symbols and relocations. What comes out is what libbpf
//! and bpftool expect of a `NAME.bpf.o`; our own sections are of kinds that they skip.
//!
//! **Invariant**: the same [`Module`] gives the same bytes, and every type in the object's
//! BTF stands there once.

pub mod btf;
mod describe;
mod elf;
mod ext;
mod kernel;
#[cfg(test)]
mod tests;
mod used;

use kernel_vm::object::ObjectMeta;

use crate::code::Code;

/// The license that the object declares: the helpers that it calls ask for the GPL.
pub const LICENSE: &str = "Dual MIT/GPL";

/// Everything that an object is made of.
#[derive(Clone, Debug)]
pub struct Module {
    /// The metadata. Parameters, records and statistics are described in BTF from it.
    pub meta: ObjectMeta,
    /// The source text that the code's spans are in, for line information.
    pub source: String,
    /// The programs, in the order in which they stand in their sections.
    pub programs: Vec<Program>,
    /// The functions that programs call: section `.text`.
    pub subprograms: Vec<Subprogram>,
    /// Names of subprograms that take only numbers, with how many: they are global, so that
    /// the kernel verifies each once, by itself, whatever it is called with.
    pub global: Vec<(String, u8)>,
    /// The maps.
    pub maps: Vec<Map>,
    /// The contents of `.rodata`: the blocks that the metadata names.
    pub rodata: Vec<u8>,
    /// What else is in `.rodata` beside the blocks of parameters.
    pub constants: Vec<Scratch>,
    /// What else is in `.bss` beside the blocks of statistics that the metadata names.
    pub scratch: Vec<Scratch>,
    /// The contents of `.kfilter.vm`.
    pub vm: Vec<u8>,
}

/// A program that the kernel can be asked to run.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its symbol.
    pub name: String,
    /// Its section, which says how it is run.
    pub section: ProgramSection,
    /// Its code.
    pub code: Code,
}

/// The sections of programs, by the names that libbpf knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProgramSection {
    /// `syscall`: run once when asked to.
    Syscall,
    /// `iter/task`: run for each task, when a file is read.
    IterTask,
    /// `iter.s/task`: the same, and may sleep.
    IterTaskSleepable,
    /// `iter/task_file`: run for each descriptor of each task.
    IterTaskFile,
    /// `iter/task_vma`: run for each mapping of each process.
    IterTaskVma,
}

impl ProgramSection {
    /// Every section, in the order of the file.
    pub const ALL: [Self; 5] = [
        Self::Syscall,
        Self::IterTask,
        Self::IterTaskSleepable,
        Self::IterTaskFile,
        Self::IterTaskVma,
    ];

    /// Its name in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Syscall => "syscall",
            Self::IterTask => "iter/task",
            Self::IterTaskSleepable => "iter.s/task",
            Self::IterTaskFile => "iter/task_file",
            Self::IterTaskVma => "iter/task_vma",
        }
    }
}

/// A function that programs call.
#[derive(Clone, Debug)]
pub struct Subprogram {
    /// Its symbol.
    pub name: String,
    /// Its code.
    pub code: Code,
}

/// A map.
#[derive(Clone, Debug)]
pub struct Map {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: MapKind,
    /// `BPF_F_*` flags at creation.
    pub flags: u32,
    /// Most entries; bytes for a ring buffer.
    pub max_entries: u32,
    /// The key's type; ring buffers have none.
    pub key: Option<DataType>,
    /// The value's type; ring buffers have none.
    pub value: Option<DataType>,
}

/// Kinds of maps, with the kernel's numbers (`enum bpf_map_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum MapKind {
    /// A hash table.
    Hash = 1,
    /// An array.
    Array = 2,
    /// An array that each CPU has one of.
    PerCpuArray = 6,
    /// A hash table that forgets what was used least lately.
    LruHash = 9,
    /// A ring buffer that user space reads.
    RingBuf = 27,
    /// A value for each task, freed with it.
    TaskStorage = 29,
}

/// A variable that is no block of the metadata's: in `.bss` one that only programs use.
#[derive(Clone, Debug)]
pub struct Scratch {
    /// Its symbol.
    pub name: String,
    /// Bytes from the start of the section, a multiple of 8.
    pub offset: u32,
    /// Its type.
    pub ty: DataType,
}

/// A type of data that the object itself lays out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataType {
    /// An unsigned 32-bit number.
    U32,
    /// A signed 32-bit number.
    I32,
    /// An unsigned 64-bit number.
    U64,
    /// A signed 64-bit number.
    I64,
    /// A text of so many bytes.
    Text(u32),
    /// So many of the same.
    Array(Box<DataType>, u32),
    /// A struct.
    Struct(StructType),
    /// A struct of the kernel that it finds in a map's value by its name, of so many bytes.
    Kernel(&'static str, u32),
}

/// A struct that the object itself lays out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StructType {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u32,
    /// Its members, by ascending offset.
    pub members: Vec<Member>,
}

/// A member of a [`StructType`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name; a dot becomes an underscore.
    pub name: String,
    /// Bytes from the struct's start.
    pub offset: u32,
    /// Its type.
    pub ty: DataType,
}

impl DataType {
    /// So many unsigned 64-bit numbers, for contents that need no description.
    #[must_use]
    pub fn words(count: u32) -> Self {
        Self::Array(Box::new(Self::U64), count)
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u32 {
        match self {
            Self::U32 | Self::I32 => 4,
            Self::U64 | Self::I64 => 8,
            Self::Text(bytes) => *bytes,
            Self::Array(element, count) => element.size().saturating_mul(*count),
            Self::Struct(layout) => layout.size,
            Self::Kernel(_, bytes) => *bytes,
        }
    }
}

/// Why an object could not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("object: {kind}")]
pub struct ObjectError {
    /// What is wrong.
    pub kind: ObjectErrorKind,
}

/// What is wrong with a [`Module`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectErrorKind {
    /// A field that [`kernel_types`](crate::target::bpf::kernel_types) does not have.
    #[error("no kernel type is described for `{path}`")]
    UnknownKernelField {
        /// The struct and the path in it.
        path: String,
    },
    /// A kernel function without a prototype.
    #[error("no prototype is described for the kernel function `{name}`")]
    UnknownKfunc {
        /// Its name.
        name: String,
    },
    /// A reference to a map, subprogram or section that the module does not have.
    #[error("`{function}` refers to `{name}`, which the object does not have")]
    UnknownSymbol {
        /// The function that refers.
        function: String,
        /// What it refers to.
        name: String,
    },
    /// A reference from an insn that cannot hold it.
    #[error("insn {pc} of `{function}` cannot hold the reference made there")]
    BadRelocation {
        /// The function.
        function: String,
        /// The insn.
        pc: usize,
    },
    /// Two symbols of one name.
    #[error("two symbols are called `{name}`")]
    DuplicateSymbol {
        /// The name.
        name: String,
    },
    /// A value does not fit where the format keeps it.
    #[error("{what} does not fit the object format")]
    TooLarge {
        /// What is too large.
        what: &'static str,
    },
    /// The ELF crate refused.
    #[error("cannot write ELF: {message}")]
    Elf {
        /// Its message.
        message: String,
    },
}

impl From<ObjectErrorKind> for ObjectError {
    fn from(kind: ObjectErrorKind) -> Self {
        Self { kind }
    }
}

/// The bytes of `module`'s object file.
///
/// # Errors
/// When a reference cannot be resolved or a size does not fit the format.
pub fn write(module: &Module) -> Result<Vec<u8>, ObjectError> {
    let mut types = kernel::Types::new(module)?;
    let described = describe::describe(module, &mut types)?;
    let (code, ext) = ext::write(module, &mut types, &described)?;
    elf::write(module, &code, &described, &types.btf.finish(), &ext)
}
