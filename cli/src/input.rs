//! Files of filters: source text is compiled, objects are taken as they are.
//!
//! **Invariant**: whatever the file holds, the result is an object or a failure.

use crate::diagnostics;
use crate::exit::{Exit, Failure};
use crate::output::terminal::{ColorChoice, Style};
use kfilter_compiler::diagnostic::Severity;
use kfilter_loader::Object;
use std::io::Read as _;
use std::path::Path;

/// Most bytes of a file that are read: more than any object may have.
const FILE_BYTES_MAX: u64 = 16 << 20;
const ELF_MAGIC: &[u8] = b"\x7fELF";

/// What a file held.
#[derive(Debug)]
pub(crate) enum Input {
    /// A compiled object.
    Object(Vec<u8>),
    /// A source text.
    Source(String),
}

/// Reads `path`; `-` is standard input.
pub(crate) fn read(path: &Path) -> Result<Input, Failure> {
    let name = path.display();
    let bytes = read_bytes(path).map_err(|error| {
        let failure = Failure::new(Exit::BadInput, format_args!("cannot read {name}: {error}"));
        // It may have been meant for the name of a loaded filter.
        let is_name = error.kind() == std::io::ErrorKind::NotFound
            && path.components().count() == 1
            && path.extension().is_none();
        if is_name {
            failure.help("nor is a filter of that name loaded: see `kfilter list`")
        } else {
            failure
        }
    })?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Failure::new(
            Exit::BadInput,
            format_args!("{name} is larger than {} MiB", FILE_BYTES_MAX >> 20),
        ));
    }
    if bytes.starts_with(ELF_MAGIC) {
        return Ok(Input::Object(bytes));
    }
    String::from_utf8(bytes).map(Input::Source).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..valid].iter().filter(|&&byte| byte == b'\n').count();
        Failure::new(
            Exit::BadInput,
            format_args!(
                "{name} is neither a filter nor an object: line {line} is not UTF-8, and it does \
                 not begin as an ELF file"
            ),
        )
    })
}

fn read_bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    } else {
        std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// The name by which diagnostics and line information call the file.
pub(crate) fn display_name(path: &Path) -> String {
    if path == Path::new("-") { "stdin.kf".to_owned() } else { path.display().to_string() }
}

/// Compiles a source text. Warnings are handed to `say`.
pub(crate) fn compile(
    path: &Path,
    text: &str,
    color: ColorChoice,
    say: &mut dyn FnMut(&str),
) -> Result<kfilter_compiler::Compiled, Failure> {
    let name = display_name(path);
    let style = Style::for_stderr(color);
    let render = |all: &[_]| diagnostics::render(&name, text, all, style.has_color());
    match kfilter_compiler::compile(&name, text) {
        Ok(compiled) => {
            if !compiled.diagnostics.is_empty() {
                say(render(&compiled.diagnostics).trim_end());
            }
            Ok(compiled)
        }
        Err(found) => {
            let errors = found.iter().filter(|one| one.severity == Severity::Error).count();
            let first = found.iter().find(|one| one.severity == Severity::Error);
            let first = first.map_or("it cannot be compiled", |one| one.message.as_str());
            let message = format!("{name}: {first} ({errors} in all)");
            Err(Failure::new(Exit::BadInput, message).details(render(&found)))
        }
    }
}

/// Reads an object.
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Object, Failure> {
    Object::parse(bytes).map_err(|error| {
        let name = path.display();
        Failure::new(Exit::BadInput, format_args!("{name} is not a usable object: {error}"))
    })
}

/// The object in `path`, compiled when it is source text.
pub(crate) fn object(
    path: &Path,
    color: ColorChoice,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<u8>, Failure> {
    match read(path)? {
        Input::Object(bytes) => Ok(bytes),
        Input::Source(text) => compile(path, &text, color, say).map(|compiled| compiled.object),
    }
}
