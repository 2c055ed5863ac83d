//! From files, names and parameters on the command line to filters that can be swept.

use crate::choice::Choice;
use crate::exit::{Exit, Failure};
use crate::output::terminal::ColorChoice;
use clap::ValueEnum;
use kernel_vm::object::{FilterMeta, HoldMeta};
use kfilter_loader::host::bpf::{BpfHost, system_values};
use kfilter_loader::host::module::ModuleHost;
use kfilter_loader::host::vm::VmHost;
use kfilter_loader::keep::Keepers;
use kfilter_loader::sys::Kernel;
use kfilter_loader::{ErrorClass, Host, HostKind, LoadError, Object, Request, Session, Sweep};
use std::path::Path;
use std::time::Duration;

/// Which filters to run, with what and where.
#[derive(Debug, clap::Args)]
pub(crate) struct Selection {
    #[command(flatten)]
    choice: Choice,

    /// What runs the filters
    #[arg(long, value_name = "HOST", default_value = "auto")]
    host: HostChoice,
}

/// What runs filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum HostChoice {
    /// The kernel where it takes them, else its module, else the VM
    Auto,
    /// The Linux kernel
    Bpf,
    /// The VM over /proc, without privilege
    Vm,
    /// The VM in the kernel, where kfilter.ko is loaded
    Module,
}

/// A filter that can be swept.
pub(crate) struct Loaded {
    /// Its metadata.
    pub(crate) filter: FilterMeta,
    /// How long its condition must hold.
    pub(crate) hold: Duration,
    /// What runs it.
    pub(crate) host: HostKind,
    /// It was swept before, so that one sweep may answer.
    has_history: bool,
    session: Box<dyn Session>,
}

impl Loaded {
    /// Whether one sweep says nothing.
    pub(crate) const fn needs_two_sweeps(&self) -> bool {
        self.filter.needs_two_sweeps && !self.has_history
    }

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
        let (names, files): (Vec<_>, Vec<_>) =
            self.choice.files.iter().cloned().partition(|path| is_loaded_name(path));
        let mut pairs = Vec::new();
        for name in &names {
            pairs.push((self.open(&name.to_string_lossy())?, None));
        }
        if files.is_empty() {
            return Ok(pairs);
        }
        let choice = Choice { files, ..self.choice.clone() };
        let bpf = match self.host {
            HostChoice::Auto | HostChoice::Bpf => {
                Some(BpfHost::ahead(kfilter_compiler::kernel_names()))
            }
            HostChoice::Vm | HostChoice::Module => None,
        };
        let objects = choice.objects(color, &mut say)?;
        let chosen = choice.requests(&objects)?;
        let requests: Vec<&Request<'_>> =
            chosen.iter().flat_map(|one| std::iter::once(&one.request).chain(&one.leave)).collect();
        let mut loaded = self.load_on_host(bpf, &requests, say)?.into_iter();
        for one in &chosen {
            let Some(filter) = loaded.next() else { break };
            let leave = one.leave.as_ref().and_then(|_| loaded.next());
            pairs.push((filter, leave));
        }
        Ok(pairs)
    }

    /// The name of the loaded filter that sweeps by itself, if that is all that is asked for.
    pub(crate) fn resident(&self) -> Option<String> {
        let [path] = &self.choice.files[..] else { return None };
        let name = path.to_str().filter(|_| is_loaded_name(path))?;
        let (_, meta) = Keepers::running().show(name).ok()?;
        meta.every_ns.map(|_| name.to_owned())
    }

    /// A filter that is loaded already; its history is that of its earlier sweeps.
    fn open(&self, name: &str) -> Result<Loaded, Failure> {
        if !self.choice.params.is_empty()
            || matches!(self.host, HostChoice::Vm | HostChoice::Module)
        {
            let message = format!("filter `{name}` is loaded: it has its parameters and its host");
            return Err(Failure::new(Exit::BadInput, message)
                .help("`kfilter load --replace` gives it others"));
        }
        let (host, meta, session) =
            Keepers::running().open(name).map_err(|error| failure(&error))?;
        Ok(Loaded { filter: meta.filter, hold: Duration::ZERO, host, has_history: true, session })
    }

    fn load_on_host(
        &self,
        bpf: Option<BpfHost>,
        requests: &[&Request<'_>],
        mut say: impl FnMut(&str),
    ) -> Result<Vec<Loaded>, Failure> {
        if self.host == HostChoice::Module {
            return load_all(&mut ModuleHost::running(), requests).map_err(|error| failure(&error));
        }
        if let Some(mut bpf) = bpf {
            match load_all(&mut bpf, requests) {
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
                    // Where there is no bpf() the module is what the kernel has instead.
                    if let Ok(loaded) = load_all(&mut ModuleHost::running(), requests) {
                        say(&format!("using the module host: the bpf host {why} ({first})"));
                        return Ok(loaded);
                    }
                    say(&format!("using the vm host: the bpf host {why} ({first})"));
                }
            }
        }
        load_all(&mut VmHost, requests).map_err(|error| failure(&error))
    }
}

fn load_all(host: &mut dyn Host, requests: &[&Request<'_>]) -> Result<Vec<Loaded>, LoadError> {
    requests
        .iter()
        .map(|request| {
            Ok(Loaded {
                session: host.load(request)?,
                filter: request.filter.clone(),
                hold: hold(request),
                host: host.kind(),
                has_history: false,
            })
        })
        .collect()
}

/// Whether it is no file, but the name of a loaded filter.
fn is_loaded_name(path: &Path) -> bool {
    let is_name = |name: &str| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
            && name != "-"
    };
    path.to_str().is_some_and(|name| {
        is_name(name)
            && !path.exists()
            && Keepers::running().names().0.iter().any(|one| one.name == name)
    })
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
        HostKind::Module => ModuleHost::running().load(&request)?,
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
    let log = if let LoadError::Rejected(rejection) = error {
        log_end(&rejection.log)
    } else {
        Vec::new()
    };
    let failure = Failure::new(exit, error).log(log);
    let way_out = if let LoadError::Lacks { .. } = error {
        Some("run it as root, or grant what it takes")
    } else {
        way_out(error.class())
    };
    match way_out {
        Some(line) => failure.help(line),
        None => failure,
    }
}

/// Lines of a verifier's log that are shown.
const LOG_LINES: usize = 16;

/// The end of a verifier's log, where the reason stands, and how much went before.
fn log_end(log: &str) -> Vec<String> {
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let before = lines.len().saturating_sub(LOG_LINES);
    let cut = (before > 0).then(|| format!("the verifier's log, after {before} lines:"));
    let title = cut.unwrap_or_else(|| "the verifier's log:".to_owned());
    let shown = lines[before..].iter().map(|line| (*line).to_owned());
    std::iter::once(title).chain(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::log_end;

    #[test]
    fn the_end_of_a_log_is_shown() {
        let text: String = (0..40).map(|n| format!("line {n}\n\n")).collect();
        let shown = log_end(&text);
        assert_eq!((shown.len(), shown[16].as_str()), (17, "line 39"));
        assert_eq!(shown[0], "the verifier's log, after 24 lines:");
        assert_eq!(log_end("a\n"), ["the verifier's log:", "a"]);
    }
}
