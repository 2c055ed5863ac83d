//! `kfilter doctor`: what this machine allows, found out by trying.
//!
//! The loader tries the kernel's features; here each table is tried with a real filter on
//! each host.
//!
//! **Invariant**: no answer is derived from a version number; each comes from an attempt.

use crate::exit::{Exit, Failure};
use crate::output::human;
use crate::output::terminal::{ColorChoice, Style};
use crate::session::attempt;
use kernel_vm::schema::Table;
use kfilter_loader::doctor::{Capability, Check, Outcome, Report, examine};
use kfilter_loader::sys::Kernel;
use kfilter_loader::{ErrorClass, HostKind, LoadError, Sweep};
use std::fmt::Write as _;
use std::io::Write as _;

/// Show what this machine allows and what to do about the rest
///
/// Exit status: 0 when the kernel takes filters on processes and threads, 4 when a privilege
/// is missing for that, 3 when something else is.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// One line of the picture.
struct Line {
    what: String,
    is_good: bool,
    detail: String,
    help: String,
}

/// Tries everything and says how it went.
pub(crate) fn run(_args: &Args, color: ColorChoice) -> Result<Exit, Failure> {
    let style = Style::for_stdout(color);
    let report = examine(&Kernel);
    let mut out = format!("{} {}\n", style.bold("kernel"), report.kernel);
    section(&mut out, style, "privilege", &capabilities(&report));
    section(&mut out, style, "features of the kernel", &features(&report));
    let (bpf, class) = tables(HostKind::Bpf);
    section(&mut out, style, "bpf host: filters run in the kernel", &bpf);
    let (vm, _) = tables(HostKind::Vm);
    section(&mut out, style, "vm host: filters run over /proc, without privilege", &vm);
    std::io::stdout().write_all(out.as_bytes())?;
    Ok(match class {
        None => Exit::Success,
        Some(ErrorClass::Privilege) => Exit::NoPrivilege,
        Some(ErrorClass::Host | ErrorClass::Input) => Exit::CannotRun,
    })
}

fn capabilities(report: &Report) -> Vec<Line> {
    let line = |capability: &Capability| Line {
        what: capability.name.to_owned(),
        is_good: capability.held == Some(true),
        detail: match capability.held {
            Some(true) => format!("held: {}", capability.purpose),
            Some(false) => format!("not held: {}", capability.purpose),
            None => format!("unknown: {}", capability.purpose),
        },
        help: String::new(),
    };
    report.capabilities.iter().map(line).collect()
}

fn features(report: &Report) -> Vec<Line> {
    let line = |Check { feature, outcome }: &Check| {
        let what = feature.name().to_owned();
        match outcome {
            Outcome::Works(detail) => {
                let separator = if detail.is_empty() { "" } else { "; " };
                let detail = format!("{}{separator}{detail}", feature.purpose());
                Line { what, is_good: true, detail, help: String::new() }
            }
            Outcome::Missing { errno, why, way_out } => {
                let errno = errno.map_or_else(String::new, |errno| format!(" ({errno})"));
                let detail = format!("{why}{errno}; needed for {}", feature.purpose());
                Line { what, is_good: false, detail, help: way_out.clone() }
            }
        }
    };
    report.checks.iter().map(line).collect()
}

/// Each table and history on one host, and why processes and threads fail, if they do.
fn tables(host: HostKind) -> (Vec<Line>, Option<ErrorClass>) {
    let mut lines = Vec::new();
    let mut class = None;
    for table in Table::ALL {
        let name = table.name();
        let text = format!("filter doctor on {name} {{ where pid == 0 emit pid }}\n");
        let result = attempt(host, &text);
        if let (Err(error), Table::Process | Table::Thread) = (&result, table) {
            class = class.or(Some(error.class()));
        }
        lines.push(line(format!("table {name}"), result));
    }
    let text = "filter doctor on thread { where rate(cpu_time) > 100000% emit pid }\n";
    lines.push(line("history".to_owned(), attempt(host, text)));
    (lines, class)
}

fn line(what: String, result: Result<Sweep, LoadError>) -> Line {
    let (is_good, detail) = match result {
        Ok(Sweep { stats, .. }) => {
            let took = human::duration(i64::try_from(stats.took_ns).unwrap_or(i64::MAX));
            let mut detail = format!("{} rows in {took}", stats.visited);
            if stats.unreadable > 0 {
                let _ = write!(detail, ", {} unreadable", stats.unreadable);
            }
            (true, detail)
        }
        Err(error) => {
            let detail = error.to_string();
            (false, detail.lines().next().unwrap_or_default().to_owned())
        }
    };
    Line { what, is_good, detail, help: String::new() }
}

fn section(out: &mut String, style: Style, title: &str, lines: &[Line]) {
    let _ = writeln!(out, "\n{}", style.bold(title));
    let width = lines.iter().map(|line| line.what.len()).max().unwrap_or(0);
    for Line { what, is_good, detail, help } in lines {
        let word = if *is_good { style.green("ok") } else { style.red("no") };
        let _ = writeln!(out, "  {word}  {what:<width$}  {detail}");
        if !help.is_empty() {
            let _ = writeln!(out, "      {:<width$}  {}: {help}", "", style.bold("help"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_has_a_way_out() {
        let good = line(
            "table process".to_owned(),
            Ok(Sweep {
                records: kfilter_loader::record::RecordBatch::new(16),
                stats: kernel_vm::abi::SweepStats {
                    visited: 345,
                    took_ns: 310_000,
                    ..Default::default()
                },
                took: std::time::Duration::from_millis(1),
            }),
        );
        let bad = Line {
            what: "task storage".into(),
            is_good: false,
            detail: "BPF_MAP_CREATE (EINVAL); needed for history".into(),
            help: "use kernel 5.12 or newer".into(),
        };
        let mut out = String::new();
        section(&mut out, Style::PLAIN, "bpf host", &[good, bad]);
        insta::assert_snapshot!(out, @r"

        bpf host
          ok  table process  345 rows in 310.0us
          no  task storage   BPF_MAP_CREATE (EINVAL); needed for history
                             help: use kernel 5.12 or newer
        ");
    }
}
