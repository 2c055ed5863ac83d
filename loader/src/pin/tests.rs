use super::*;
use crate::elf::Object;
use crate::error::ErrorClass;
use crate::params::SystemValues;
use crate::sys::Kernel;
use crate::sys::fake::Fake;

const SWEEP: &[u8] = include_bytes!("../../tests/objects/sweep.o");

/// A directory that is removed when it is dropped.
struct Root(PathBuf);

impl Root {
    fn new(parent: &str, test: &str) -> Self {
        Self(Path::new(parent).join(format!("kfilter_pin_{test}_{}", std::process::id())))
    }

    fn temporary(test: &str) -> Self {
        Self::new(std::env::temp_dir().to_str().unwrap(), test)
    }

    /// Everything below it.
    fn files(&self) -> Vec<String> {
        let names = |path: &Path| -> Vec<String> {
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            let mut names: Vec<String> =
                entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        let of = |name: String| {
            names(&self.0.join(&name)).into_iter().map(move |file| format!("{name}/{file}"))
        };
        names(&self.0).into_iter().flat_map(of).collect()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        for file in self.files() {
            let _ = std::fs::remove_file(self.0.join(file));
        }
        for entry in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let _ = std::fs::remove_dir(entry.path());
        }
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn load(sys: Rc<dyn Sys>, root: &Root, options: &PinOptions) -> (Pins, Result<Pinned, LoadError>) {
    let object = Object::parse(SWEEP).unwrap();
    let request = Request::new(&object, "hog", &options.params, SystemValues::default()).unwrap();
    let pins = Pins::new(sys, &root.0);
    let result = pins.load(&request, options);
    (pins, result)
}

fn replacing(name: &str) -> PinOptions {
    PinOptions { replace: true, ..PinOptions::new(name) }
}

#[test]
fn a_load_that_fails_at_any_pin_leaves_nothing() {
    if !Fake::new().has_btf() {
        return println!("SKIPPED: this kernel has no BTF");
    }
    for file in ["meta", "sweep", "records", "bss", "rodata", "state", "read", "text"] {
        let root = Root::temporary(&format!("half_{file}"));
        let fake = Rc::new(Fake::new().failing("BPF_OBJ_PIN", file, libc::ENOSPC));
        let (pins, result) = load(fake.clone(), &root, &PinOptions::new("hog"));
        let error = result.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Host, "{error}");
        assert_eq!(root.files(), Vec::<String>::new(), "{file}");
        assert_eq!(pins.list().unwrap(), Vec::<String>::new());
        assert_eq!(fake.open(), 0);
    }
}

#[test]
fn a_failed_replacement_leaves_the_old_filter() {
    if !Fake::new().has_btf() {
        return println!("SKIPPED: this kernel has no BTF");
    }
    let root = Root::temporary("replace");
    let (pins, first) = load(Rc::new(Fake::new()), &root, &PinOptions::new("hog"));
    assert_eq!(first.unwrap(), Pinned { replaced: false, history_kept: false, readable: true });
    let before = root.files();
    let (_, again) = load(Rc::new(Fake::new()), &root, &PinOptions::new("hog"));
    assert_eq!(again.unwrap_err(), LoadError::AlreadyLoaded { name: "hog".into() });
    for call in ["BPF_PROG_LOAD", "BPF_OBJ_PIN", "exchange", "BPF_LINK_CREATE"] {
        let fake = Rc::new(Fake::new().failing(call, "", libc::EPERM));
        assert!(load(fake, &root, &replacing("hog")).1.is_err(), "{call}");
        assert_eq!(root.files(), before, "{call}");
    }
    // Before Linux 5.16 no bpffs exchanges names: what this does then is the same.
    let older = Fake::new().failing("exchange", "", libc::EINVAL);
    for fake in [Fake::new(), older] {
        let replaced = load(Rc::new(fake), &root, &replacing("hog")).1.unwrap();
        assert!(replaced.replaced);
        assert_eq!(root.files(), before);
    }
    pins.unload("hog").unwrap();
    assert!(!root.0.exists());
    assert_eq!(pins.unload("hog").unwrap_err(), LoadError::NotLoaded { name: "hog".into() });
}

#[test]
fn what_a_killed_loader_left_is_removed_by_the_next() {
    if !Fake::new().has_btf() {
        return println!("SKIPPED: this kernel has no BTF");
    }
    let root = Root::temporary("left");
    // No process has this pid: it is beyond the kernel's limit.
    let left = root.0.join("hog~4194305");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("sweep"), "").unwrap();
    let begun = root.0.join("old~");
    std::fs::create_dir_all(&begun).unwrap();
    let (pins, result) = load(Rc::new(Fake::new()), &root, &PinOptions::new("other"));
    result.unwrap();
    assert!(!left.exists() && !begun.exists());
    assert_eq!(pins.list().unwrap(), ["old", "other"], "half a replacement is none");
}

#[test]
fn names_that_a_bpffs_does_not_take_are_refused() {
    let pins = Pins::new(Rc::new(Fake::without_btf()), "/nonexistent");
    for name in ["", "a.b", "a/b", "..", "a~1", "é", &"x".repeat(65)] {
        let error = pins.unload(name).unwrap_err();
        assert!(matches!(error, LoadError::Name { .. }), "{name}: {error}");
    }
    assert_eq!(pins.list().unwrap(), Vec::<String>::new());
    assert!(matches!(pins.show("x").unwrap_err(), LoadError::Name { .. }), "no description");
}

#[test]
fn a_filter_stays_in_the_kernel_and_keeps_its_history() {
    let root = Root::new("/sys/fs/bpf", "kernel");
    let mut options = PinOptions { mode: 0o644, ..PinOptions::new("hog") };
    let (pins, result) = load(Rc::new(Kernel), &root, &options);
    match result {
        Err(error) if error.class() != ErrorClass::Input => {
            return println!("SKIPPED: {error}");
        }
        other => assert!(other.unwrap().readable),
    }
    assert_eq!(pins.list().unwrap(), ["hog"]);
    assert_eq!(pins.show("hog").unwrap().filter.name, "hog");
    let sweeps = |count: u64| {
        let (_, mut session) = pins.open("hog").unwrap();
        let sweep = session.sweep().unwrap();
        assert_eq!(sweep.stats.sweeps, count);
        assert!(sweep.stats.matched > 0);
    };
    // Each session is another one, the filter is the same.
    sweeps(1);
    sweeps(2);
    options.replace = true;
    options.params = vec![("least".into(), "1".into())];
    let (_, result) = load(Rc::new(Kernel), &root, &options);
    assert_eq!(result.unwrap(), Pinned { replaced: true, history_kept: true, readable: true });
    assert_eq!(pins.show("hog").unwrap().params, options.params);
    sweeps(1);
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&pins.read_path("hog")), 0o644);
    assert_eq!(mode(&root.0.join("hog/sweep")), 0o600);
    assert_eq!(mode(&root.0.join("hog")), 0o711);
    assert_eq!(std::fs::read(pins.read_path("hog")).unwrap(), b"");
    pins.unload("hog").unwrap();
    assert!(!root.0.exists());
}
