//! The programs of an object as text, each part below the source line that it comes from.
//!
//! **Invariant**: every insn of the object stands in the listing, with what it refers to.

use std::fmt::Write as _;

use kernel_vm::isa::{RawInsn, decode};

use crate::code::{Code, FieldPath, RelocKind, Slot};
use crate::object::Module;

/// The listing of `module`.
pub(crate) fn listing(module: &Module) -> String {
    let programs = module.programs.iter().map(|program| (&program.name, &program.code));
    let subprograms = module.subprograms.iter().map(|function| (&function.name, &function.code));
    let mut text = String::new();
    for (name, code) in programs.chain(subprograms) {
        // Writing to a string cannot fail.
        let _ = function(&mut text, &module.source, name, code);
    }
    for filter in &module.meta.filters {
        let block = filter.vm.program;
        let code = module.vm.get(block.offset as usize..).unwrap_or_default();
        let code = code.get(..block.size as usize).unwrap_or_default();
        let _ = vm_program(&mut text, &filter.name, code);
    }
    text
}

/// The program of the `vm` target, which has no references.
fn vm_program(text: &mut String, name: &str, code: &[u8]) -> std::fmt::Result {
    writeln!(text, "\nvm_{name}:")?;
    let slots: Vec<RawInsn> =
        code.as_chunks().0.iter().map(|bytes| RawInsn::from_bytes(*bytes)).collect();
    let mut pc = 0;
    while let Some(slot) = slots.get(pc) {
        match decode(&slots[pc..]) {
            Ok(insn) => writeln!(text, "{pc:6}: {insn}")?,
            Err(_) => writeln!(text, "{pc:6}: {slot:?}")?,
        }
        pc += if slot.code == LDDW { 2 } else { 1 };
    }
    Ok(())
}

fn function(text: &mut String, source: &str, name: &str, code: &Code) -> std::fmt::Result {
    if !text.is_empty() {
        writeln!(text)?;
    }
    writeln!(text, "{name}:")?;
    let slots: Vec<RawInsn> =
        code.slots.iter().map(|slot| RawInsn::from_bytes(Slot::to_bytes(*slot))).collect();
    let mut last_line = None;
    let mut marks = code.lines.iter().peekable();
    let mut relocs = code.relocs.iter().peekable();
    let mut pc = 0;
    while pc < slots.len() {
        while let Some(mark) = marks.next_if(|mark| mark.pc <= pc) {
            let before = source.get(..mark.span.start).unwrap_or_default();
            let line = before.matches('\n').count();
            if last_line != Some(line) {
                last_line = Some(line);
                let words = source.lines().nth(line).unwrap_or_default().trim();
                writeln!(text, "; {}: {words}", line + 1)?;
            }
        }
        write!(text, "{pc:6}: ")?;
        match decode(&slots[pc..]) {
            Ok(insn) => write!(text, "{insn}")?,
            Err(_) => write!(text, "{:?}", code.slots[pc])?,
        }
        while let Some(reloc) = relocs.next_if(|reloc| reloc.pc <= pc) {
            write!(text, "    # {}", reference(&reloc.kind))?;
        }
        writeln!(text)?;
        pc += if code.slots[pc].code == LDDW { 2 } else { 1 };
    }
    Ok(())
}

/// The opcode of the only insn of two slots.
const LDDW: u8 = 0x18;

/// What a relocation refers to, in words.
fn reference(kind: &RelocKind) -> String {
    let path = |path: &FieldPath| format!("{}.{}", path.root, path.path.join("."));
    match kind {
        RelocKind::FieldOffset(field) => format!("offset of {}", path(field)),
        RelocKind::FieldExists(field) => format!("whether {} exists", path(field)),
        RelocKind::FieldSize(field) => format!("size of {}", path(field)),
        RelocKind::TypeSize(name) => format!("size of {name}"),
        RelocKind::TypeId(name) => format!("type {name}"),
        RelocKind::EnumValue(kind, name) => format!("{kind}::{name}"),
        RelocKind::Map(name) => format!("map {name}"),
        RelocKind::Data { section, offset } => format!("{section} + {offset}"),
        RelocKind::Kfunc(name) => (*name).to_owned(),
        RelocKind::Subprog(name) | RelocKind::SubprogAddress(name) => name.clone(),
    }
}

#[cfg(test)]
mod tests {
    /// The listing of one program of a filter.
    fn listed(source: &str, program: &str) -> String {
        let text = crate::compile("f.kf", source).expect("a sound filter").listing();
        let mut parts = text.split("\n\n").filter(|part| part.starts_with(program));
        parts.next().unwrap_or_else(|| panic!("no {program} in\n{text}")).to_owned()
    }

    #[test]
    fn a_sweep_is_listed_with_its_lines_and_references() {
        let source = "filter f on thread {\n    where nice > 3\n    emit tid\n}\n";
        insta::assert_snapshot!("sweep", listed(source, "sweep_f:"));
        insta::assert_snapshot!("vm", listed(source, "vm_f:"));
    }

    #[test]
    fn history_is_read_and_written_before_the_condition() {
        let source =
            "filter f on process {\n    where rate(cpu_time) > 80% for 10s\n    emit pid\n}\n";
        insta::assert_snapshot!("history", listed(source, "vm_f:"));
    }

    #[test]
    fn text_is_compared_by_words() {
        let source = "filter f on process {\n    param who = \"kworker\"\n    \
                      where comm starts_with who or comm == \"sshd\"\n    emit comm\n}\n";
        insta::assert_snapshot!("text", listed(source, "vm_f:"));
    }
}
