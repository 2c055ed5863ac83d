//! `kfilter record`: keeps what /proc shows, for `kfilter replay` here or elsewhere.

use crate::exit::{Exit, Failure};
use kernel_vm::schema::Table;
use kfilter_loader::host::bpf::system_values;
use kfilter_loader::procfs::Procfs;
use kfilter_loader::snapshot;
use kfilter_loader::sys::Kernel;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::time::Duration;

/// Record tables into a file, for replay later or on another machine
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file to write; one that exists is left alone
    #[arg(value_name = "SNAPSHOT")]
    file: PathBuf,

    /// A table to record; may be given several times
    #[arg(long = "table", value_name = "TABLE", default_values = ["process", "thread"])]
    #[arg(value_parser = ["process", "thread", "file", "mapping"])]
    tables: Vec<String>,

    /// Time between two sweeps
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = crate::duration::parse)]
    every: Duration,

    /// How many sweeps over each table
    #[arg(long, value_name = "N", default_value = "2")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
}

/// Records.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let cannot = |error: std::io::Error| {
        Failure::new(Exit::CannotRun, format_args!("{}: {error}", args.file.display()))
    };
    let mut out = BufWriter::new(std::fs::File::create_new(&args.file).map_err(cannot)?);
    let mut procfs = Procfs::new();
    snapshot::write_head(&mut out, system_values(&Kernel)).map_err(cannot)?;
    for sweep in 0..args.count {
        if sweep > 0 {
            std::thread::sleep(args.every);
        }
        for table in args.tables.iter().filter_map(|name| Table::from_name(name)) {
            snapshot::record(&mut out, &mut procfs, table).map_err(cannot)?;
        }
    }
    out.flush().map_err(cannot)?;
    Ok(Exit::Success)
}
