//! The `module` host against a module that the tests play: what is written, what comes of
//! refusals. The real one is tested in guests by `tests/kernels/run`.

use kernel_vm::abi::SweepStats;
use kernel_vm::module::{HEADER_BYTES, MAGIC, VERSION, Wait};
use kernel_vm::schema::SCHEMA_VERSION;
use kfilter_loader::host::module::{ModuleHost, ModuleSession};
use kfilter_loader::keep::Keepers;
use kfilter_loader::params::SystemValues;
use kfilter_loader::pin::{PinOptions, Pinned, Pins};
use kfilter_loader::sys::{Errno, Kept, Kernel, ModuleFile, SyscallError};
use kfilter_loader::{ErrorClass, HostKind, LoadError, Object, Request, Session};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

const FILTER: &str = "filter big on process {
    param max = 1MiB
    where rss > max and cpu_time > 1s
    emit pid, comm, rss
}";

/// Names and descriptions that the played module keeps.
type KeptFilters = Rc<RefCell<Vec<(String, Vec<u8>)>>>;

/// A module that takes what is written, or not.
#[derive(Default)]
struct Played {
    versions: Option<(u32, u32)>,
    refusal: Option<(u32, u32)>,
    records: Vec<u8>,
    written: Rc<RefCell<Vec<u8>>>,
    kept: KeptFilters,
    attached: RefCell<Option<Vec<u8>>>,
    waits: Rc<RefCell<Vec<Vec<Wait>>>>,
}

fn failing<T>(errno: i32) -> Result<T, SyscallError> {
    Err(SyscallError::new("ioctl", Errno(errno)))
}

impl ModuleFile for Played {
    fn versions(&self) -> Result<(u32, u32), SyscallError> {
        Ok(self.versions.unwrap_or((VERSION, SCHEMA_VERSION)))
    }
    fn load(&self, image: &[u8]) -> Result<(), SyscallError> {
        self.written.replace(image.to_vec());
        match self.refusal {
            Some(_) => Err(SyscallError::new("write", Errno(libc::EINVAL))),
            None => Ok(()),
        }
    }
    fn why(&self) -> Result<(u32, u32), SyscallError> {
        Ok(self.refusal.unwrap_or_default())
    }
    fn set_params(&self, _: &[u8]) -> Result<(), SyscallError> {
        Ok(())
    }
    fn set_waits(&self, waits: &[Wait]) -> Result<(), SyscallError> {
        self.waits.borrow_mut().push(waits.to_vec());
        Ok(())
    }
    fn sweep(&self, into: &mut Vec<u8>) -> Result<(), SyscallError> {
        into.extend_from_slice(&self.records);
        Ok(())
    }
    fn stats(&self) -> Result<SweepStats, SyscallError> {
        Ok(SweepStats { visited: 5, matched: 2, ..SweepStats::default() })
    }
    fn keep(&self, name: &str, description: &[u8], replace: bool) -> Result<Kept, SyscallError> {
        let mut kept = self.kept.borrow_mut();
        let before = kept.len();
        kept.retain(|(known, _)| known != name);
        let replaced = kept.len() < before;
        kept.push((name.to_owned(), description.to_vec()));
        if replaced && !replace {
            failing(libc::EEXIST)
        } else {
            Ok(Kept { replaced, history: false })
        }
    }
    fn attach(&self, name: &str) -> Result<(), SyscallError> {
        let kept = self.kept.borrow();
        let found = kept.iter().find(|(known, _)| known == name);
        self.attached.replace(found.map(|(_, description)| description.clone()));
        if found.is_some() { Ok(()) } else { failing(libc::ENOENT) }
    }
    fn description(&self) -> Result<Vec<u8>, SyscallError> {
        self.attached.borrow().clone().map_or_else(|| failing(libc::ENODATA), Ok)
    }
    fn names(&self) -> Result<Vec<String>, SyscallError> {
        Ok(self.kept.borrow().iter().map(|(name, _)| name.clone()).collect())
    }
    fn remove(&self, name: &str) -> Result<(), SyscallError> {
        self.attach(name)?;
        self.kept.borrow_mut().retain(|(known, _)| known != name);
        Ok(())
    }
}

/// What comes of loading `source`; without a device to play there is no module.
fn load(source: &str, played: Option<Played>) -> Result<ModuleSession, LoadError> {
    let compiled = kfilter_compiler::compile("test.kf", source).expect("it compiles");
    let object = Object::parse(&compiled.object)?;
    let name = &object.filters()[0].name;
    let request = Request::new(&object, name, &[], SystemValues::default())?;
    let device = RefCell::new(played);
    let open = move || match device.take() {
        Some(played) => Ok(Box::new(played) as Box<dyn ModuleFile>),
        None => Err(SyscallError::new("open", Errno(libc::ENOENT))),
    };
    ModuleHost::new(Rc::new(open)).load_session(&request)
}

fn refusal(source: &str, played: Option<Played>) -> String {
    let error = load(source, played).expect_err("it is refused");
    assert_eq!(error.class(), ErrorClass::Host, "{error}");
    error.to_string()
}

#[test]
fn what_is_written_has_the_lengths_that_its_header_says() {
    let written = Rc::new(RefCell::new(Vec::new()));
    let played = Played { written: Rc::clone(&written), ..Played::default() };
    load(FILTER, Some(played)).expect("the module takes it");
    let bytes = written.borrow();
    let word = |index: usize| {
        let bytes = bytes[4 * index..4 * index + 4].try_into().expect("four bytes");
        u32::from_le_bytes(bytes) as usize
    };
    assert_eq!((word(0), word(1)), (MAGIC as usize, VERSION as usize));
    let (columns, params, insns) = (word(4), word(7), word(9));
    assert_eq!(columns, 4, "pid, comm, rss and cpu_time");
    assert!(insns > 0);
    let expected = HEADER_BYTES + 8 * columns + params.next_multiple_of(8) + 8 * insns;
    assert_eq!(bytes.len(), expected);
}

#[test]
fn records_are_whole_ones() {
    // missing, pid, comm, rss
    let size = 8 + 8 + 16 + 8;
    let played = Played { records: vec![1; 2 * size + 3], ..Played::default() };
    let mut session = load(FILTER, Some(played)).expect("the module takes it");
    let sweep = session.sweep().expect("it sweeps");
    assert_eq!((sweep.records.len(), sweep.stats.visited, sweep.stats.matched), (2, 5, 2));
}

/// Whom threads wait for is found out before each sweep, where a column asks for it.
#[test]
fn who_waits_for_whom_is_said_before_a_sweep() {
    let said = |source: &str| {
        let waits = Rc::new(RefCell::new(Vec::new()));
        let played = Played { waits: Rc::clone(&waits), ..Played::default() };
        let mut session = load(source, Some(played)).expect("the module takes it");
        session.sweep().expect("it sweeps");
        session.sweep().expect("it sweeps again");
        waits.take()
    };
    let waits: Vec<Vec<Wait>> = said("filter f on thread { where cycle(waits_for) emit tid }");
    assert_eq!(waits.len(), 2);
    assert!(waits.iter().all(|each| each.is_sorted_by(|one, other| one.tid < other.tid)));
    assert!(said("filter f on thread { where pid > 0 emit tid }").is_empty());
}

/// The module hands out groups of one; they are merged as on the vm host.
#[test]
fn groups_of_one_become_groups() {
    let source =
        "filter users on process { group by uid having count() >= 1 emit uid, count() as n }";
    let written = Rc::new(RefCell::new(Vec::new()));
    let played = Played { written: Rc::clone(&written), ..Played::default() };
    let mut session = load(source, Some(played)).expect("the module takes it");
    let group_size = u32::from_le_bytes(written.borrow()[32..36].try_into().expect("a word"));
    // Time, missing, the key (uid 7), the cell (1).
    let one: Vec<u8> = [0, 0, 7, 1].iter().flat_map(|word: &u64| word.to_le_bytes()).collect();
    assert_eq!(group_size as usize, one.len(), "the layout that this test writes");
    let played = Played { records: [&one[..]; 3].concat(), ..Played::default() };
    drop(session);
    session = load(source, Some(played)).expect("the module takes it");
    let sweep = session.sweep().expect("it sweeps");
    assert_eq!((sweep.records.len(), sweep.stats.matched, sweep.stats.visited), (1, 1, 5));
    let record: Vec<u64> = sweep
        .records
        .iter()
        .next()
        .expect("one")
        .as_chunks::<8>()
        .0
        .iter()
        .map(|word| u64::from_le_bytes(*word))
        .collect();
    assert_eq!(record, [0, 7, 3]);
}

/// The hosts that keep filters: one played module, whose every file knows what is kept.
fn keepers(records: &[u8]) -> (Keepers, KeptFilters) {
    let kept = Rc::new(RefCell::new(Vec::new()));
    let (known, records) = (Rc::clone(&kept), records.to_vec());
    let open = move || {
        let (kept, records) = (Rc::clone(&known), records.clone());
        Ok(Box::new(Played { kept, records, ..Played::default() }) as Box<dyn ModuleFile>)
    };
    let module = ModuleHost::new(Rc::new(open));
    let pins = Pins::new(Rc::new(Kernel), std::env::temp_dir().join("kfilter_none_is_here"));
    (Keepers::new(vec![Box::new(pins), Box::new(module)]), kept)
}

fn keep(keepers: &Keepers, source: &str, options: &PinOptions) -> Result<Pinned, LoadError> {
    let compiled = kfilter_compiler::compile("test.kf", source).expect("it compiles");
    let object = Object::parse(&compiled.object)?;
    let name = &object.filters()[0].name;
    let request = Request::new(&object, name, &[], SystemValues::default())?;
    let (host, pinned) = keepers.keep(Some(HostKind::Module), &request, options)?;
    assert_eq!(host, HostKind::Module);
    Ok(pinned)
}

/// What was kept by one process is swept by another, which has not seen the object.
#[test]
fn a_kept_filter_is_known_by_its_name() {
    let one: Vec<u8> = [0, 0, 7, 1].iter().flat_map(|word: &u64| word.to_le_bytes()).collect();
    let source =
        "filter users on process { group by uid having count() >= 1 emit uid, count() as n }";
    let (keepers, _) = keepers(&[&one[..]; 3].concat());
    let options = PinOptions::new("by_user");
    let pinned = keep(&keepers, source, &options).expect("it is kept");
    assert_eq!(pinned, Pinned { replaced: false, history_kept: false, readable: false });
    let names: Vec<_> = keepers.names().0.into_iter().map(|one| (one.name, one.host)).collect();
    assert_eq!(names, [("by_user".to_owned(), HostKind::Module)]);
    let (host, meta) = keepers.show("by_user").expect("it is shown");
    assert_eq!(
        (host, meta.filter.name.as_str(), &*meta.source),
        (HostKind::Module, "users", "test.kf")
    );
    assert_eq!(keepers.counters("by_user", &meta).expect("counters").0.visited, 5);
    let (_, _, mut session) = keepers.open("by_user").expect("it is opened");
    let sweep = session.sweep().expect("it sweeps");
    assert_eq!((sweep.records.len(), sweep.stats.matched), (1, 1), "its groups are merged");

    let again = keep(&keepers, source, &options).expect_err("the name is taken");
    assert!(matches!(again, LoadError::AlreadyLoaded { .. }), "{again}");
    let options = PinOptions { replace: true, ..options };
    assert!(keep(&keepers, FILTER, &options).expect("it is replaced").replaced);
    assert_eq!(keepers.show("by_user").expect("it is shown").1.filter.name, "big");
    keepers.unload("by_user").expect("it goes");
    assert_eq!(keepers.names().0, []);
    let gone = keepers.unload("by_user").expect_err("it is gone");
    assert!(matches!(gone, LoadError::NotLoaded { .. }), "{gone}");
}

#[test]
fn what_the_module_cannot_keep_is_named() {
    let (keepers, kept) = keepers(&[]);
    let every = PinOptions { every: Some(Duration::from_secs(1)), ..PinOptions::new("big") };
    let error = keep(&keepers, FILTER, &every).expect_err("the module has no timer");
    assert_eq!(
        error.to_string(),
        "what lets a filter sweep by itself is missing: the kernel module sweeps when it is told \
         to; load it without `--every` and sweep with `kfilter read`, or load it with --host bpf"
    );
    assert!(keep(&keepers, FILTER, &PinOptions::new("a/b")).is_err());
    assert!(kept.borrow().is_empty(), "nothing stays behind");
    // Another version, or nobody of ours, has written it.
    kept.borrow_mut().push(("strange".to_owned(), b"{\"format\":1}".to_vec()));
    let strange = keepers.open("strange").err().expect("it cannot be read").to_string();
    assert!(strange.starts_with("filter `strange`: its description cannot be read: "), "{strange}");
}

#[test]
fn refusals_have_names() {
    let played = |versions, refusal| Some(Played { versions, refusal, ..Played::default() });
    assert_eq!(
        refusal(FILTER, None),
        "/dev/kfilter is missing: the kernel module is not loaded; insmod kfilter.ko"
    );
    assert_eq!(
        refusal(FILTER, played(Some((9, 1)), None)),
        "a kfilter module of interface 2, schema 1 is missing: the one here has interface 9, \
         schema 1; build kfilter.ko of this version"
    );
    assert_eq!(
        refusal(FILTER, played(None, Some((25, 1004)))),
        "the module host cannot run filter `big`: the module has no such column (25)"
    );
    assert_eq!(
        refusal(FILTER, played(None, Some((7, 19)))),
        "the module host cannot run filter `big`: its verifier refuses insn 7 (reason 19)"
    );
}

/// Before anything is written, by name and with the way out.
#[test]
fn what_the_module_lacks_is_named() {
    let played = || Some(Played { refusal: Some((0, 0)), ..Played::default() });
    assert_eq!(
        refusal("filter f on mapping { where resident > 1GiB emit pid }", played()),
        "column `resident` of `mapping` is missing: the kernel module does not have it; run \
         the filter with --host bpf or --host vm"
    );
}
