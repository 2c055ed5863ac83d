//! The command's arguments.

use crate::cmd;
use crate::exit::{Exit, Failure};
use crate::output::terminal::ColorChoice;
use clap::{Parser, Subcommand};

/// The exit statuses, for `--help` and the man pages.
const EXIT_STATUS: &str = "\
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
    Fields(cmd::fields::Args),
    Completions(cmd::completions::Args),
    Man(cmd::man::Args),
}

impl Cli {
    /// Does what was asked.
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let color = self.color;
        match self.command {
            Command::Fields(args) => cmd::fields::run(&args, color),
            Command::Completions(args) => cmd::completions::run(&args),
            Command::Man(args) => cmd::man::run(&args),
        }
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
