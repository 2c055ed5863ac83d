//! The companion of a filter whose `limit` has a `leave` condition: it matches those who
//! behave again.
//!
//! **Invariant**: the companion has the same table and parameters as its filter, so that
//! whoever loads both gives both the same values.

use crate::hir::{Emit, Filter};

/// The name of the companion, if `filter` has one.
pub(super) fn name(filter: &Filter) -> Option<String> {
    filter.limit.as_ref()?.leave?;
    Some(format!("{}_leave", filter.name))
}

/// The companion, if `filter` has one: it emits who they are and nothing more.
pub(super) fn companion(filter: &Filter) -> Option<Filter> {
    let emit: Vec<Emit> = filter
        .emit
        .iter()
        .filter(|emit| matches!(emit.name.as_str(), "pid" | "start_time"))
        .cloned()
        .collect();
    Some(Filter {
        name: name(filter)?,
        doc: format!("Those whom the limit of {} releases.", filter.name),
        condition: filter.limit.as_ref()?.leave,
        group: None,
        emit,
        top: None,
        severity: None,
        limit: None,
        ..filter.clone()
    })
}

#[cfg(test)]
mod tests {
    const SOURCE: &str = "filter f on process { param max = 1GiB where rss > max emit comm \
        limit { leave when rss < max / 2 after 0s notify after 10s nice 10 } }";

    #[test]
    fn a_leave_condition_is_a_filter_of_its_own() {
        let compiled = crate::compile("f.kf", SOURCE).expect("it is right");
        let [filter, leave] = compiled.meta.filters.as_slice() else { panic!("two filters") };
        let limit = filter.limit.as_ref().expect("it has a limit");
        assert_eq!(limit.rungs.len(), 2);
        assert_eq!(limit.leave.as_deref(), Some("f_leave"));
        assert_eq!(leave.name, "f_leave");
        assert_eq!(leave.limit, None);
        assert_eq!(leave.params.len(), filter.params.len());
        let names: Vec<&str> = leave.record.fields.iter().map(|field| &*field.name).collect();
        assert_eq!(names, ["pid", "start_time"]);
    }

    #[test]
    fn without_leave_there_is_no_companion() {
        let source = SOURCE.replace("leave when rss < max / 2", "");
        let compiled = crate::compile("f.kf", &source).expect("it is right");
        assert_eq!(compiled.meta.filters.len(), 1);
        assert_eq!(compiled.meta.filters[0].limit.as_ref().expect("a limit").leave, None);
    }

    #[test]
    fn the_companions_name_is_taken() {
        let source = format!("{SOURCE} filter f_leave on process {{ emit pid }}");
        let diagnostics = crate::compile("f.kf", &source).expect_err("two of one name");
        assert_eq!(diagnostics[0].code, "K0014");
    }
}
