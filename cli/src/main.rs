//! The `kfilter` command line: arguments in, text out.
//!
//! One file a subcommand under `cmd`, rendering under `output`; what is compiled and what
//! runs is the business of `kfilter-compiler` and `kfilter-loader`.
//!
//! **Invariant**: standard output carries results only; whatever else there is to say goes
//! to standard error.

mod cli;
mod cmd;
mod diagnostics;
mod duration;
mod exit;
mod output;
mod schedule;

use clap::Parser as _;
use exit::Failure;
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let color = cli.color;
    match cli.run() {
        Ok(exit) => exit.into(),
        Err(failure) => {
            report(&failure, color);
            failure.exit.into()
        }
    }
}

fn report(failure: &Failure, color: output::terminal::ColorChoice) {
    if failure.message.is_empty() {
        return;
    }
    let style = output::terminal::Style::for_stderr(color);
    let mut text = format!("{}: {}\n", style.red("error"), failure.message);
    for line in &failure.help {
        text.push_str(&format!("  {}: {line}\n", style.bold("help")));
    }
    // When standard error is closed there is nobody left to tell.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
