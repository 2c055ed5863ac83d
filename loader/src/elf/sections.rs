//! The ELF file itself: header, sections, symbols and relocations, by goblin.
//!
//! **Invariant**: a section's bytes are handed out only after its range was checked.

use super::error::{ObjectError, ObjectErrorKind};
use super::{
    DataKind, DataSection, OBJECT_BYTES_MAX, SECTION_BYTES_MAX, SECTIONS_MAX, SYMBOLS_MAX,
};
use crate::btf::{Btf, ext::Ext};
use goblin::container::{Container, Ctx, Endian};
use goblin::elf::RelocSection;
use goblin::elf::header::{
    EI_CLASS, EI_DATA, ELFCLASS64, ELFDATA2LSB, EM_BPF, ET_REL, Header, et_to_str, machine_to_str,
};
use goblin::elf::section_header::{
    SHF_EXECINSTR, SHT_NOBITS, SHT_PROGBITS, SHT_REL, SHT_RELA, SHT_SYMTAB, SectionHeader,
};
use goblin::elf::sym::{STB_WEAK, STT_FILE, STT_FUNC, STT_OBJECT, STT_SECTION, Sym, Symtab};

const CONTEXT: Ctx = Ctx { container: Container::Big, le: Endian::Little };
const SECTION_HEADER_BYTES: u64 = 64;
const SYMBOL_BYTES: u64 = 24;
/// BPF: the address of a symbol, into an `lddw`.
pub(super) const R_BPF_64_64: u32 = 1;
/// BPF: a call.
pub(super) const R_BPF_64_32: u32 = 10;

/// A section with its name.
#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(super) name: &'a str,
    pub(super) header: SectionHeader,
}

/// A symbol with its name.
#[derive(Debug)]
pub(super) struct Symbol<'a> {
    pub(super) name: &'a str,
    sym: Sym,
}

/// One relocation of a code section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relocation {
    pub(super) offset: u64,
    pub(super) symbol: usize,
    pub(super) ty: u32,
}

/// The parts of an ELF file.
#[derive(Debug)]
pub(super) struct File<'a> {
    bytes: &'a [u8],
    pub(super) sections: Vec<Section<'a>>,
    pub(super) symbols: Vec<Symbol<'a>>,
}

impl Symbol<'_> {
    pub(super) fn section(&self) -> usize {
        self.sym.st_shndx
    }

    pub(super) fn value(&self) -> u64 {
        self.sym.st_value
    }

    pub(super) fn size(&self) -> u64 {
        self.sym.st_size
    }

    pub(super) fn is_function(&self) -> bool {
        self.sym.st_type() == STT_FUNC
    }

    pub(super) fn is_variable(&self) -> bool {
        self.sym.st_type() == STT_OBJECT
    }

    pub(super) fn is_weak(&self) -> bool {
        self.sym.st_bind() == STB_WEAK
    }

    pub(super) fn is_undefined(&self) -> bool {
        self.sym.st_shndx == 0
    }
}

impl Section<'_> {
    pub(super) fn is_code(&self) -> bool {
        self.header.sh_type == SHT_PROGBITS && self.header.sh_flags & u64::from(SHF_EXECINSTR) != 0
    }

    fn data_kind(&self) -> Option<DataKind> {
        let of = |stem: &str| {
            self.name
                .strip_prefix(stem)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        match self.header.sh_type {
            SHT_PROGBITS if of(".rodata") => Some(DataKind::Constants),
            SHT_PROGBITS if of(".data") => Some(DataKind::Variables),
            SHT_NOBITS if of(".bss") => Some(DataKind::Variables),
            _ => None,
        }
    }
}

fn elf_error(what: &str, offset: u64, error: &goblin::error::Error) -> ObjectError {
    ObjectError::new(what, offset, ObjectErrorKind::Elf { reason: error.to_string() })
}

fn limit(section: &str, what: &'static str, count: u64, limit: u64) -> Result<(), ObjectError> {
    if count > limit {
        let kind = ObjectErrorKind::TooMany { what, count, limit };
        return Err(ObjectError::new(section, 0, kind));
    }
    Ok(())
}

impl<'a> File<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ObjectError> {
        limit("ELF file", "bytes", bytes.len() as u64, OBJECT_BYTES_MAX as u64)?;
        let header = header(bytes)?;
        let count = usize::from(header.e_shnum);
        limit("ELF header", "sections", count as u64, SECTIONS_MAX as u64)?;
        let table = SECTION_HEADER_BYTES * count as u64;
        let end = header.e_shoff.checked_add(table);
        if count == 0 || end.is_none_or(|end| end > bytes.len() as u64) {
            return Err(ObjectError::outside("ELF header", 0x28, "the section table"));
        }
        // The range was checked, so that the offset fits.
        let offset = usize::try_from(header.e_shoff).unwrap_or(usize::MAX);
        let headers = SectionHeader::parse(bytes, offset, count, CONTEXT)
            .map_err(|error| elf_error("section table", header.e_shoff, &error))?;
        let names = headers
            .get(usize::from(header.e_shstrndx))
            .ok_or_else(|| ObjectError::outside("ELF header", 0x3e, "the section of names"))?;
        let names = Strings { bytes: contents(bytes, names, "section names")? };
        let sections = headers
            .iter()
            .enumerate()
            .map(|(i, header)| {
                let name = names.get(header.sh_name).ok_or_else(|| {
                    ObjectError::outside(&format!("section {i}"), 0, "the section's name")
                })?;
                Ok(Section { name, header: header.clone() })
            })
            .collect::<Result<Vec<_>, ObjectError>>()?;
        let symbols = symbols(bytes, &sections)?;
        Ok(Self { bytes, sections, symbols })
    }

    /// The bytes of a section.
    pub(super) fn contents(&self, section: &Section<'a>) -> Result<&'a [u8], ObjectError> {
        contents(self.bytes, &section.header, section.name)
    }

    /// The section called `name`.
    pub(super) fn section(&self, name: &str) -> Option<(usize, &Section<'a>)> {
        self.sections.iter().enumerate().find(|(_, section)| section.name == name)
    }

    /// The bytes of the section called `name`, if there is one.
    pub(super) fn bytes_of(&self, name: &str) -> Result<Option<&'a [u8]>, ObjectError> {
        self.section(name).map(|(_, section)| self.contents(section)).transpose()
    }

    pub(super) fn btf(&self) -> Result<Btf<Vec<u8>>, ObjectError> {
        let Some(bytes) = self.bytes_of(".BTF")? else {
            let kind = ObjectErrorKind::Missing { what: "section `.BTF`".into() };
            return Err(ObjectError::new("ELF file", 0, kind));
        };
        Btf::parse(bytes.to_vec(), |_, _| Ok(())).map_err(|error| ObjectError::btf(".BTF", error))
    }

    pub(super) fn ext(&self) -> Result<Ext, ObjectError> {
        match self.bytes_of(".BTF.ext")? {
            None => Ok(Ext::default()),
            Some(bytes) => {
                crate::btf::ext::parse(bytes).map_err(|error| ObjectError::btf(".BTF.ext", error))
            }
        }
    }

    pub(super) fn license(&self) -> Result<String, ObjectError> {
        let bytes = self.bytes_of("license")?.unwrap_or_default();
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        match std::str::from_utf8(&bytes[..end]) {
            Ok(text) if text.len() < 128 => Ok(text.to_owned()),
            _ => Err(ObjectError::malformed("license", 0, "the license is no short text")),
        }
    }

    pub(super) fn data(&self) -> Result<Vec<DataSection>, ObjectError> {
        let mut data = Vec::new();
        for (index, section) in self.sections.iter().enumerate() {
            let Some(kind) = section.data_kind() else { continue };
            let size = section.header.sh_size;
            if size == 0 {
                continue;
            }
            limit(section.name, "bytes", size, SECTION_BYTES_MAX)?;
            let bytes = if section.header.sh_type == SHT_NOBITS {
                vec![0; usize::try_from(size).unwrap_or(0)]
            } else {
                self.contents(section)?.to_vec()
            };
            let mut variables = Vec::new();
            for symbol in self.symbols.iter().filter(|symbol| symbol.section() == index) {
                if !symbol.is_variable() {
                    continue;
                }
                let end = symbol.value().checked_add(symbol.size());
                let offset = u32::try_from(symbol.value()).ok();
                match (end, offset) {
                    (Some(end), Some(offset)) if end <= size => {
                        variables.push((symbol.name.to_owned(), offset));
                    }
                    _ => {
                        let what = format!("variable `{}`", symbol.name);
                        return Err(ObjectError::outside(section.name, symbol.value(), what));
                    }
                }
            }
            data.push(DataSection { name: section.name.to_owned(), kind, bytes, variables });
        }
        Ok(data)
    }

    /// The relocations of section `index`, by offset.
    pub(super) fn relocations(&self, index: usize) -> Result<Vec<Relocation>, ObjectError> {
        let mut all = Vec::new();
        for section in &self.sections {
            let header = &section.header;
            if header.sh_info as usize != index {
                continue;
            }
            if header.sh_type == SHT_RELA {
                let kind = ObjectErrorKind::Unsupported { what: "a RELA section".into() };
                return Err(ObjectError::new(section.name, 0, kind));
            }
            if header.sh_type != SHT_REL {
                continue;
            }
            limit(section.name, "bytes", header.sh_size, SECTION_BYTES_MAX)?;
            let bytes = self.contents(section)?;
            let parsed = RelocSection::parse(bytes, 0, bytes.len(), false, CONTEXT)
                .map_err(|error| elf_error(section.name, 0, &error))?;
            all.extend(parsed.iter().map(|reloc| Relocation {
                offset: reloc.r_offset,
                symbol: reloc.r_sym,
                ty: reloc.r_type,
            }));
        }
        all.sort_by_key(|reloc| reloc.offset);
        Ok(all)
    }
}

fn header(bytes: &[u8]) -> Result<Header, ObjectError> {
    let at = "ELF header";
    let ident = bytes.get(..16).unwrap_or_default();
    if ident.get(..4) != Some(b"\x7fELF") {
        let kind = ObjectErrorKind::Elf { reason: "not an ELF file".into() };
        return Err(ObjectError::new(at, 0, kind));
    }
    let header = goblin::elf::Elf::parse_header(bytes).map_err(|e| elf_error(at, 0, &e))?;
    let is_ours = header.e_ident[EI_CLASS] == ELFCLASS64 && header.e_ident[EI_DATA] == ELFDATA2LSB;
    if !is_ours || header.e_machine != EM_BPF || header.e_type != ET_REL {
        return Err(ObjectError::new(at, 0, ObjectErrorKind::NotBpf { found: describe(&header) }));
    }
    if u64::from(header.e_shentsize) != SECTION_HEADER_BYTES {
        return Err(ObjectError::malformed(at, 0x3a, "section headers of another size"));
    }
    Ok(header)
}

/// What a foreign file is, in the words of readelf.
fn describe(header: &Header) -> String {
    let bits = if header.e_ident[EI_CLASS] == ELFCLASS64 { 64 } else { 32 };
    let order = if header.e_ident[EI_DATA] == ELFDATA2LSB { "little" } else { "big" };
    let machine = match machine_to_str(header.e_machine) {
        "EM_UNKNOWN" => format!("machine {}", header.e_machine),
        name => name.to_owned(),
    };
    let kind = match et_to_str(header.e_type) {
        "UNKNOWN_ET" => format!("type {}", header.e_type),
        name => name.to_owned(),
    };
    format!("{kind} for {machine}, {bits} bits, {order} endian")
}

fn contents<'a>(
    bytes: &'a [u8],
    header: &SectionHeader,
    name: &str,
) -> Result<&'a [u8], ObjectError> {
    if header.sh_type == SHT_NOBITS {
        return Ok(&[]);
    }
    let start = usize::try_from(header.sh_offset).ok();
    let end = header.sh_offset.checked_add(header.sh_size).and_then(|end| end.try_into().ok());
    start
        .zip(end)
        .and_then(|(start, end): (usize, usize)| bytes.get(start..end))
        .ok_or_else(|| ObjectError::outside(name, 0, "the end of the section"))
}

struct Strings<'a> {
    bytes: &'a [u8],
}

impl<'a> Strings<'a> {
    fn get(&self, offset: usize) -> Option<&'a str> {
        let rest = self.bytes.get(offset..)?;
        let end = rest.iter().position(|&byte| byte == 0)?;
        std::str::from_utf8(&rest[..end]).ok()
    }
}

fn symbols<'a>(bytes: &'a [u8], sections: &[Section<'a>]) -> Result<Vec<Symbol<'a>>, ObjectError> {
    let Some(table) = sections.iter().find(|section| section.header.sh_type == SHT_SYMTAB) else {
        return Ok(Vec::new());
    };
    let count = table.header.sh_size / SYMBOL_BYTES;
    limit(table.name, "symbols", count, SYMBOLS_MAX as u64)?;
    let data = contents(bytes, &table.header, table.name)?;
    let names = sections
        .get(table.header.sh_link as usize)
        .ok_or_else(|| ObjectError::outside(table.name, 0, "the section of names"))?;
    let names = Strings { bytes: contents(bytes, &names.header, names.name)? };
    let parsed = Symtab::parse(data, 0, usize::try_from(count).unwrap_or(0), CONTEXT)
        .map_err(|error| elf_error(table.name, 0, &error))?;
    parsed
        .iter()
        .enumerate()
        .map(|(i, sym)| {
            let place = SYMBOL_BYTES * i as u64;
            // The file's symbol and a section's need no name that can be read.
            let name = match names.get(sym.st_name) {
                Some(name) => name,
                None if sym.st_type() == STT_FILE || sym.st_type() == STT_SECTION => "",
                None => return Err(ObjectError::outside(table.name, place, "a symbol's name")),
            };
            Ok(Symbol { name, sym })
        })
        .collect()
}
