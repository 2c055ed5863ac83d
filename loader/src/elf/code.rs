//! Code sections, cut into functions, with every reference resolved to an index.
//!
//! **Invariant**: a reference's slot exists; a 16-byte load has both halves in one function;
//! a call goes to the first insn of a function.

use super::error::{ObjectError, ObjectErrorKind};
use super::sections::{File, R_BPF_64_32, R_BPF_64_64, Relocation, Symbol};
use super::{DataSection, FUNCTIONS_MAX, Function, MapDef, Reference, SECTION_BYTES_MAX, Target};
use crate::insn::{CALL, INSN_BYTES, Insn, PSEUDO_CALL, PSEUDO_FUNC, PSEUDO_KFUNC_CALL};
use std::collections::HashMap;

const SLOT: u64 = INSN_BYTES as u64;

/// What references are resolved against.
struct Scope<'a> {
    file: &'a File<'a>,
    maps: &'a [MapDef],
    data: &'a [DataSection],
    /// Function by (section, first slot).
    starts: HashMap<(usize, usize), usize>,
}

pub(super) fn parse(
    file: &File<'_>,
    maps: &[MapDef],
    data: &[DataSection],
) -> Result<Vec<Function>, ObjectError> {
    let mut functions = Vec::new();
    let mut starts = HashMap::new();
    let mut sections = Vec::new();
    for (index, section) in file.sections.iter().enumerate() {
        if !section.is_code() || section.header.sh_size == 0 {
            continue;
        }
        let from = functions.len();
        cut(file, index, &mut functions)?;
        if functions.len() > FUNCTIONS_MAX {
            let (count, limit) = (functions.len() as u64, FUNCTIONS_MAX as u64);
            let kind = ObjectErrorKind::TooMany { what: "functions", count, limit };
            return Err(ObjectError::new(section.name, 0, kind));
        }
        for (i, function) in functions.iter().enumerate().skip(from) {
            starts.insert((index, function.first), i);
        }
        sections.push((index, from..functions.len()));
    }
    let scope = Scope { file, maps, data, starts };
    for (index, range) in sections {
        let relocs = file.relocations(index)?;
        let mut used = 0;
        for function in &mut functions[range] {
            let (references, here) = scope.references(index, function, &relocs)?;
            function.references = references;
            used += here;
        }
        if used != relocs.len() {
            let name = file.sections[index].name;
            return Err(ObjectError::outside(name, 0, "the target of a relocation"));
        }
    }
    Ok(functions)
}

/// Cuts section `index` into functions.
fn cut(file: &File<'_>, index: usize, functions: &mut Vec<Function>) -> Result<(), ObjectError> {
    let section = &file.sections[index];
    let size = section.header.sh_size;
    if size > SECTION_BYTES_MAX {
        let kind =
            ObjectErrorKind::TooMany { what: "bytes", count: size, limit: SECTION_BYTES_MAX };
        return Err(ObjectError::new(section.name, 0, kind));
    }
    let bytes = file.contents(section)?;
    let mut symbols: Vec<&Symbol<'_>> = file
        .symbols
        .iter()
        .filter(|symbol| symbol.section() == index && symbol.is_function())
        .collect();
    symbols.sort_by_key(|symbol| symbol.value());
    let mut end_before = 0;
    for symbol in symbols {
        let (start, size) = (symbol.value(), symbol.size());
        let wrong = |what: &str| {
            let what = format!("function `{}` {what}", symbol.name);
            Err(ObjectError::malformed(section.name, start, what))
        };
        if !start.is_multiple_of(SLOT) || !size.is_multiple_of(SLOT) || size == 0 {
            return wrong("is no whole number of insns");
        }
        if start < end_before {
            return wrong("overlaps the one before it");
        }
        end_before = start.saturating_add(size);
        let range = usize::try_from(start).ok().zip(usize::try_from(end_before).ok());
        let Some(code) = range.and_then(|(start, end)| bytes.get(start..end)) else {
            let what = format!("function `{}`", symbol.name);
            return Err(ObjectError::outside(section.name, start, what));
        };
        let (slots, _) = code.as_chunks::<INSN_BYTES>();
        functions.push(Function {
            name: symbol.name.to_owned(),
            section: section.name.to_owned(),
            // It lies within a section, so that it fits.
            first: usize::try_from(start / SLOT).unwrap_or(usize::MAX),
            insns: slots.iter().map(|&slot| Insn::from_bytes(slot)).collect(),
            references: Vec::new(),
        });
    }
    Ok(())
}

impl Scope<'_> {
    /// The references of one function, and how many relocations they used.
    fn references(
        &self,
        section: usize,
        function: &Function,
        relocs: &[Relocation],
    ) -> Result<(Vec<Reference>, usize), ObjectError> {
        let name = self.file.sections[section].name;
        let start = function.first as u64 * SLOT;
        let end = start + function.insns.len() as u64 * SLOT;
        let first = relocs.partition_point(|reloc| reloc.offset < start);
        let last = relocs.partition_point(|reloc| reloc.offset < end);
        let mut relocs = relocs[first..last].iter().peekable();
        let mut references = Vec::new();
        let mut slot = 0;
        while let Some(&insn) = function.insns.get(slot) {
            let place = start + slot as u64 * SLOT;
            let reloc = relocs.next_if(|reloc| reloc.offset == place);
            if insn.is_lddw() && function.insns.get(slot + 1).is_none_or(|next| next.code != 0) {
                return Err(ObjectError::malformed(name, place, "half of a 16-byte load"));
            }
            let target = match reloc {
                Some(reloc) => Some(self.target(name, insn, *reloc)?),
                None if insn.code == CALL && insn.src() == PSEUDO_CALL => {
                    let here = (function.first + slot) as i64 + 1;
                    Some(self.function(section, here + i64::from(insn.imm), name, place)?)
                }
                None => None,
            };
            references.extend(target.map(|target| Reference { slot, target }));
            slot += if insn.is_lddw() { 2 } else { 1 };
        }
        match relocs.next() {
            None => Ok((references, last - first)),
            Some(reloc) => {
                let what = "a relocation where no insn begins";
                Err(ObjectError::malformed(name, reloc.offset, what))
            }
        }
    }

    fn function(
        &self,
        section: usize,
        slot: i64,
        name: &str,
        place: u64,
    ) -> Result<Target, ObjectError> {
        usize::try_from(slot)
            .ok()
            .and_then(|slot| self.starts.get(&(section, slot)))
            .map(|&function| Target::Function(function))
            .ok_or_else(|| {
                let what = "a reference to code that is not the start of a function";
                ObjectError::malformed(name, place, what)
            })
    }

    /// What one relocation refers to.
    fn target(&self, name: &str, insn: Insn, reloc: Relocation) -> Result<Target, ObjectError> {
        let place = reloc.offset;
        let malformed = |what: String| ObjectError::malformed(name, place, what);
        let symbol = self
            .file
            .symbols
            .get(reloc.symbol)
            .ok_or_else(|| ObjectError::outside(name, place, "a relocation's symbol"))?;
        let is_call = insn.code == CALL;
        let fits = match reloc.ty {
            R_BPF_64_32 => is_call,
            R_BPF_64_64 => insn.is_lddw(),
            _ => false,
        };
        if !fits {
            let what = format!("relocation type {} at opcode {:#04x}", reloc.ty, insn.code);
            return Err(malformed(what));
        }
        if symbol.is_undefined() {
            if !is_call || !matches!(insn.src(), PSEUDO_CALL | PSEUDO_KFUNC_CALL) {
                let what = format!("kernel variable `{}`", symbol.name);
                return Err(ObjectError::new(name, place, ObjectErrorKind::Unsupported { what }));
            }
            return Ok(Target::Kfunc { name: symbol.name.to_owned(), weak: symbol.is_weak() });
        }
        let section = self
            .file
            .sections
            .get(symbol.section())
            .ok_or_else(|| ObjectError::outside(name, place, "a symbol's section"))?;
        let base = i64::try_from(symbol.value()).unwrap_or(i64::MAX);
        if section.is_code() {
            // A call counts slots after the next one, an address bytes from the symbol.
            let slot = if is_call {
                base / SLOT as i64 + i64::from(insn.imm) + 1
            } else {
                base.saturating_add(insn.imm.into()) / SLOT as i64
            };
            let src_fits = !is_call || insn.src() == PSEUDO_CALL;
            if !src_fits && insn.src() != PSEUDO_FUNC {
                return Err(malformed("a call of a function that is no local call".into()));
            }
            return self.function(symbol.section(), slot, name, place);
        }
        if is_call {
            return Err(malformed(format!("a call of `{}`, which is no code", symbol.name)));
        }
        let offset = u32::try_from(base.saturating_add(insn.imm.into()))
            .map_err(|_| malformed("an address before its section".into()))?;
        if section.name == ".maps" {
            let map = self.maps.iter().position(|map| map.offset == offset);
            return map
                .map(Target::Map)
                .ok_or_else(|| malformed(format!("no map at {offset} of `.maps`")));
        }
        let data = self.data.iter().position(|data| data.name == section.name);
        match data {
            Some(index) if u64::from(offset) <= self.data[index].bytes.len() as u64 => {
                Ok(Target::Data { section: index, offset })
            }
            Some(_) => Err(malformed(format!("an address outside of `{}`", section.name))),
            None => {
                let what = format!("a reference to section `{}`", section.name);
                Err(ObjectError::new(name, place, ObjectErrorKind::Unsupported { what }))
            }
        }
    }
}
