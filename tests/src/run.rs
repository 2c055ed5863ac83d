//! Filters on both hosts, with decoded records.

use kernel_vm::abi::SweepStats;
use kfilter_loader::host::bpf::{BpfHost, system_values};
use kfilter_loader::host::module::ModuleHost;
use kfilter_loader::host::vm::VmHost;
use kfilter_loader::params::Given;
use kfilter_loader::record::{Value, fields};
use kfilter_loader::sys::Kernel;
use kfilter_loader::{ErrorClass, Host, HostKind, LoadError, Object, Request, Session};
use std::collections::BTreeMap;
use std::path::Path;

/// A record by the names of its fields; a missing one is absent.
pub type Record = BTreeMap<String, Value>;

/// A loaded filter.
pub struct Running {
    object: Object,
    name: String,
    session: Box<dyn Session>,
}

/// The text of a shipped filter.
///
/// # Panics
/// When there is no such filter.
#[must_use]
pub fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../filters").join(format!("{name}.kf"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of the shipped filters.
///
/// # Panics
/// When they are not where they belong.
#[must_use]
pub fn shipped_names() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../filters");
    let entries = std::fs::read_dir(directory).expect("the filters are there");
    let files = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    files.filter_map(|file| Some(file.strip_suffix(".kf")?.to_owned())).collect()
}

/// Both hosts; the bpf host only where bpf() is to be had, else it says SKIPPED.
#[must_use]
pub fn hosts(test: &str) -> Vec<HostKind> {
    let probe = "filter probe on process { where pid == 0 emit pid }";
    match Running::load(HostKind::Bpf, probe, &[]) {
        Ok(_) => vec![HostKind::Bpf, HostKind::Vm],
        Err(error) if error.class() != ErrorClass::Input => {
            crate::skipped(&format!("{test} on the bpf host"), &error.to_string());
            vec![HostKind::Vm]
        }
        Err(error) => panic!("the simplest filter is refused: {error}"),
    }
}

/// How a filter is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// On a host.
    On(HostKind),
    /// On the bpf host with the programs that older kernels run.
    Classic,
}

/// Each of the [`hosts`], and what the bpf host runs on older kernels.
#[must_use]
pub fn ways(test: &str) -> Vec<Way> {
    let hosts = hosts(test);
    let classic = hosts.contains(&HostKind::Bpf).then_some(Way::Classic);
    hosts.into_iter().map(Way::On).chain(classic).collect()
}

impl Way {
    /// Compiles and loads the first filter of `source`.
    ///
    /// # Panics
    /// When the source is wrong or it cannot be loaded.
    #[must_use]
    pub fn load(self, source: &str) -> Running {
        let loaded = match self {
            Self::On(host) => Running::load(host, source, &[]),
            Self::Classic => Running::load_classic(source).expect("every filter has them"),
        };
        loaded.unwrap_or_else(|error| panic!("{self:?}: {source}\n{error}"))
    }
}

impl Running {
    /// Compiles and loads the first filter of `source`.
    ///
    /// # Errors
    /// When the host cannot run it.
    ///
    /// # Panics
    /// When the source is wrong.
    pub fn load(host: HostKind, source: &str, params: &[(&str, &str)]) -> Result<Self, LoadError> {
        let compiled = kfilter_compiler::compile("test.kf", source)
            .unwrap_or_else(|wrong| panic!("{source}\n{wrong:#?}"));
        let object = Object::parse(&compiled.object)?;
        let name = object.filters()[0].name.clone();
        let params: Vec<Given> =
            params.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let request = Request::new(&object, &name, &params, system_values(&Kernel))?;
        let session = match host {
            HostKind::Bpf => BpfHost::running().load(&request)?,
            HostKind::Vm => VmHost.load(&request)?,
            HostKind::Module => ModuleHost::running().load(&request)?,
        };
        Ok(Self { object, name, session })
    }

    /// The same with the programs for older kernels, whatever this kernel takes; `None` when
    /// the filter has none.
    ///
    /// # Panics
    /// When the source is wrong.
    #[must_use]
    pub fn load_classic(source: &str) -> Option<Result<Self, LoadError>> {
        let compiled = kfilter_compiler::compile("test.kf", source)
            .unwrap_or_else(|wrong| panic!("{source}\n{wrong:#?}"));
        let object = Object::parse(&compiled.object).expect("our own object");
        let name = object.filters()[0].name.clone();
        let loaded = {
            let request = Request::new(&object, &name, &[], system_values(&Kernel));
            BpfHost::running().load_classic(&request.expect("no parameter is given"))?
        };
        Some(loaded.map(|session| Self { object, name, session: Box::new(session) }))
    }

    /// One sweep: the records, and the counters.
    ///
    /// # Panics
    /// When the host cannot sweep.
    pub fn sweep(&mut self) -> (Vec<Record>, SweepStats) {
        let sweep = self.session.sweep().expect("a loaded filter sweeps");
        let meta = &self.object.filter(&self.name).expect("it was loaded").record;
        let records = sweep
            .records
            .iter()
            .map(|record| {
                let named = fields(meta, record);
                named.filter_map(|(field, value)| Some((field.name.clone(), value?))).collect()
            })
            .collect();
        (records, sweep.stats)
    }
}

/// A field's integer.
///
/// # Panics
/// When the record has no such number.
#[must_use]
pub fn number(record: &Record, field: &str) -> i64 {
    record.get(field).and_then(Value::number).unwrap_or_else(|| panic!("{field} in {record:?}"))
}
