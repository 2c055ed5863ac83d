//! The programs of an object as text, each part below the source line that it comes from.

use crate::code::Code;
use crate::object::Module;

/// The listing of `module`.
pub(crate) fn listing(module: &Module) -> String {
    let mut text = String::new();
    for program in &module.programs {
        function(&mut text, module, &program.name, &program.code);
    }
    for subprogram in &module.subprograms {
        function(&mut text, module, &subprogram.name, &subprogram.code);
    }
    text
}

fn function(text: &mut String, module: &Module, name: &str, code: &Code) {
    use std::fmt::Write as _;
    let _ = writeln!(text, "{name}:");
    let mut last = 0;
    for (pc, slot) in code.slots.iter().enumerate() {
        if let Some(mark) = code.lines.iter().find(|mark| mark.pc == pc) {
            let line = module.source[..mark.span.start].matches('\n').count();
            if line + 1 != last {
                last = line + 1;
                let source = module.source.lines().nth(line).unwrap_or_default().trim();
                let _ = writeln!(text, "; {last}: {source}");
            }
        }
        let _ = writeln!(text, "{pc:5}: {slot:?}");
    }
}
