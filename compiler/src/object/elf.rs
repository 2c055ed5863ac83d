//! The file itself: sections, symbols and relocations, by way of the `object` crate.

use std::collections::HashMap;

use kernel_vm::object::{META_SECTION, VM_SECTION};
use object::write::{Object, Relocation, SectionId, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind,
    SymbolScope, elf,
};

use super::describe::{Described, Symbol as DataSymbol};
use super::ext::{CodeSection, Reference, TEXT};
use super::{LICENSE, Module, ObjectError, ObjectErrorKind};
use crate::code::RelocKind;
use crate::target::bpf::kernel_types;

const INSN_ALIGN: u64 = 8;

/// The bytes of the file.
pub(super) fn write(
    module: &Module,
    code: &[CodeSection],
    described: &Described,
    btf: &[u8],
    ext: &[u8],
) -> Result<Vec<u8>, ObjectError> {
    let mut file = File {
        object: Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little),
        symbols: HashMap::new(),
        sections: HashMap::new(),
    };
    for section in code {
        let id = file.section(section.name, SectionKind::Text, &section.bytes, INSN_ALIGN);
        for function in &section.functions {
            let global = module.global.iter().any(|(name, _)| *name == function.name);
            let scope = if section.name == TEXT && !global {
                SymbolScope::Compilation
            } else {
                SymbolScope::Dynamic
            };
            let (offset, size) = (function.offset as u64, function.size as u64);
            file.symbol(&function.name, Some(id), offset, size, SymbolKind::Text, scope)?;
        }
    }
    file.data(module, described)?;
    let meta = serde_json::to_vec(&module.meta)
        .map_err(|error| ObjectErrorKind::Elf { message: error.to_string() })?;
    for (name, bytes) in
        [(".BTF", btf), (".BTF.ext", ext), (META_SECTION, &meta), (VM_SECTION, &module.vm)]
    {
        if !bytes.is_empty() {
            file.section(name, SectionKind::Other, bytes, INSN_ALIGN);
        }
    }
    for section in code {
        file.relocations(section)?;
    }
    file.object.write().map_err(|error| ObjectErrorKind::Elf { message: error.to_string() }.into())
}

struct File {
    object: Object<'static>,
    symbols: HashMap<String, SymbolId>,
    sections: HashMap<&'static str, SectionId>,
}

impl File {
    fn section(
        &mut self,
        name: &'static str,
        kind: SectionKind,
        bytes: &[u8],
        align: u64,
    ) -> SectionId {
        let id = self.object.add_section(Vec::new(), name.as_bytes().to_vec(), kind);
        self.object.set_section_data(id, bytes.to_vec(), align);
        self.sections.insert(name, id);
        id
    }

    fn symbol(
        &mut self,
        name: &str,
        section: Option<SectionId>,
        value: u64,
        size: u64,
        kind: SymbolKind,
        scope: SymbolScope,
    ) -> Result<SymbolId, ObjectError> {
        if self.symbols.contains_key(name) {
            return Err(ObjectErrorKind::DuplicateSymbol { name: name.to_owned() }.into());
        }
        let weak = section.is_none() && kernel_types::is_optional(name);
        let id = self.object.add_symbol(Symbol {
            name: name.as_bytes().to_vec(),
            value,
            size,
            kind,
            scope,
            weak,
            section: section.map_or(SymbolSection::Undefined, SymbolSection::Section),
            flags: SymbolFlags::None,
        });
        self.symbols.insert(name.to_owned(), id);
        Ok(id)
    }

    fn variables(&mut self, section: SectionId, symbols: &[DataSymbol]) -> Result<(), ObjectError> {
        for symbol in symbols {
            let (offset, size) = (symbol.offset.into(), symbol.size.into());
            let scope = SymbolScope::Dynamic;
            self.symbol(&symbol.name, Some(section), offset, size, SymbolKind::Data, scope)?;
        }
        Ok(())
    }

    fn data(&mut self, module: &Module, described: &Described) -> Result<(), ObjectError> {
        if let Some(last) = described.maps.last() {
            let zeros = vec![0; (last.offset + last.size) as usize];
            let maps = self.section(".maps", SectionKind::Data, &zeros, 8);
            self.variables(maps, &described.maps)?;
        }
        if !module.rodata.is_empty() {
            let rodata = self.section(".rodata", SectionKind::ReadOnlyData, &module.rodata, 8);
            self.variables(rodata, &described.rodata)?;
        }
        if described.bss_bytes != 0 {
            let kind = SectionKind::UninitializedData;
            let bss = self.object.add_section(Vec::new(), b".bss".to_vec(), kind);
            self.object.append_section_bss(bss, described.bss_bytes.into(), 8);
            self.sections.insert(".bss", bss);
            self.variables(bss, &described.bss)?;
        }
        let text: Vec<u8> = LICENSE.bytes().chain([0]).collect();
        let license = self.section("license", SectionKind::Data, &text, 1);
        let size = text.len() as u64;
        let scope = SymbolScope::Dynamic;
        self.symbol("LICENSE", Some(license), 0, size, SymbolKind::Data, scope)?;
        Ok(())
    }

    /// Relocations of one section. The `object` crate writes addends into the code; ours
    /// are there already, so the code is put back as it was.
    fn relocations(&mut self, code: &CodeSection) -> Result<(), ObjectError> {
        let Some(&section) = self.sections.get(code.name) else { return Ok(()) };
        let mut bytes = code.bytes.clone();
        for reference in &code.references {
            let (symbol, r_type) = self.resolve(reference, &mut bytes)?;
            let flags = RelocationFlags::Elf { r_type };
            let offset = reference.offset as u64;
            self.object
                .add_relocation(section, Relocation { offset, symbol, addend: 0, flags })
                .map_err(|error| ObjectErrorKind::Elf { message: error.to_string() })?;
        }
        self.object.section_mut(section).data_mut().copy_from_slice(&bytes);
        Ok(())
    }

    /// The symbol and the type of a relocation. Subprograms are referred to by their
    /// section, the only way that libbpf 1.1 takes for static functions; their offset goes
    /// into the insn.
    fn resolve(
        &mut self,
        reference: &Reference,
        bytes: &mut [u8],
    ) -> Result<(SymbolId, elf::RelocationType), ObjectError> {
        let unknown = |name: &str| {
            let function = reference.function.clone();
            ObjectError::from(ObjectErrorKind::UnknownSymbol { function, name: name.to_owned() })
        };
        match &reference.kind {
            RelocKind::Map(name) => {
                let symbol = *self.symbols.get(name).ok_or_else(|| unknown(name))?;
                Ok((symbol, elf::R_BPF_64_64))
            }
            RelocKind::Data { section, .. } => {
                let id = *self.sections.get(section).ok_or_else(|| unknown(section))?;
                Ok((self.object.section_symbol(id), elf::R_BPF_64_64))
            }
            RelocKind::Kfunc(name) => {
                let symbol = match self.symbols.get(*name) {
                    Some(&symbol) => symbol,
                    None => {
                        self.symbol(name, None, 0, 0, SymbolKind::Unknown, SymbolScope::Unknown)?
                    }
                };
                Ok((symbol, elf::R_BPF_64_32))
            }
            RelocKind::Subprog(name) | RelocKind::SubprogAddress(name) => {
                let text = *self.sections.get(TEXT).ok_or_else(|| unknown(name))?;
                let symbol = *self.symbols.get(name).ok_or_else(|| unknown(name))?;
                let symbol = self.object.symbol(symbol);
                if symbol.section.id() != Some(text) {
                    return Err(unknown(name));
                }
                let start = i32::try_from(symbol.value)
                    .map_err(|_| ObjectErrorKind::TooLarge { what: "`.text`" })?;
                let is_call = matches!(reference.kind, RelocKind::Subprog(_));
                let (imm, r_type) = if is_call {
                    (start / 8 - 1, elf::R_BPF_64_32)
                } else {
                    (start, elf::R_BPF_64_64)
                };
                if let Some(field) = bytes.get_mut(reference.offset + 4..reference.offset + 8) {
                    field.copy_from_slice(&imm.to_le_bytes());
                }
                Ok((self.object.section_symbol(text), r_type))
            }
            RelocKind::FieldOffset(_)
            | RelocKind::FieldExists(_)
            | RelocKind::FieldSize(_)
            | RelocKind::TypeSize(_)
            | RelocKind::TypeId(_)
            | RelocKind::EnumValue(..) => Err(unknown("a CO-RE record")),
        }
    }
}
