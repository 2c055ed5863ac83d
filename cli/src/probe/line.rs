//! The text of a verdict.
//!
//! **Invariant**: the first line holds one bar at most, and no byte that a process chose
//! can add one or begin a line.

use super::Status;
use kernel_vm::abi::SweepStats;
use std::fmt::Write as _;

/// A node-problem-detector plugin's whole output, in bytes.
pub(crate) const NPD_BYTES_MAX: usize = 80;
/// Offenders that the first line names.
const NAMED_MAX: usize = 3;

/// What one filter found.
#[derive(Debug)]
pub(crate) struct Finding {
    /// The filter's name.
    pub(crate) filter: String,
    /// Its status.
    pub(crate) status: Status,
    /// The offenders, shortest form (`spin 4242`), escaped.
    pub(crate) offenders: Vec<String>,
    /// The offenders as a table, escaped; empty when there are none.
    pub(crate) table: String,
    /// The sweep's counters.
    pub(crate) stats: SweepStats,
}

/// The worst status of all findings; unknown when there is none.
pub(crate) fn overall(findings: &[Finding]) -> Status {
    findings.iter().map(|finding| finding.status).reduce(Status::worse).unwrap_or(Status::Unknown)
}

/// The output of a monitoring plugin.
pub(crate) fn plugin(findings: &[Finding]) -> String {
    let status = overall(findings);
    let mut out = format!("KFILTER {} - {}", status.name(), bar_free(&summary(findings)));
    out.push_str(" |");
    for finding in findings {
        push_perfdata(&mut out, finding);
    }
    out.push('\n');
    for finding in findings.iter().filter(|finding| !finding.table.is_empty()) {
        let _ = writeln!(out, "{} {}", finding.filter, finding.status.name());
        out.push_str(&bar_free(&finding.table));
    }
    out
}

/// The output of a node-problem-detector plugin: one short line.
pub(crate) fn npd(findings: &[Finding]) -> String {
    clip(&summary(findings))
}

/// `text` cut to what node-problem-detector keeps, on a character boundary.
pub(crate) fn clip(text: &str) -> String {
    let mut end = text.len().min(NPD_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// The filters that found something with their first offenders, or that none did.
pub(crate) fn summary(findings: &[Finding]) -> String {
    let mut parts = Vec::new();
    for finding in findings {
        match finding.status {
            Status::Ok => {}
            Status::Unknown => {
                let SweepStats { visited, unreadable, warming, .. } = finding.stats;
                parts.push(format!(
                    "{}: none of {visited} rows could be judged ({unreadable} unreadable, {warming} without history)",
                    finding.filter
                ));
            }
            Status::Warning | Status::Critical => parts.push(offence(finding)),
        }
    }
    if parts.is_empty() {
        let rows: u64 = findings.iter().map(|finding| finding.stats.visited).sum();
        let names: Vec<&str> = findings.iter().map(|finding| finding.filter.as_str()).collect();
        return format!("{}: nothing in {rows} rows", names.join(", "));
    }
    parts.join("; ")
}

fn offence(finding: &Finding) -> String {
    let count = finding.offenders.len().max(finding.stats.matched.try_into().unwrap_or(usize::MAX));
    let mut text = format!("{}: {count} of {}", finding.filter, finding.stats.visited);
    let named = &finding.offenders[..finding.offenders.len().min(NAMED_MAX)];
    if !named.is_empty() {
        let _ = write!(text, ": {}", named.join(", "));
    }
    if count > named.len() && !named.is_empty() {
        text.push_str(", …");
    }
    text
}

fn push_perfdata(out: &mut String, finding: &Finding) {
    let SweepStats { visited, matched, unreadable, dropped, took_ns, .. } = finding.stats;
    let name = &finding.filter;
    // A range of 0 says "alert above 0" in the place of the status that a match has.
    let range = match finding.status {
        Status::Warning => "0;",
        Status::Critical => ";0",
        Status::Ok | Status::Unknown => ";",
    };
    let seconds = format!("{}.{:09}", took_ns / 1_000_000_000, took_ns % 1_000_000_000);
    let _ = write!(
        out,
        " {name}={matched};{range};0;{visited} {name}_unreadable={unreadable};;;0;{visited} \
         {name}_dropped={dropped};;;0; {name}_time={seconds}s;;;0;"
    );
}

/// A bar begins performance data: elsewhere it must not stand.
fn bar_free(text: &str) -> String {
    text.replace('|', "\\x7c")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(filter: &str, status: Status, offenders: &[&str]) -> Finding {
        let matched = offenders.len() as u64;
        Finding {
            filter: filter.into(),
            status,
            offenders: offenders.iter().map(|&name| name.to_owned()).collect(),
            table: offenders.iter().fold(String::new(), |table, name| table + name + "\n"),
            stats: SweepStats { visited: 345, matched, took_ns: 312_000, ..SweepStats::default() },
        }
    }

    #[test]
    fn a_problem_has_one_line_perfdata_and_long_text() {
        let findings = [
            finding("cpu_hog", Status::Critical, &["spin 1", "spin 2", "spin 3", "x|y 4"]),
            finding("fd_hog", Status::Ok, &[]),
        ];
        insta::assert_snapshot!(plugin(&findings), @r"
        KFILTER CRITICAL - cpu_hog: 4 of 345: spin 1, spin 2, spin 3, … | cpu_hog=4;;0;0;345 cpu_hog_unreadable=0;;;0;345 cpu_hog_dropped=0;;;0; cpu_hog_time=0.000312000s;;;0; fd_hog=0;;;0;345 fd_hog_unreadable=0;;;0;345 fd_hog_dropped=0;;;0; fd_hog_time=0.000312000s;;;0;
        cpu_hog CRITICAL
        spin 1
        spin 2
        spin 3
        x\x7cy 4
        ");
    }

    #[test]
    fn all_clear_says_how_much_was_looked_at() {
        let text = plugin(&[finding("cpu_hog", Status::Ok, &[])]);
        assert!(text.starts_with("KFILTER OK - cpu_hog: nothing in 345 rows |"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn no_finding_is_unknown() {
        assert_eq!(overall(&[]), Status::Unknown);
    }

    #[test]
    fn a_bar_in_a_name_cannot_forge_perfdata() {
        let text = plugin(&[finding("hog", Status::Warning, &["a|b=1"])]);
        let first = text.lines().next().unwrap();
        assert_eq!(first.matches('|').count(), 1, "{text}");
    }

    #[test]
    fn npd_lines_fit() {
        let long = "ž".repeat(60);
        let text = npd(&[finding("hog", Status::Critical, &[&long])]);
        assert!(text.len() <= NPD_BYTES_MAX && !text.contains('\n'), "{text}");
    }
}
