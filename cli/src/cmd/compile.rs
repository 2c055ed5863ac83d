//! `kfilter compile`: source text to an object, a listing or a C header.

use crate::exit::{Exit, Failure};
use crate::input::{self, Input};
use crate::output::header;
use crate::output::terminal::ColorChoice;
use clap::ValueEnum;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

/// Compile filters to a BPF object
///
/// The object loads with kfilter, libbpf and bpftool.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The source text; `-` is standard input
    file: PathBuf,

    /// Where to write; FILE.bpf.o for an object, else standard output; `-` is standard output
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,

    /// What to write
    #[arg(long, value_name = "KIND", default_value = "obj")]
    emit: Emit,
}

/// What the compiler writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Emit {
    /// A listing of the programs beside their source lines
    Asm,
    /// The object
    Obj,
    /// A C header with a struct for each filter's records
    Header,
}

/// Compiles and writes.
pub(crate) fn run(args: &Args, color: ColorChoice) -> Result<Exit, Failure> {
    let text = match input::read(&args.file)? {
        Input::Source(text) => text,
        Input::Object(_) => {
            let message = format!("{} is an ELF file, not a filter's text", args.file.display());
            return Err(Failure::new(Exit::BadInput, message)
                .help("`kfilter run` takes objects as they are"));
        }
    };
    let compiled = input::compile(&args.file, &text, color, &mut |note| {
        // When standard error is closed there is nobody left to tell.
        let _ = writeln!(std::io::stderr(), "{note}");
    })?;
    let bytes = match args.emit {
        Emit::Obj => compiled.object,
        Emit::Asm => compiled.listing().into_bytes(),
        Emit::Header => header::render(&compiled.meta).into_bytes(),
    };
    match (&args.output, args.emit) {
        (Some(path), _) if path == Path::new("-") => to_stdout(&bytes, args.emit)?,
        (Some(path), _) => to_file(path, &bytes)?,
        (None, Emit::Obj) if args.file != Path::new("-") => {
            to_file(&args.file.with_extension("bpf.o"), &bytes)?;
        }
        (None, Emit::Obj | Emit::Asm | Emit::Header) => to_stdout(&bytes, args.emit)?,
    }
    Ok(Exit::Success)
}

fn to_stdout(bytes: &[u8], emit: Emit) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    if emit == Emit::Obj && out.is_terminal() {
        return Err(Failure::new(Exit::BadInput, "an object is not for a terminal")
            .help("name a file with -o, or write it into a pipe"));
    }
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}

fn to_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|error| {
        let path = path.display();
        Failure::new(Exit::CannotRun, format_args!("cannot write {path}: {error}"))
    })
}
