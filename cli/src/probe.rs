//! Verdicts for monitoring: what matched becomes a status and a line of text.
//!
//! The contract is that of the monitoring plugins: exit status 0 to 3, one line with
//! performance data after a bar, then long text. Other consumers read the same verdict.
//!
//! **Invariant**: only a completed sweep that could judge its rows makes the status OK.

pub(crate) mod line;
pub(crate) mod notify;

use kernel_vm::abi::SweepStats;
use kernel_vm::object::{FieldMeta, RecordMeta, Severity};
use kernel_vm::schema::{EnumKind, Type};
use kfilter_loader::record::{Value, fields};

/// The exit status of a monitoring plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Nothing matched.
    Ok = 0,
    /// Somebody should look at it.
    Warning = 1,
    /// Somebody should act.
    Critical = 2,
    /// The question could not be answered.
    Unknown = 3,
}

impl Status {
    /// Its name in a plugin's first line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// How bad it is next to others: a problem that was found outranks a question without
    /// an answer, which outranks a warning.
    const fn rank(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Unknown => 2,
            Self::Critical => 3,
        }
    }

    /// The worse of two.
    pub(crate) const fn worse(self, other: Self) -> Self {
        if other.rank() > self.rank() { other } else { self }
    }
}

/// The status that a record gives itself: the field that `severity … when …` adds. `None`
/// when the filter has no such rules, or the rule's operands were not known.
pub(crate) fn of_record(layout: &RecordMeta, record: &[u8]) -> Option<Status> {
    let is_verdict = |field: &FieldMeta| {
        field.name == "severity" && field.ty.0 == Type::Enum(EnumKind::Severity)
    };
    let (_, value) = fields(layout, record).find(|(field, _)| is_verdict(field))?;
    let Value::Enum(level, _) = value? else { return None };
    Some(match level {
        0 => Status::Ok,
        1 => Status::Warning,
        _ => Status::Critical,
    })
}

/// The status of one filter after one sweep that is an answer.
///
/// `records` are what the records say of themselves; one that says nothing has the filter's
/// `severity`, and a filter that says none has `default`.
pub(crate) fn judge(
    severity: Option<Severity>,
    default: Severity,
    records: impl IntoIterator<Item = Option<Status>>,
    stats: &SweepStats,
) -> Status {
    let declared = match severity.unwrap_or(default) {
        Severity::Warning => Status::Warning,
        Severity::Critical => Status::Critical,
    };
    // What was dropped matched, too.
    let dropped = (stats.dropped > 0).then_some(declared);
    let matched = records.into_iter().map(|record| record.unwrap_or(declared));
    if let Some(worst) = matched.chain(dropped).reduce(Status::worse) {
        return worst;
    }
    // Not one row could be judged: that is no all-clear. A table may be empty.
    let judged = stats.visited.saturating_sub(stats.unreadable).saturating_sub(stats.warming);
    if stats.visited > 0 && judged == 0 { Status::Unknown } else { Status::Ok }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(visited: u64, unreadable: u64, warming: u64, dropped: u64) -> SweepStats {
        SweepStats { visited, unreadable, warming, dropped, ..SweepStats::default() }
    }

    #[test]
    fn a_match_has_the_filters_severity() {
        let judge = |severity, default| judge(severity, default, [None], &stats(10, 0, 0, 0));
        assert_eq!(judge(None, Severity::Critical), Status::Critical);
        assert_eq!(judge(None, Severity::Warning), Status::Warning);
        assert_eq!(judge(Some(Severity::Warning), Severity::Critical), Status::Warning);
    }

    #[test]
    fn records_may_say_their_own_severity() {
        let records = [Some(Status::Ok), Some(Status::Warning)];
        let clean = stats(10, 0, 0, 0);
        assert_eq!(judge(None, Severity::Critical, records, &clean), Status::Warning);
        assert_eq!(judge(None, Severity::Critical, [Some(Status::Ok)], &clean), Status::Ok);
    }

    #[test]
    fn a_record_that_was_dropped_is_a_match() {
        let status = judge(None, Severity::Critical, [], &stats(10, 0, 0, 3));
        assert_eq!(status, Status::Critical);
    }

    #[test]
    fn what_could_not_be_judged_is_never_ok() {
        let judge = |stats| judge(None, Severity::Critical, [], &stats);
        assert_eq!(judge(stats(10, 10, 0, 0)), Status::Unknown);
        assert_eq!(judge(stats(10, 4, 6, 0)), Status::Unknown);
        assert_eq!(judge(stats(10, 4, 5, 0)), Status::Ok);
        assert_eq!(judge(stats(0, 0, 0, 0)), Status::Ok);
    }

    #[test]
    fn a_found_problem_outranks_a_missing_answer() {
        assert_eq!(Status::Unknown.worse(Status::Critical), Status::Critical);
        assert_eq!(Status::Unknown.worse(Status::Warning), Status::Unknown);
        assert_eq!(Status::Ok.worse(Status::Warning), Status::Warning);
    }
}
