//! `.BTF.ext`: functions, source lines and CO-RE records, each by section and insn.
//!
//! Also writes the code's bytes, since an insn with a CO-RE record has to hold the value
//! that the local types give, and one with an ELF relocation the addend of its kind.
//!
//! **Invariant**: a function's first insn has a line, lines ascend, and none is on the
//! second half of an `lddw`: the kernel refuses anything else.

use super::btf::{TypeId, size_u32};
use super::describe::Described;
use super::kernel::{Core, Types};
use super::{Module, ObjectError, ObjectErrorKind, ProgramSection};
use crate::code::{Code, LineMark, RelocKind, Slot};
use crate::hir::Span;

const INSN_BYTES: usize = 8;
const MAGIC: u16 = 0xeb9f;
const HEADER_BYTES: u32 = 32;
const LDDW: u8 = 0x18;
const CALL: u8 = 0x85;
const MOV64_IMM: u8 = 0xb7;
const MOV32_IMM: u8 = 0xb4;
const ADD64_IMM: u8 = 0x07;
/// In a call's or an `lddw`'s source register: the immediate names a function.
const PSEUDO_CALL: u8 = 1;
const PSEUDO_FUNC: u8 = 4;
const LINE_TEXT_MAX: usize = 200;
const LINE_MAX: u32 = (1 << 22) - 1;
const COLUMN_MAX: u32 = (1 << 10) - 1;

/// The code of one section.
#[derive(Debug)]
pub(super) struct CodeSection {
    /// The section's name.
    pub(super) name: &'static str,
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
    /// Its functions.
    pub(super) functions: Vec<Function>,
    /// References that ELF relocations describe.
    pub(super) references: Vec<Reference>,
}

/// A function's symbol.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) offset: usize,
    pub(super) size: usize,
}

/// A reference to a symbol.
#[derive(Debug)]
pub(super) struct Reference {
    /// The function that refers.
    pub(super) function: String,
    /// Bytes from the section's start.
    pub(super) offset: usize,
    /// What it refers to.
    pub(super) kind: RelocKind,
}

/// The name of the section of subprograms.
pub(super) const TEXT: &str = ".text";

/// One section's records in one of the tables.
struct Records {
    section: &'static str,
    records: Vec<[u32; 4]>,
}

/// Writes all code and `.BTF.ext`.
pub(super) fn write(
    module: &Module,
    types: &mut Types,
    described: &Described,
) -> Result<(Vec<CodeSection>, Vec<u8>), ObjectError> {
    let lines = Lines::new(&module.source);
    let file = types.btf.string(&module.meta.source);
    let mut writer = Writer {
        types,
        lines,
        file,
        functions: Vec::new(),
        line_records: Vec::new(),
        core_records: Vec::new(),
    };
    let mut sections = Vec::new();
    for section in ProgramSection::ALL {
        let functions = module.programs.iter().zip(&described.programs);
        let functions: Vec<_> = functions
            .filter(|(program, _)| program.section == section)
            .map(|(program, &ty)| (program.name.as_str(), &program.code, ty))
            .collect();
        sections.extend(writer.section(section.name(), &functions)?);
    }
    let functions: Vec<_> = module
        .subprograms
        .iter()
        .zip(&described.subprograms)
        .map(|(subprogram, &ty)| (subprogram.name.as_str(), &subprogram.code, ty))
        .collect();
    sections.extend(writer.section(TEXT, &functions)?);
    let ext = writer.finish();
    Ok((sections, ext))
}

struct Writer<'a> {
    types: &'a mut Types,
    lines: Lines<'a>,
    file: u32,
    functions: Vec<Records>,
    line_records: Vec<Records>,
    core_records: Vec<Records>,
}

impl Writer<'_> {
    fn section(
        &mut self,
        name: &'static str,
        functions: &[(&str, &Code, TypeId)],
    ) -> Result<Option<CodeSection>, ObjectError> {
        if functions.is_empty() {
            return Ok(None);
        }
        let mut out =
            CodeSection { name, bytes: Vec::new(), functions: Vec::new(), references: Vec::new() };
        let mut function_records = Vec::new();
        let mut line_records = Vec::new();
        let mut core_records = Vec::new();
        for &(function, code, ty) in functions {
            let base = out.bytes.len();
            let mut slots = code.slots.clone();
            function_records.push([size_u32(base), ty.0, 0, 0]);
            for mark in marks(code) {
                let (text, line, column) = self.lines.find(mark.span);
                let text = self.types.btf.string(&text);
                let place = size_u32(base + mark.pc * INSN_BYTES);
                line_records.push([place, self.file, text, (line << 10) | column]);
            }
            for reloc in &code.relocs {
                let bad = || ObjectErrorKind::BadRelocation {
                    function: function.to_owned(),
                    pc: reloc.pc,
                };
                let slot = slots.get_mut(reloc.pc).ok_or_else(bad)?;
                let offset = base + reloc.pc * INSN_BYTES;
                if let Some(core) = self.types.core(&reloc.kind)? {
                    patch_core(slot, &core).ok_or_else(bad)?;
                    let access = self.types.btf.string(&core.access);
                    core_records.push([size_u32(offset), core.ty.0, access, core.kind as u32]);
                } else {
                    patch_reference(slot, &reloc.kind).ok_or_else(bad)?;
                    let (function, kind) = (function.to_owned(), reloc.kind.clone());
                    out.references.push(Reference { function, offset, kind });
                }
            }
            out.bytes.extend(slots.iter().flat_map(|slot| slot_bytes(*slot)));
            let size = out.bytes.len() - base;
            out.functions.push(Function { name: function.to_owned(), offset: base, size });
        }
        core_records.sort_by_key(|record| record[0]);
        self.functions.push(Records { section: name, records: function_records });
        self.line_records.push(Records { section: name, records: line_records });
        if !core_records.is_empty() {
            self.core_records.push(Records { section: name, records: core_records });
        }
        Ok(Some(out))
    }

    fn finish(self) -> Vec<u8> {
        let btf = &mut self.types.btf;
        let mut table = |words: usize, all: &[Records]| {
            let mut out = size_u32(words * 4).to_le_bytes().to_vec();
            for section in all {
                let head = [btf.string(section.section), size_u32(section.records.len())];
                let words = head.into_iter().chain(
                    section.records.iter().flat_map(|record| record.iter().take(words).copied()),
                );
                out.extend(words.flat_map(u32::to_le_bytes));
            }
            out
        };
        let functions = table(2, &self.functions);
        let lines = table(4, &self.line_records);
        let core = table(4, &self.core_records);
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&[1, 0]);
        out.extend_from_slice(&HEADER_BYTES.to_le_bytes());
        let mut offset = 0u32;
        for part in [&functions, &lines, &core] {
            out.extend_from_slice(&offset.to_le_bytes());
            out.extend_from_slice(&size_u32(part.len()).to_le_bytes());
            offset += size_u32(part.len());
        }
        for part in [functions, lines, core] {
            out.extend(part);
        }
        out
    }
}

/// The marks that may be written down: one for the first insn, ascending, none twice, none
/// on the second half of an `lddw`.
fn marks(code: &Code) -> Vec<LineMark> {
    let mut out: Vec<LineMark> = Vec::with_capacity(code.lines.len() + 1);
    let first = code.lines.first().map_or_else(Span::default, |mark| mark.span);
    out.push(LineMark { pc: 0, span: first });
    for &mark in &code.lines {
        let second_half = mark
            .pc
            .checked_sub(1)
            .and_then(|before| code.slots.get(before))
            .is_some_and(|slot| slot.code == LDDW);
        if mark.pc >= code.slots.len() || second_half {
            continue;
        }
        match out.last_mut() {
            Some(last) if last.pc == mark.pc => last.span = mark.span,
            Some(last) if last.pc > mark.pc || last.span == mark.span => (),
            _ => out.push(mark),
        }
    }
    out
}

/// Puts the local value where the loader expects to find it.
fn patch_core(slot: &mut Slot, core: &Core) -> Option<()> {
    const CLASS: u8 = 0x07;
    match (slot.code & CLASS, slot.code) {
        (1..=3, _) => slot.off = i16::try_from(core.local).ok()?,
        (_, LDDW | MOV64_IMM | MOV32_IMM | ADD64_IMM) => {
            slot.imm = i32::try_from(core.local).ok()?;
        }
        _ => return None,
    }
    Some(())
}

/// Brings a call or an address into the form that its relocation asks for.
fn patch_reference(slot: &mut Slot, kind: &RelocKind) -> Option<()> {
    let (code, src, imm) = match kind {
        RelocKind::Map(_) => (LDDW, 0, 0),
        RelocKind::Data { offset, .. } => (LDDW, 0, i32::try_from(*offset).ok()?),
        RelocKind::Kfunc(_) | RelocKind::Subprog(_) => (CALL, PSEUDO_CALL, -1),
        RelocKind::SubprogAddress(_) => (LDDW, PSEUDO_FUNC, 0),
        RelocKind::FieldOffset(_)
        | RelocKind::FieldExists(_)
        | RelocKind::FieldSize(_)
        | RelocKind::TypeSize(_)
        | RelocKind::TypeId(_)
        | RelocKind::EnumValue(..) => return None,
    };
    if slot.code != code {
        return None;
    }
    slot.regs = (slot.regs & 0x0f) | (src << 4);
    slot.imm = imm;
    Some(())
}

fn slot_bytes(slot: Slot) -> [u8; INSN_BYTES] {
    let [off0, off1] = slot.off.to_le_bytes();
    let [imm0, imm1, imm2, imm3] = slot.imm.to_le_bytes();
    [slot.code, slot.regs, off0, off1, imm0, imm1, imm2, imm3]
}

/// The source by lines.
struct Lines<'a> {
    source: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(source: &'a str) -> Self {
        let after_newlines = source.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        let starts = std::iter::once(0).chain(after_newlines.map(|(at, _)| at + 1)).collect();
        Self { source, starts }
    }

    /// The line's text, its number and the column, both from 1.
    fn find(&self, span: Span) -> (String, u32, u32) {
        let index = self.starts.partition_point(|&start| start <= span.start).max(1) - 1;
        let start = self.starts.get(index).copied().unwrap_or(0);
        let line = self.source.get(start..).and_then(|rest| rest.lines().next()).unwrap_or("");
        let text = line
            .chars()
            .take(LINE_TEXT_MAX)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect::<String>();
        let column = size_u32(span.start.saturating_sub(start)).saturating_add(1);
        let number = size_u32(index).saturating_add(1);
        (text.trim_end().to_owned(), number.min(LINE_MAX), column.min(COLUMN_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::{LDDW, Lines, marks};
    use crate::code::{Code, LineMark, Slot};
    use crate::hir::Span;

    fn span(start: usize) -> Span {
        Span { start, end: start + 1 }
    }

    #[test]
    fn marks_are_those_that_the_kernel_takes() {
        let slot = |code| Slot { code, ..Slot::default() };
        let code = Code {
            slots: vec![slot(LDDW), slot(0), slot(0xb7), slot(0x95)],
            lines: [(0, 5), (1, 6), (2, 7), (2, 8), (3, 8), (4, 9)]
                .map(|(pc, start)| LineMark { pc, span: span(start) })
                .to_vec(),
            ..Code::default()
        };
        let kept: Vec<(usize, usize)> =
            marks(&code).iter().map(|mark| (mark.pc, mark.span.start)).collect();
        assert_eq!(kept, [(0, 5), (2, 8)], "no half insn, no repetition, nothing after the end");
        let late = Code { lines: vec![LineMark { pc: 2, span: span(7) }], ..code };
        assert_eq!(marks(&late)[0].pc, 0, "the first insn has a line");
    }

    #[test]
    fn lines_are_found_by_offset() {
        let lines = Lines::new("first\n\tsecond  \n");
        assert_eq!(lines.find(span(0)), ("first".to_owned(), 1, 1));
        assert_eq!(lines.find(span(5)), ("first".to_owned(), 1, 6));
        assert_eq!(lines.find(span(7)), (" second".to_owned(), 2, 2));
        assert_eq!(lines.find(span(999)).1, 3, "past the end is the last line");
        assert_eq!(Lines::new("").find(span(0)), (String::new(), 1, 1));
    }
}
