//! From files, names and parameters on the command line to filters that can be swept.

use crate::exit::{Exit, Failure};
use crate::input;
use crate::output::terminal::ColorChoice;
use clap::ValueEnum;
use kernel_vm::object::{FilterMeta, HoldMeta};
use kfilter_loader::host::bpf::{BpfHost, system_values};
use kfilter_loader::host::vm::VmHost;
use kfilter_loader::params::{self, Given};
use kfilter_loader::sys::Kernel;
use kfilter_loader::{ErrorClass, Host, HostKind, LoadError, Object, Request, Session, Sweep};
use std::path::PathBuf;
use std::time::Duration;

/// Which filters to run, with what and where.
#[derive(Debug, clap::Args)]
pub(crate) struct Selection {
    /// Filters to run: source text or compiled objects; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Only the filter with this name; may be given several times
    #[arg(long = "filter", value_name = "NAME")]
    filters: Vec<String>,

    /// Give a parameter another value: max=50%, or cpu_hog.max=50% for one filter of several
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE", value_parser = params::split)]
    params: Vec<Given>,

    /// What runs the filters
    #[arg(long, value_name = "HOST", default_value = "auto")]
    host: HostChoice,
}

/// What runs filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum HostChoice {
    /// The kernel where it takes them, else the VM
    Auto,
    /// The Linux kernel
    Bpf,
    /// The VM over /proc, without privilege
    Vm,
}

/// A filter that can be swept.
pub(crate) struct Loaded {
    /// Its metadata.
    pub(crate) filter: FilterMeta,
    /// How long its condition must hold.
    pub(crate) hold: Duration,
    /// What runs it.
    pub(crate) host: HostKind,
    session: Box<dyn Session>,
}

impl Loaded {
    /// Makes one sweep.
    pub(crate) fn sweep(&mut self) -> Result<Sweep, Failure> {
        self.session.sweep().map_err(|error| failure(&error))
    }
}

impl Selection {
    /// Compiles, opens and loads; `say` takes notes for people.
    pub(crate) fn load(
        &self,
        color: ColorChoice,
        say: impl FnMut(&str),
    ) -> Result<Vec<Loaded>, Failure> {
        let with_leave = self.load_with_leave(color, say)?;
        Ok(with_leave.into_iter().map(|(loaded, _)| loaded).collect())
    }

    /// The same, each with the filter of its `limit`'s `leave` condition.
    pub(crate) fn load_with_leave(
        &self,
        color: ColorChoice,
        mut say: impl FnMut(&str),
    ) -> Result<Vec<(Loaded, Option<Loaded>)>, Failure> {
        let mut objects = Vec::new();
        for path in &self.files {
            let bytes = input::object(path, color, &mut say)?;
            objects.push(input::parse(path, &bytes)?);
        }
        let chosen = self.choose(&objects)?;
        let system = system_values(&Kernel);
        let mut requests = Vec::new();
        for (object, filter) in &chosen {
            let params = self.params_of(filter, &chosen)?;
            let request = |name: &str| {
                Request::new(object, name, &params, system).map_err(|error| failure(&error))
            };
            requests.push(request(&filter.name)?);
            if let Some(leave) = leave_of(filter) {
                requests.push(request(leave)?);
            }
        }
        let mut loaded = self.load_on_host(&requests, say)?.into_iter();
        let mut pairs = Vec::new();
        while let Some(filter) = loaded.next() {
            let leave = leave_of(&filter.filter).and_then(|_| loaded.next());
            pairs.push((filter, leave));
        }
        Ok(pairs)
    }

    fn choose<'a>(
        &self,
        objects: &'a [Object],
    ) -> Result<Vec<(&'a Object, &'a FilterMeta)>, Failure> {
        let all: Vec<_> = objects
            .iter()
            .flat_map(|object| object.filters().iter().map(move |filter| (object, filter)))
            .filter(|(object, filter)| {
                let is_leave = |other| leave_of(other) == Some(filter.name.as_str());
                !object.filters().iter().any(is_leave)
            })
            .collect();
        let known =
            || all.iter().map(|(_, filter)| filter.name.as_str()).collect::<Vec<_>>().join(", ");
        for wanted in &self.filters {
            if !all.iter().any(|(_, filter)| filter.name == *wanted) {
                let message = format!("there is no filter `{wanted}`; there are {}", known());
                return Err(Failure::new(Exit::BadInput, message));
            }
        }
        if all.is_empty() {
            return Err(Failure::new(Exit::BadInput, "the object has no filter of kfilter's"));
        }
        let is_wanted =
            |filter: &FilterMeta| self.filters.is_empty() || self.filters.contains(&filter.name);
        Ok(all.into_iter().filter(|(_, filter)| is_wanted(filter)).collect())
    }

    /// The parameters meant for `filter`: those that it has, and those that name it.
    fn params_of(
        &self,
        filter: &FilterMeta,
        chosen: &[(&Object, &FilterMeta)],
    ) -> Result<Vec<Given>, Failure> {
        let mut meant = Vec::new();
        for (name, value) in &self.params {
            let has = |filter: &FilterMeta, name: &str| {
                filter.params.iter().any(|param| param.name == name)
            };
            match name.split_once('.') {
                Some((owner, name)) if owner == filter.name => {
                    meant.push((name.to_owned(), value.clone()));
                }
                Some((owner, _)) if chosen.iter().any(|(_, other)| other.name == owner) => {}
                // A lone filter's own error says what it has.
                None if has(filter, name) || chosen.len() == 1 => {
                    meant.push((name.clone(), value.clone()));
                }
                None if chosen.iter().any(|(_, other)| has(other, name)) => {}
                Some(_) | None => {
                    let message = format!("no filter has a parameter `{name}`");
                    return Err(Failure::new(Exit::BadInput, message));
                }
            }
        }
        Ok(meant)
    }

    fn load_on_host(
        &self,
        requests: &[Request<'_>],
        mut say: impl FnMut(&str),
    ) -> Result<Vec<Loaded>, Failure> {
        if self.host != HostChoice::Vm {
            match load_all(&mut BpfHost::running(), requests) {
                Ok(loaded) => return Ok(loaded),
                Err(error)
                    if self.host == HostChoice::Bpf || error.class() == ErrorClass::Input =>
                {
                    return Err(failure(&error));
                }
                Err(error) => {
                    let first = error.to_string();
                    let first = first.lines().next().unwrap_or_default();
                    let why = match error.class() {
                        ErrorClass::Privilege => "needs CAP_BPF and CAP_PERFMON",
                        ErrorClass::Host | ErrorClass::Input => "cannot be used here",
                    };
                    say(&format!("using the vm host: the bpf host {why} ({first})"));
                }
            }
        }
        load_all(&mut VmHost, requests).map_err(|error| failure(&error))
    }
}

fn load_all(host: &mut dyn Host, requests: &[Request<'_>]) -> Result<Vec<Loaded>, LoadError> {
    requests
        .iter()
        .map(|request| {
            Ok(Loaded {
                session: host.load(request)?,
                filter: request.filter.clone(),
                hold: hold(request),
                host: host.kind(),
            })
        })
        .collect()
}

/// The name of the companion filter that matches those who behave again.
fn leave_of(filter: &FilterMeta) -> Option<&str> {
    filter.limit.as_ref()?.leave.as_deref()
}

/// How long the filter's `for` lasts with these parameters.
fn hold(request: &Request<'_>) -> Duration {
    let ns = match &request.filter.hold {
        None => 0,
        Some(HoldMeta::Fixed(ns)) => *ns,
        Some(HoldMeta::Param(name)) => request
            .filter
            .params
            .iter()
            .find(|param| param.name == *name)
            .and_then(|param| {
                let start = param.offset as usize;
                let bytes = request.block().get(start..start.checked_add(8)?)?;
                Some(i64::from_le_bytes(bytes.try_into().ok()?))
            })
            .unwrap_or_default(),
    };
    Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
}

/// Compiles `text`, loads its only filter on `host` and sweeps once: what `doctor` tries.
pub(crate) fn attempt(host: HostKind, text: &str) -> Result<Sweep, LoadError> {
    let cannot = |reason: String| LoadError::Missing {
        what: "a filter".to_owned(),
        why: reason,
        way_out: "this is a mistake of kfilter's; please report it".to_owned(),
    };
    let compiled = kfilter_compiler::compile("doctor.kf", text)
        .map_err(|all| cannot(all.first().map_or_else(String::new, |one| one.message.clone())))?;
    let object = Object::parse(&compiled.object)?;
    let name = object.filters().first().map(|filter| filter.name.clone()).unwrap_or_default();
    let request = Request::new(&object, &name, &[], system_values(&Kernel))?;
    let mut session = match host {
        HostKind::Bpf => BpfHost::running().load(&request)?,
        HostKind::Vm => VmHost.load(&request)?,
    };
    session.sweep()
}

/// What can be done about an error of this class.
pub(crate) const fn way_out(class: ErrorClass) -> Option<&'static str> {
    match class {
        ErrorClass::Privilege => {
            Some("run it as root, or grant CAP_BPF and CAP_PERFMON; `--host vm` needs no privilege")
        }
        ErrorClass::Host => Some("`kfilter doctor` shows what this machine allows"),
        ErrorClass::Input => None,
    }
}

/// The failure that an error of the loader is on the command line.
pub(crate) fn failure(error: &LoadError) -> Failure {
    let exit = match error.class() {
        ErrorClass::Input => Exit::BadInput,
        ErrorClass::Host => Exit::CannotRun,
        ErrorClass::Privilege => Exit::NoPrivilege,
    };
    let failure = Failure::new(exit, error);
    match way_out(error.class()) {
        Some(line) => failure.help(line),
        None => failure,
    }
}
