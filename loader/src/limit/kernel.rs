//! Acts that a filter has made from the kernel, as the events of the [`Engine`](super::Engine).
//!
//! **Invariant**: the same fields with the same words, whoever acted.

use super::engine::BUDGET_SPENT;
use super::{ActError, Event, EventKind, Identity, Refusal, Rung};
use kernel_vm::abi::{ActMark, ActOutcome};

/// A filter that acts, as far as events tell of it.
#[derive(Clone, Debug)]
pub struct Actor {
    /// Name of the filter.
    pub rule: String,
    /// Its ladder.
    pub rungs: Vec<Rung>,
    /// The names that it spares.
    pub protect: Vec<String>,
}

impl Actor {
    /// The event that `mark` stands for; `None` when it is none of this filter's.
    #[must_use]
    pub fn event(
        &self,
        mark: ActMark,
        time_ns: i64,
        id: Identity,
        values: serde_json::Map<String, serde_json::Value>,
    ) -> Option<Event> {
        let rung = self.rungs.get(mark.rung as usize)?;
        let detail = usize::try_from(mark.detail).ok();
        let refused = |refusal: Refusal| (EventKind::Refused, refusal.to_string());
        let (event, reason) = match ActOutcome::from_number(mark.outcome)? {
            ActOutcome::Acts => (EventKind::Limit, String::new()),
            ActOutcome::Spent => (EventKind::Refused, BUDGET_SPENT.to_owned()),
            ActOutcome::Init => refused(Refusal::Init),
            ActOutcome::KernelThread => refused(Refusal::KernelThread),
            ActOutcome::Own => refused(Refusal::Own),
            ActOutcome::Protected => {
                refused(Refusal::Protected(self.protect.get(detail?)?.clone()))
            }
            ActOutcome::Failed => {
                let source = std::io::Error::from_raw_os_error(mark.detail.saturating_neg());
                let call = "bpf_task_work_schedule_signal".to_owned();
                (EventKind::Failed, ActError::Call { call, source }.to_string())
            }
        };
        Some(Event {
            time_ns,
            rule: self.rule.clone(),
            pid: id.pid,
            start_ns: id.start_ns,
            event,
            action: "did",
            rung: rung.action.to_string(),
            reason,
            values,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Action;

    #[test]
    fn a_mark_is_an_event_as_the_engine_writes_it() {
        let rung = |action| Rung { after_ns: 0, action };
        let actor = Actor {
            rule: "hog".to_owned(),
            rungs: vec![rung(Action::Notify), rung(Action::Term)],
            protect: vec!["sshd*".to_owned()],
        };
        let id = Identity { pid: 7, start_ns: 9 };
        let event = |rung, outcome: u32, detail| {
            let mark = ActMark { rung, outcome, detail };
            let event = actor.event(mark, 5, id, serde_json::Map::new())?;
            Some(serde_json::to_string(&event).expect("it is plain"))
        };
        let act = event(1, ActOutcome::Acts as u32, 0).expect("an act");
        let expected = r#"{"time_ns":5,"rule":"hog","pid":7,"start_ns":9,"event":"limit","action":"did","rung":"term","values":{}}"#;
        assert_eq!(act, expected);
        let protected = event(1, ActOutcome::Protected as u32, 0).expect("a refusal");
        assert!(protected.contains(r#""event":"refused""#), "{protected}");
        assert!(protected.contains("protected by `sshd*`"), "{protected}");
        let failed = event(1, ActOutcome::Failed as u32, -16).expect("a failure");
        assert!(failed.contains("busy"), "{failed}");
        // What no filter of ours writes is no event.
        assert_eq!(event(2, ActOutcome::Acts as u32, 0), None);
        assert_eq!(event(1, 99, 0), None);
        assert_eq!(event(1, ActOutcome::Protected as u32, 1), None);
    }
}
