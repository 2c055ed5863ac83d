//! Filters that are kept in the kernel for a test, under a directory of the test's own.

use kfilter_loader::host::bpf::system_values;
use kfilter_loader::params::Given;
use kfilter_loader::pin::{FileSession, PinOptions, Pinned, Pins};
use kfilter_loader::sys::Kernel;
use kfilter_loader::{ErrorClass, LoadError, Object, Request};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::rc::Rc;

/// `nobody` and `nogroup`.
const NOBODY: u32 = 65534;

/// Filters of one source text, loaded; they are unloaded when dropped.
#[derive(Debug)]
pub struct Kept {
    /// The loaded filters.
    pub pins: Pins,
    /// What they were loaded from.
    pub object: Object,
    root: PathBuf,
}

impl Kept {
    /// Compiles `source` and loads its filters with what `options` says beside their names;
    /// `None`, and SKIPPED is said, where the kernel or the privilege for it is missing.
    ///
    /// # Panics
    /// When the source is wrong.
    #[must_use]
    pub fn load(test: &str, source: &str, options: &PinOptions) -> Option<Self> {
        Self::load_by(test, source, options, Pins::load)
    }

    /// The same by another way to load.
    ///
    /// # Panics
    /// When the source is wrong.
    #[must_use]
    pub fn load_by(
        test: &str,
        source: &str,
        options: &PinOptions,
        load: impl Fn(&Pins, &Request<'_>, &PinOptions) -> Result<Pinned, LoadError>,
    ) -> Option<Self> {
        let compiled = kfilter_compiler::compile("kept.kf", source)
            .unwrap_or_else(|wrong| panic!("{source}\n{wrong:#?}"));
        let object = Object::parse(&compiled.object).expect("our own object");
        let root = Path::new("/sys/fs/bpf").join(format!("kfilter_{test}_{}", std::process::id()));
        let kept = Self { pins: Pins::new(Rc::new(Kernel), &root), object, root };
        for filter in kept.object.filters() {
            let options = PinOptions { name: filter.name.clone(), ..options.clone() };
            let request = Request::new(&kept.object, &filter.name, &[], system_values(&Kernel));
            match request.and_then(|request| load(&kept.pins, &request, &options)) {
                Ok(_) => {}
                Err(error) if error.class() != ErrorClass::Input => {
                    crate::skipped(test, &error.to_string());
                    return None;
                }
                Err(error) => panic!("{error}"),
            }
        }
        Some(kept)
    }

    /// Loads the filter that `options` name once more.
    ///
    /// # Errors
    /// As [`Pins::load`].
    pub fn load_again(&self, options: &PinOptions) -> Result<Pinned, LoadError> {
        let system = system_values(&Kernel);
        let request = Request::new(&self.object, &options.name, &options.params, system)?;
        self.pins.load(&request, options)
    }

    /// The directory of a filter's files.
    #[must_use]
    pub fn directory(&self, filter: &str) -> PathBuf {
        self.root.join(filter)
    }

    /// A session that sweeps by reading the filter's file.
    ///
    /// # Panics
    /// When there is no such filter.
    #[must_use]
    pub fn file_session(&self, filter: &str) -> FileSession {
        let meta = self.object.filter(filter).expect("one of the object's");
        FileSession::new(self.pins.read_path(filter), meta)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        for name in self.pins.list().unwrap_or_default() {
            let _ = self.pins.unload(&name);
        }
    }
}

/// Parameters by name and value.
#[must_use]
pub fn params(given: &[(&str, &str)]) -> Vec<Given> {
    given.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Runs a program as a user without any privilege; `None`, and SKIPPED is said, where the
/// test cannot become one.
#[must_use]
pub fn as_nobody(test: &str, program: &str, args: &[&str]) -> Option<Output> {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(program);
    match command.args(args).current_dir("/").uid(NOBODY).gid(NOBODY).output() {
        Ok(output) => Some(output),
        Err(error) => {
            crate::skipped(test, &format!("cannot run {program} as another user: {error}"));
            None
        }
    }
}
