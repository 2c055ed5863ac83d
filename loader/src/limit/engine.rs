//! The ladder: who is on which rung, and what is due.
//!
//! **Invariant**: with and without `enforce` the same events come in the same order; only
//! their `action` word differs, and the events that tell how an act ended.

use super::{ActError, Action, Budget, Identity, Journal, JournalError, Rails, Rung, Saved, World};
use serde::Serialize;
use std::collections::BTreeMap;

/// Why a destructive rung has to wait.
pub(super) const BUDGET_SPENT: &str = "the budget of destructive acts is spent";

/// How one filter's offenders are treated.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Name of the filter.
    pub rule: String,
    /// The ladder, in the order of time.
    pub rungs: Vec<Rung>,
    /// Act; otherwise only say what would be done.
    pub enforce: bool,
    /// How many sweeps in a row an offender must be absent to be released, when the filter
    /// has no `leave` condition of its own.
    pub absent_sweeps: u32,
    /// The filter has a `leave` condition: only that releases.
    pub has_leave: bool,
}

/// A process that matched in this sweep.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Which one.
    pub id: Identity,
    /// What the record said of it: the evidence.
    pub values: serde_json::Map<String, serde_json::Value>,
}

/// What happened, or would have; written before it does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// When, in nanoseconds since boot.
    pub time_ns: i64,
    /// Name of the filter.
    pub rule: String,
    /// Process id.
    pub pid: i32,
    /// When the process started, in nanoseconds since boot.
    pub start_ns: i64,
    /// What happened.
    pub event: EventKind,
    /// `did` when enforcing, else `would`.
    pub action: &'static str,
    /// The rung, `nice 10`; empty when no rung is concerned.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rung: String,
    /// Why, or what went wrong.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What the record said when it last matched.
    pub values: serde_json::Map<String, serde_json::Value>,
}

/// Kinds of [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// It matched for the first time.
    Enter,
    /// A rung is due and is about to be done.
    Limit,
    /// A rung is due, but a rail or the budget forbids it.
    Refused,
    /// The act failed.
    Failed,
    /// It behaves again, or the engine stops: what was done is undone.
    Release,
    /// It has ended.
    Gone,
}

#[derive(Debug)]
struct Offender {
    entered_ns: i64,
    next_rung: usize,
    budget_said: bool,
    absent: u32,
    values: serde_json::Map<String, serde_json::Value>,
    saved: Vec<Saved>,
}

/// Follows the offenders of one filter from sweep to sweep.
pub struct Engine<W: World, S: FnMut(&Event)> {
    policy: Policy,
    rails: Rails,
    budget: Budget,
    journal: Journal,
    world: W,
    sink: S,
    offenders: BTreeMap<Identity, Offender>,
}

impl<W: World, S: FnMut(&Event)> Engine<W, S> {
    /// An engine without offenders. What an earlier one left in the journal is undone first.
    ///
    /// # Errors
    /// When the journal cannot be read or written: without it nothing may be done.
    pub fn new(
        policy: Policy,
        rails: Rails,
        budget: Budget,
        journal: Journal,
        mut world: W,
        sink: S,
    ) -> Result<Self, JournalError> {
        if policy.enforce {
            for (id, saved) in journal.read()?.iter().rev() {
                // A process that has gone needs nothing; another failure cannot be mended
                // by trying again, and the journal must not block a new start.
                if world.hold(*id).is_ok() {
                    let _unmendable = world.restore(*id, saved);
                    world.release(*id);
                }
            }
            journal.write(&[])?;
        }
        Ok(Self { policy, rails, budget, journal, world, sink, offenders: BTreeMap::new() })
    }

    /// Takes the result of one sweep: who matched, and who meets the `leave` condition.
    ///
    /// # Errors
    /// When the journal cannot be written; nothing more is done in this sweep then.
    pub fn step(
        &mut self,
        now_ns: i64,
        matched: &[Candidate],
        left: &[Identity],
    ) -> Result<(), JournalError> {
        for candidate in matched {
            self.admit(now_ns, candidate);
        }
        let ids: Vec<Identity> = self.offenders.keys().copied().collect();
        for id in ids {
            let matches = matched.iter().any(|candidate| candidate.id == id);
            if self.has_left(id, matches, left) {
                self.let_go(now_ns, id, EventKind::Release, "it behaves again")?;
            } else if matches {
                self.climb(now_ns, id)?;
            } else if matches!(self.world.hold(id), Err(ActError::Gone)) {
                self.let_go(now_ns, id, EventKind::Gone, "it has ended")?;
            }
        }
        Ok(())
    }

    /// Undoes everything, for an orderly stop.
    ///
    /// # Errors
    /// When the journal cannot be written; the rest has been undone all the same.
    pub fn release_all(&mut self, now_ns: i64) -> Result<(), JournalError> {
        let ids: Vec<Identity> = self.offenders.keys().copied().collect();
        ids.into_iter()
            .try_for_each(|id| self.let_go(now_ns, id, EventKind::Release, "kfilter stops"))
    }

    /// How many processes are being followed.
    #[must_use]
    pub fn offenders(&self) -> usize {
        self.offenders.len()
    }

    fn admit(&mut self, now_ns: i64, candidate: &Candidate) {
        if let Some(offender) = self.offenders.get_mut(&candidate.id) {
            offender.absent = 0;
            offender.values = candidate.values.clone();
            return;
        }
        self.offenders.insert(
            candidate.id,
            Offender {
                entered_ns: now_ns,
                next_rung: 0,
                budget_said: false,
                absent: 0,
                values: candidate.values.clone(),
                saved: Vec::new(),
            },
        );
        self.say(now_ns, candidate.id, EventKind::Enter, String::new(), String::new());
    }

    fn has_left(&mut self, id: Identity, matches: bool, left: &[Identity]) -> bool {
        if self.policy.has_leave {
            return left.contains(&id);
        }
        let Some(offender) = self.offenders.get_mut(&id) else { return false };
        if !matches {
            offender.absent = offender.absent.saturating_add(1);
        }
        offender.absent >= self.policy.absent_sweeps.max(1)
    }

    /// Does every rung that is due.
    fn climb(&mut self, now_ns: i64, id: Identity) -> Result<(), JournalError> {
        while let Some((rung, offender)) = self.due(now_ns, id) {
            let budget_said = offender.budget_said;
            if rung.action.is_destructive() && !self.budget.allows(now_ns) {
                if !budget_said {
                    self.refuse(now_ns, id, rung, BUDGET_SPENT);
                }
                self.with(id, |offender| offender.budget_said = true);
                return Ok(());
            }
            self.with(id, |offender| {
                offender.budget_said = false;
                offender.next_rung += 1;
            });
            match self.act(now_ns, id, rung) {
                Ok(()) => {}
                Err(Stop::Journal(error)) => return Err(error),
                Err(Stop::Act(ActError::Gone)) => {
                    return self.let_go(now_ns, id, EventKind::Gone, "it has ended");
                }
                Err(Stop::Act(error)) => {
                    let (rung, reason) = (rung.action.to_string(), error.to_string());
                    self.say(now_ns, id, EventKind::Failed, rung, reason);
                }
            }
        }
        Ok(())
    }

    fn due(&self, now_ns: i64, id: Identity) -> Option<(Rung, &Offender)> {
        let offender = self.offenders.get(&id)?;
        let rung = *self.policy.rungs.get(offender.next_rung)?;
        (now_ns.saturating_sub(offender.entered_ns) >= rung.after_ns).then_some((rung, offender))
    }

    fn act(&mut self, now_ns: i64, id: Identity, rung: Rung) -> Result<(), Stop> {
        if rung.action == Action::Notify {
            self.say(now_ns, id, EventKind::Limit, rung.action.to_string(), String::new());
            return Ok(());
        }
        // Held first, looked at afterwards: a process that matches now and started when the
        // offender did was already there when it was held.
        self.world.hold(id)?;
        let facts = self.world.facts(id)?;
        if let Some(refusal) = self.rails.refuse(id.pid, &facts) {
            self.refuse(now_ns, id, rung, &refusal.to_string());
            return Ok(());
        }
        if !self.world.still_offends(id) {
            self.refuse(now_ns, id, rung, "it no longer matches");
            return Ok(());
        }
        self.say(now_ns, id, EventKind::Limit, rung.action.to_string(), String::new());
        if rung.action.is_destructive() {
            self.budget.spend(now_ns);
        }
        if !self.policy.enforce {
            return Ok(());
        }
        let whole_cgroup = self.rails.may_act_on_cgroup(&facts);
        let saved = self.world.prepare(id, rung.action, whole_cgroup)?;
        self.with(id, |offender| offender.saved.extend(saved.iter().cloned()));
        self.write_journal()?;
        self.world.apply(id, rung.action, &saved)?;
        Ok(())
    }

    fn let_go(
        &mut self,
        now_ns: i64,
        id: Identity,
        event: EventKind,
        reason: &str,
    ) -> Result<(), JournalError> {
        self.say(now_ns, id, event, String::new(), reason.to_owned());
        let Some(offender) = self.offenders.remove(&id) else { return Ok(()) };
        let had_saved = !offender.saved.is_empty();
        let mut failures = Vec::new();
        for saved in offender.saved.iter().rev() {
            match self.world.restore(id, saved) {
                Ok(()) | Err(ActError::Gone) => {}
                Err(error) => failures.push(error.to_string()),
            }
        }
        self.world.release(id);
        for failure in failures {
            self.emit(
                now_ns,
                id,
                EventKind::Failed,
                "restore".to_owned(),
                failure,
                &offender.values,
            );
        }
        if had_saved { self.write_journal() } else { Ok(()) }
    }

    fn write_journal(&self) -> Result<(), JournalError> {
        let saved: Vec<(Identity, Saved)> = self
            .offenders
            .iter()
            .flat_map(|(id, offender)| offender.saved.iter().map(|saved| (*id, saved.clone())))
            .collect();
        self.journal.write(&saved)
    }

    fn with(&mut self, id: Identity, change: impl FnOnce(&mut Offender)) {
        if let Some(offender) = self.offenders.get_mut(&id) {
            change(offender);
        }
    }

    fn refuse(&mut self, now_ns: i64, id: Identity, rung: Rung, reason: &str) {
        self.say(now_ns, id, EventKind::Refused, rung.action.to_string(), reason.to_owned());
    }

    fn say(&mut self, now_ns: i64, id: Identity, event: EventKind, rung: String, reason: String) {
        let values =
            self.offenders.get(&id).map(|offender| offender.values.clone()).unwrap_or_default();
        self.emit(now_ns, id, event, rung, reason, &values);
    }

    fn emit(
        &mut self,
        now_ns: i64,
        id: Identity,
        event: EventKind,
        rung: String,
        reason: String,
        values: &serde_json::Map<String, serde_json::Value>,
    ) {
        (self.sink)(&Event {
            time_ns: now_ns,
            rule: self.policy.rule.clone(),
            pid: id.pid,
            start_ns: id.start_ns,
            event,
            action: if self.policy.enforce { "did" } else { "would" },
            rung,
            reason,
            values: values.clone(),
        });
    }
}

impl<W: World, S: FnMut(&Event)> Drop for Engine<W, S> {
    fn drop(&mut self) {
        // Without a clock at hand the last resort is silent; an orderly stop has called
        // `release_all` and left nothing to undo.
        for (id, offender) in std::mem::take(&mut self.offenders) {
            for saved in offender.saved.iter().rev() {
                let _last_resort = self.world.restore(id, saved);
            }
            self.world.release(id);
        }
        if self.policy.enforce {
            let _last_resort = self.journal.write(&[]);
        }
    }
}

enum Stop {
    Act(ActError),
    Journal(JournalError),
}

impl From<ActError> for Stop {
    fn from(error: ActError) -> Self {
        Self::Act(error)
    }
}

impl From<JournalError> for Stop {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}
