//! `kfilter compile`: source text to an object, a listing or a C header.

use crate::exit::{Exit, Failure};
use crate::input::{self, Input};
use crate::output::header;
use crate::output::terminal::ColorChoice;
use crate::session;
use clap::ValueEnum;
use kfilter_compiler::Compiled;
use kfilter_loader::params::SystemValues;
use kfilter_loader::{LoadError, Object, Request};
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
    /// The only filter as kernels take it that have kernel-vm built in
    Image,
}

impl Emit {
    /// Whether people can read it.
    const fn is_text(self) -> bool {
        match self {
            Self::Asm | Self::Header => true,
            Self::Obj | Self::Image => false,
        }
    }
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
        Emit::Image => image(&compiled)?,
    };
    match (&args.output, args.emit) {
        (Some(path), _) if path == Path::new("-") => to_stdout(&bytes, args.emit)?,
        (Some(path), _) => to_file(path, &bytes)?,
        (None, Emit::Obj) if args.file != Path::new("-") => {
            to_file(&args.file.with_extension("bpf.o"), &bytes)?;
        }
        (None, Emit::Obj | Emit::Asm | Emit::Header | Emit::Image) => to_stdout(&bytes, args.emit)?,
    }
    Ok(Exit::Success)
}

/// What [`kernel_vm::module`] describes, with the parameters' defaults and nothing known of
/// the machine that it will run on.
fn image(compiled: &Compiled) -> Result<Vec<u8>, Failure> {
    let [filter] = compiled.meta.filters.as_slice() else {
        let message = format!("an image holds one filter, not {}", compiled.meta.filters.len());
        return Err(Failure::new(Exit::BadInput, message).help("write each to a file of its own"));
    };
    let bytes = || -> Result<Vec<u8>, LoadError> {
        let object = Object::parse(&compiled.object)?;
        let request = Request::new(&object, &filter.name, &[], SystemValues::default())?;
        kfilter_loader::host::module::image(&request)
    };
    bytes().map_err(|error| session::failure(&error))
}

fn to_stdout(bytes: &[u8], emit: Emit) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    if !emit.is_text() && out.is_terminal() {
        return Err(Failure::new(Exit::BadInput, "machine code is not for a terminal")
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
