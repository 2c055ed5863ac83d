//! The command's arguments.

use crate::cmd;
use crate::exit::Failure;
use crate::output::terminal::ColorChoice;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The exit statuses, for `--help` and the man pages.
pub(crate) const EXIT_STATUS: &str = "\
Exit status:
  0  something matched, or the command did what it was asked
  1  the filter ran and nothing matched
  2  wrong usage, or the filter, object or parameter is not valid
  3  the filter is valid, but could not be loaded or run
  4  a privilege is missing
";

/// Asks the kernel which processes and threads misbehave.
///
/// A filter of ten lines is compiled to BPF, runs inside the kernel over every process and
/// thread, and only the records that match come out.
#[derive(Debug, Parser)]
#[command(name = "kfilter", version, max_term_width = 100, after_help = EXIT_STATUS)]
#[command(arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Colour in the output
    #[arg(long, value_name = "WHEN", global = true, default_value = "auto")]
    pub(crate) color: ColorChoice,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Compile(cmd::compile::Args),
    Check(cmd::check::Args),
    Run(cmd::run::Args),
    Watch(cmd::watch::Args),
    Load(cmd::load::Args),
    List(cmd::list::Args),
    Show(cmd::show::Args),
    Read(cmd::read::Args),
    Unload(cmd::unload::Args),
    Probe(cmd::probe::Args),
    Export(cmd::export::Args),
    Record(cmd::record::Args),
    Replay(cmd::replay::Args),
    Fields(cmd::fields::Args),
    Doctor(cmd::doctor::Args),
    Completions(cmd::completions::Args),
    Man(cmd::man::Args),
}

impl Cli {
    /// Does what was asked.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let color = self.color;
        let exit = match self.command {
            Command::Compile(args) => cmd::compile::run(&args, color)?,
            Command::Check(args) => cmd::check::run(&args, color)?,
            Command::Run(args) => cmd::run::run(&args, color)?,
            Command::Watch(args) => cmd::watch::run(&args, color)?,
            Command::Load(args) => cmd::load::run(&args, color)?,
            Command::List(args) => cmd::list::run(&args, color)?,
            Command::Show(args) => cmd::show::run(&args)?,
            Command::Read(args) => cmd::read::run(&args, color)?,
            Command::Unload(args) => cmd::unload::run(&args)?,
            Command::Probe(args) => return Ok(cmd::probe::run(&args, color)),
            Command::Export(args) => cmd::export::run(&args, color)?,
            Command::Record(args) => cmd::record::run(&args)?,
            Command::Replay(args) => cmd::replay::run(&args, color)?,
            Command::Fields(args) => cmd::fields::run(&args, color)?,
            Command::Doctor(args) => cmd::doctor::run(&args, color)?,
            Command::Completions(args) => cmd::completions::run(&args)?,
            Command::Man(args) => cmd::man::run(&args)?,
        };
        Ok(exit.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_of_the_arguments_is_sound() {
        Cli::command().debug_assert();
    }
}
