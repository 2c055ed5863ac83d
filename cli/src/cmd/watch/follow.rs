//! One filter's offenders from sweep to sweep, with the loader's engine of limits.

use super::Args;
use crate::exit::{Exit, Failure};
use crate::limits;
use crate::output::json;
use crate::output::rings::Waits;
use crate::session::Loaded;
use kernel_vm::object::{FilterMeta, RecordMeta};
use kernel_vm::schema::{Type, Unit};
use kfilter_loader::Sweep;
use kfilter_loader::keep::Keepers;
use kfilter_loader::limit::linux::Linux;
use kfilter_loader::limit::{
    Budget, Candidate, Engine, Event, Identity, Journal, JournalError, Policy, Rails, Rung,
};
use kfilter_loader::record::{Value, fields};
use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::rc::Rc;

/// Follows one filter.
pub(super) struct Follower {
    watched: Rc<RefCell<Watched>>,
    leave: Option<Loaded>,
    engine: Engine<Linux<Evaluate>, Sink>,
    /// Writing the events failed: somebody who is not watched over must not be limited.
    lost: Rc<Cell<Option<std::io::ErrorKind>>>,
    now_ns: i64,
    has_seen: bool,
}

type Evaluate = Box<dyn FnMut(Identity) -> bool>;
type Sink = Box<dyn FnMut(&Event)>;

struct Watched {
    loaded: Loaded,
    matched: Vec<Identity>,
}

impl Follower {
    /// A follower of `loaded`; `leave` matches those who behave again.
    pub(super) fn new(
        args: &Args,
        loaded: Loaded,
        leave: Option<Loaded>,
        rails: Rails,
    ) -> Result<Self, Failure> {
        let name = loaded.filter.name.clone();
        if !emits_identity(&loaded.filter.record) {
            return Err(Failure::new(
                Exit::BadInput,
                format_args!("filter `{name}` cannot be followed: it emits no pid and start_time"),
            )
            .help("write `emit pid, start_time, …`"));
        }
        let policy = Policy {
            rule: name.clone(),
            rungs: own_rungs(args, &loaded.filter),
            enforce: args.enforce,
            absent_sweeps: args.absent,
            has_leave: leave.is_some(),
        };
        let watched = Rc::new(RefCell::new(Watched { loaded, matched: Vec::new() }));
        let world = Linux::new(evaluate(Rc::clone(&watched))).map_err(|error| {
            Failure::new(Exit::CannotRun, format_args!("cannot read the mounts: {error}"))
        })?;
        let lost = Rc::new(Cell::new(None));
        let journal = Journal::new(args.state.join(format!("{name}.json")));
        let engine =
            Engine::new(policy, rails, Budget::default(), journal, world, sink(Rc::clone(&lost)))
                .map_err(|error| journal_failure(&error))?;
        Ok(Self { watched, leave, engine, lost, now_ns: 0, has_seen: false })
    }

    /// Sweeps and does what is due.
    pub(super) fn step(&mut self) -> Result<(), Failure> {
        let left = match &mut self.leave {
            Some(leave) => {
                let sweep = leave.sweep()?;
                let layout = &leave.filter.record;
                sweep.records.iter().filter_map(|record| identity(layout, record)).collect()
            }
            None => Vec::new(),
        };
        let candidates = {
            let mut watched = self.watched.borrow_mut();
            let sweep = watched.loaded.sweep()?;
            self.now_ns = i64::try_from(sweep.stats.started_ns).unwrap_or(i64::MAX);
            let candidates = candidates(&watched.loaded.filter, &sweep);
            watched.matched = candidates.iter().map(|candidate| candidate.id).collect();
            candidates
        };
        self.has_seen |= !candidates.is_empty();
        let stepped = self.engine.step(self.now_ns, &candidates, &left);
        stepped.map_err(|error| journal_failure(&error))?;
        match self.lost.get() {
            Some(kind) => Err(std::io::Error::from(kind).into()),
            None => Ok(()),
        }
    }

    /// Undoes everything.
    pub(super) fn release_all(&mut self) -> Result<(), Failure> {
        self.engine.release_all(self.now_ns).map_err(|error| journal_failure(&error))
    }

    /// Whether anybody has matched.
    pub(super) const fn has_seen(&self) -> bool {
        self.has_seen
    }
}

/// The rungs that are done here: `term` and `kill` are not where the kernel does them.
fn own_rungs(args: &Args, filter: &FilterMeta) -> Vec<Rung> {
    let mut rungs = limits::rungs(filter);
    let acts_itself = || {
        let keepers = Keepers::running();
        let mut loaded =
            keepers.names().0.into_iter().filter_map(|kept| keepers.show(&kept.name).ok());
        loaded.any(|(_, meta)| meta.acting.is_some() && meta.filter.name == filter.name)
    };
    if args.enforce && rungs.iter().any(|rung| rung.action.is_destructive()) && acts_itself() {
        eprintln!(
            "{}: loaded with --enforce, so term and kill are left to the kernel",
            filter.name
        );
        rungs.retain(|rung| !rung.action.is_destructive());
    }
    rungs
}

/// Whether a process matches at this very moment. A filter with history is not swept again:
/// a rate over the microseconds since the last sweep says nothing, so its last sweep, just
/// made, is the evaluation.
fn evaluate(watched: Rc<RefCell<Watched>>) -> Evaluate {
    Box::new(move |id| {
        let mut watched = watched.borrow_mut();
        if !watched.loaded.filter.needs_two_sweeps
            && watched.loaded.filter.hold.is_none()
            && let Ok(sweep) = watched.loaded.sweep()
        {
            watched.matched =
                candidates(&watched.loaded.filter, &sweep).iter().map(|one| one.id).collect();
        }
        watched.matched.contains(&id)
    })
}

/// Writes each event as a line at once: the evidence comes before the act.
fn sink(lost: Rc<Cell<Option<std::io::ErrorKind>>>) -> Sink {
    Box::new(move |event| {
        let line = serde_json::to_string(event).unwrap_or_default() + "\n";
        let mut out = std::io::stdout().lock();
        if let Err(error) = out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
            lost.set(Some(error.kind()));
        }
    })
}

fn emits_identity(layout: &RecordMeta) -> bool {
    let has = |name: &str, ty: Type| {
        layout.fields.iter().any(|field| field.name == name && field.ty.0 == ty)
    };
    has("pid", Type::Int(Unit::Id)) && has("start_time", Type::Int(Unit::Instant))
}

pub(super) fn identity(layout: &RecordMeta, record: &[u8]) -> Option<Identity> {
    let number = |name: &str| {
        fields(layout, record).find_map(|(field, value)| match value {
            Some(Value::Int(number, _)) if field.name == name => Some(number),
            _ => None,
        })
    };
    Some(Identity { pid: i32::try_from(number("pid")?).ok()?, start_ns: number("start_time")? })
}

fn candidates(filter: &FilterMeta, sweep: &Sweep) -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = Vec::new();
    let waits = Waits::among(&filter.record, &sweep.records);
    for record in sweep.records.iter() {
        let Some(id) = identity(&filter.record, record) else { continue };
        // Several threads, files or mappings of one process are one offender.
        if candidates.iter().any(|candidate| candidate.id == id) {
            continue;
        }
        let mut values = values(&filter.record, record);
        let chain = waits.chain(&filter.record, record);
        if !chain.is_empty() {
            values.insert("wait_chain".to_owned(), chain.into());
        }
        candidates.push(Candidate { id, values });
    }
    candidates
}

/// What a record says, as JSON has it.
pub(super) fn values(
    layout: &RecordMeta,
    record: &[u8],
) -> serde_json::Map<String, serde_json::Value> {
    let shown = fields(layout, record).filter(|(field, _)| !field.hidden);
    shown
        .map(|(field, value)| {
            let mut text = String::new();
            json::push_value(&mut text, value.as_ref());
            (field.name.clone(), serde_json::from_str(&text).unwrap_or_default())
        })
        .collect()
}

fn journal_failure(error: &JournalError) -> Failure {
    Failure::new(Exit::CannotRun, error)
}
