//! The `kfilter` command line: arguments in, text out.
//!
//! One file a subcommand under `cmd`, rendering under `output`; what is compiled and what
//! runs is the business of `kfilter-compiler` and `kfilter-loader`.
//!
//! **Invariant**: standard output carries results only; whatever else there is to say goes
//! to standard error.

mod choice;
mod cli;
mod cmd;
mod diagnostics;
mod drive;
mod duration;
mod exit;
mod export;
mod input;
mod limits;
mod output;
mod probe;
mod schedule;
mod session;

use clap::Parser as _;
use exit::Failure;
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let color = cli.color;
    match cli.run() {
        Ok(code) => code,
        Err(failure) => {
            report(&failure, color);
            failure.exit.into()
        }
    }
}

/// Shows help, the version or a usage error.
fn usage(error: &clap::Error) -> ExitCode {
    // When the output is closed there is nobody left to tell.
    let _ = error.print();
    let is_probe = std::env::args_os().nth(1).is_some_and(|name| name == "probe");
    match (error.exit_code(), is_probe) {
        (0, _) => ExitCode::SUCCESS,
        (_, true) => ExitCode::from(cmd::probe::USAGE_EXIT),
        (_, false) => exit::Exit::BadInput.into(),
    }
}

fn report(failure: &Failure, color: output::terminal::ColorChoice) {
    let style = output::terminal::Style::for_stderr(color);
    let mut text = failure.details.clone();
    if text.is_empty() && !failure.message.is_empty() {
        text = format!("{}: {}\n", style.red("error"), shown(&failure.message));
    }
    for line in &failure.log {
        text.push_str(&format!("  | {}\n", shown(line)));
    }
    for line in &failure.help {
        text.push_str(&format!("  {}: {}\n", style.bold("help"), shown(line)));
    }
    // When standard error is closed there is nobody left to tell.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// A message, which may quote names of files and lines of objects, line by line without
/// what would steer the terminal.
fn shown(message: &str) -> String {
    let lines: Vec<String> = message.lines().map(output::escape::line).collect();
    lines.join("\n")
}
