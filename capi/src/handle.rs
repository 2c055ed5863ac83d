//! What an opaque pointer stands for; safe code only.
//!
//! **Invariant**: of a filter that sweeps by itself, the records that were handed out last stay
//! in the kernel's buffer until the next call: a program that is killed meanwhile loses none.

use kernel_vm::abi::SweepStats;
use kernel_vm::object::FilterMeta;
use kernel_vm::schema::Type;
use kfilter_loader::host::bpf::{BpfHost, Stream, system_values};
use kfilter_loader::host::module::ModuleHost;
use kfilter_loader::host::vm::VmHost;
use kfilter_loader::keep::Keepers;
use kfilter_loader::params;
use kfilter_loader::pin::Pins;
use kfilter_loader::record::{RecordBatch, Value, decode};
use kfilter_loader::sys::{Kernel, Wake};
use kfilter_loader::{ErrorClass, Host, LoadError, Object, Request, Session};
use std::ffi::{CString, c_int};
use std::os::fd::{AsRawFd as _, RawFd};
use std::time::{Duration, Instant};

/// A status that is not 0, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: c_int,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn bad_input(message: impl Into<String>) -> Self {
        Self { status: 2, message: message.into() }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let status = match error.class() {
            ErrorClass::Input => 2,
            ErrorClass::Host => 3,
            ErrorClass::Privilege => 4,
        };
        Self { status, message: error.to_string() }
    }
}

/// A field as C sees it.
pub(crate) struct Field {
    pub(crate) name: CString,
    pub(crate) ty: CString,
    pub(crate) kind: c_int,
    /// Its place in the metadata, hidden fields counted.
    index: usize,
}

/// A filter that can be swept, the records of its last sweep, and where its reader is.
pub struct Handle {
    filter: FilterMeta,
    session: Box<dyn Session>,
    /// Of a filter that sweeps by itself: its name, and what it finds once it was asked for.
    resident: Option<(String, Option<Stream>)>,
    fields: Vec<Field>,
    records: RecordBatch,
    stats: SweepStats,
    next: usize,
}

/// The object in a file, compiled when it is source text.
pub(crate) fn read(path: &str) -> Result<Vec<u8>, Failure> {
    let bytes = std::fs::read(path)
        .map_err(|error| Failure::bad_input(format!("cannot read {path}: {error}")))?;
    if bytes.starts_with(b"\x7fELF") {
        return Ok(bytes);
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::bad_input(format!("{path} is neither a filter nor an object")))?;
    compile(path, &text)
}

/// The object of a source text.
pub(crate) fn compile(name: &str, text: &str) -> Result<Vec<u8>, Failure> {
    kfilter_compiler::compile(name, text).map(|compiled| compiled.object).map_err(|found| {
        let line = |start: usize| 1 + text.bytes().take(start).filter(|&b| b == b'\n').count();
        let all: Vec<String> = found
            .iter()
            .map(|one| {
                format!("{name}:{}: {}: {}", line(one.primary.span.start), one.code, one.message)
            })
            .collect();
        Failure::bad_input(all.join("\n"))
    })
}

impl Handle {
    /// Loads filter `name` of `object`, or its only one.
    pub(crate) fn load(
        object: &[u8],
        name: Option<&str>,
        params: &[&str],
        host: c_int,
    ) -> Result<Self, Failure> {
        let object =
            Object::parse(object).map_err(|error| Failure::from(LoadError::from(error)))?;
        let name = match (name, object.filters()) {
            (Some(name), _) => name.to_owned(),
            (None, [only]) => only.name.clone(),
            (None, filters) => {
                let count = filters.len();
                return Err(Failure::bad_input(format!("there are {count} filters: name one")));
            }
        };
        let given = params
            .iter()
            .map(|text| params::split(text))
            .collect::<Result<Vec<_>, _>>()
            .map_err(Failure::bad_input)?;
        let request = Request::new(&object, &name, &given, system_values(&Kernel))?;
        let session = match host {
            0 => BpfHost::running().load(&request).or_else(|error| match error.class() {
                ErrorClass::Input => Err(error),
                // Where there is no bpf() the module is what the kernel has instead.
                ErrorClass::Host | ErrorClass::Privilege => {
                    ModuleHost::running().load(&request).or_else(|_| VmHost.load(&request))
                }
            })?,
            1 => BpfHost::running().load(&request)?,
            2 => VmHost.load(&request)?,
            3 => ModuleHost::running().load(&request)?,
            other => return Err(Failure::bad_input(format!("there is no host {other}"))),
        };
        Ok(Self::new(request.filter.clone(), session))
    }

    /// Opens the loaded filter `name`.
    pub(crate) fn open(name: &str) -> Result<Self, Failure> {
        let (_, meta, session) = Keepers::running().open(name)?;
        let mut handle = Self::new(meta.filter, session);
        handle.resident = meta.every_ns.map(|_| (name.to_owned(), None));
        Ok(handle)
    }

    fn new(filter: FilterMeta, session: Box<dyn Session>) -> Self {
        let shown = filter.record.fields.iter().enumerate().filter(|(_, field)| !field.hidden);
        let fields = shown
            .map(|(index, field)| Field {
                name: CString::new(field.name.as_str()).unwrap_or_default(),
                ty: CString::new(field.ty.0.to_string()).unwrap_or_default(),
                kind: kind(field.ty.0),
                index,
            })
            .collect();
        let records = RecordBatch::new(filter.record.size as usize);
        Self {
            filter,
            session,
            resident: None,
            fields,
            records,
            stats: SweepStats::default(),
            next: 0,
        }
    }

    pub(crate) fn sweep(&mut self) -> Result<(), Failure> {
        let sweep = self.session.sweep()?;
        self.hand_out(sweep.records, sweep.stats);
        Ok(())
    }

    fn hand_out(&mut self, mut records: RecordBatch, stats: SweepStats) {
        if let Some(top) = self.filter.top {
            records.apply_top(&self.filter.record, top);
        }
        self.records = records;
        self.stats = stats;
        self.next = 0;
    }

    /// A descriptor that becomes readable when a filter that sweeps by itself has found
    /// something.
    pub(crate) fn descriptor(&mut self) -> Result<RawFd, Failure> {
        let Some((name, stream)) = &mut self.resident else {
            return Err(Failure::bad_input(
                "only a filter that `kfilter load --every` keeps says when it has found something",
            ));
        };
        let stream = match stream {
            Some(stream) => stream,
            none => none.insert(follow(name, &self.filter)?),
        };
        Ok(stream.as_event().as_raw_fd())
    }

    /// Waits until the filter's own sweeps find something; false when the time is up.
    fn poll_resident(&mut self, end: Option<Instant>) -> Result<bool, Failure> {
        loop {
            let Some((name, stream)) = &mut self.resident else { return Ok(false) };
            let current = match stream {
                Some(stream) => stream,
                none => none.insert(follow(name, &self.filter)?),
            };
            // What was handed out is done with.
            current.release();
            // Asked first, so that what came before the end is handed out.
            let has_ended = current.has_ended();
            if let Some(batch) = current.next_batch() {
                if batch.records.is_empty() {
                    continue;
                }
                self.hand_out(batch.records, batch.stats);
                return Ok(true);
            }
            if has_ended {
                // Another one may have taken its place; else following it says that it is gone.
                self.let_go();
                continue;
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            // A signal ends it too: the program may have been told to stop.
            if current.wait(left)? == Wake::Nothing {
                return Ok(false);
            }
        }
    }

    fn let_go(&mut self) {
        if let Some((_, stream)) = &mut self.resident {
            *stream = None;
        }
    }

    /// Sweeps until something matches; false when the time is up.
    pub(crate) fn poll(
        &mut self,
        interval: Duration,
        timeout: Option<Duration>,
    ) -> Result<bool, Failure> {
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        if self.resident.is_some() {
            return self.poll_resident(end);
        }
        loop {
            self.sweep()?;
            if !self.records.is_empty() {
                return Ok(true);
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
            std::thread::sleep(left.map_or(interval, |left| left.min(interval)));
        }
    }

    pub(crate) fn next_record(&mut self) -> Option<&[u8]> {
        let record = self.records.iter().nth(self.next)?;
        self.next += 1;
        Some(record)
    }

    pub(crate) const fn stats(&self) -> SweepStats {
        self.stats
    }

    pub(crate) const fn field_count(&self) -> usize {
        self.fields.len()
    }

    pub(crate) fn field(&self, place: usize) -> Option<&Field> {
        self.fields.get(place)
    }

    /// A field of the record that was handed out last.
    pub(crate) fn value(&self, place: usize) -> Option<Value> {
        let record = self.records.iter().nth(self.next.checked_sub(1)?)?;
        let index = self.fields.get(place)?.index;
        decode(record, index, self.filter.record.fields.get(index)?)
    }
}

/// What the resident filter `name` finds, if its records are laid out as those of `filter`.
fn follow(name: &str, filter: &FilterMeta) -> Result<Stream, Failure> {
    let (meta, stream) = Pins::running().follow(name)?;
    if meta.filter.record == filter.record {
        return Ok(stream);
    }
    let message = format!("filter `{name}` was replaced by one with other records: open it again");
    Err(Failure::bad_input(message))
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some((_, Some(stream))) = &self.resident {
            stream.release();
        }
    }
}

/// `enum kfilter_kind`.
const fn kind(ty: Type) -> c_int {
    match ty {
        Type::Int(_) | Type::PerSecond(_) | Type::Bool | Type::Enum(_) | Type::Thread => 0,
        Type::Text { .. } => 1,
        Type::Object => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::{Handle, compile};
    use std::path::Path;

    #[test]
    fn a_program_chooses_the_host() {
        let object =
            compile("a.kf", "filter a on process { where pid > 0 emit pid }").expect("valid");
        let load = |host| Handle::load(&object, None, &[], host);
        assert!(load(2).is_ok());
        if Path::new("/dev/kfilter").exists() {
            assert!(load(3).is_ok());
        } else {
            let failure = load(3).err().expect("there is no module");
            assert_eq!(failure.status, 3);
            assert!(failure.message.contains("the kernel module is not loaded"), "{failure:?}");
        }
        let failure = load(4).err().expect("there are no more");
        assert_eq!((failure.status, &*failure.message), (2, "there is no host 4"));
    }
}
