//! Filters that stay loaded with no process of ours to keep them, on whichever host does that.
//!
//! The kernel keeps what is pinned below a bpffs ([`crate::pin`]), the kernel module what was
//! given a name. A name is that of one filter, wherever it is.
//!
//! **Invariant**: keepers differ in what they can grant only: a filter that is kept is listed,
//! shown, swept and unloaded by its name, without saying by whom it is kept.

use crate::error::{ErrorClass, LoadError};
use crate::host::module::ModuleHost;
use crate::host::{HostKind, Request, Session};
use crate::pin::{PinMeta, PinOptions, Pinned, Pins};
use kernel_vm::abi::{ResidentStats, SweepStats};

/// A host that keeps filters.
pub trait Keeper {
    /// Which one it is.
    fn kind(&self) -> HostKind;

    /// Loads a filter and keeps it. When this fails, what was there before is as it was.
    ///
    /// # Errors
    /// [`LoadError`]; `AlreadyLoaded` unless it may replace.
    fn keep(&self, request: &Request<'_>, options: &PinOptions) -> Result<Pinned, LoadError>;

    /// Names of the kept filters, sorted.
    ///
    /// # Errors
    /// When the host is there and does not say.
    fn names(&self) -> Result<Vec<String>, LoadError>;

    /// What a kept filter is.
    ///
    /// # Errors
    /// [`LoadError::NotLoaded`], or when it cannot be read.
    fn show(&self, name: &str) -> Result<PinMeta, LoadError>;

    /// What its last sweep counted, and what it has counted since it was loaded if it sweeps
    /// by itself.
    ///
    /// # Errors
    /// [`LoadError::NotLoaded`], or when they cannot be read.
    fn counters(
        &self,
        name: &str,
        meta: &PinMeta,
    ) -> Result<(SweepStats, Option<ResidentStats>), LoadError>;

    /// A session that sweeps with a kept filter; dropping it leaves the filter loaded.
    ///
    /// # Errors
    /// [`LoadError::NotLoaded`], or when it cannot be opened.
    fn open(&self, name: &str) -> Result<(PinMeta, Box<dyn Session>), LoadError>;

    /// Lets a kept filter go.
    ///
    /// # Errors
    /// [`LoadError::NotLoaded`], or when it cannot be removed.
    fn unload(&self, name: &str) -> Result<(), LoadError>;
}

/// A kept filter and who keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptName {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub host: HostKind,
}

/// All hosts of a machine that keep filters.
pub struct Keepers {
    all: Vec<Box<dyn Keeper>>,
}

impl std::fmt::Debug for Keepers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.all.iter().map(|keeper| keeper.kind())).finish()
    }
}

impl Keepers {
    /// Those of the running kernel.
    #[must_use]
    pub fn running() -> Self {
        Self::new(vec![Box::new(Pins::running()), Box::new(ModuleHost::running())])
    }

    /// These, the preferred one first.
    #[must_use]
    pub fn new(all: Vec<Box<dyn Keeper>>) -> Self {
        Self { all }
    }

    /// Keeps a filter on `host`, or without one on the first that takes it; says on which.
    ///
    /// # Errors
    /// As [`Keeper::keep`]: that of the host, or of the preferred one if none takes it. When a
    /// filter of that name could not be taken away from another host, the new one is kept.
    pub fn keep(
        &self,
        host: Option<HostKind>,
        request: &Request<'_>,
        options: &PinOptions,
    ) -> Result<(HostKind, Pinned), LoadError> {
        if !options.replace && self.show(&options.name).is_ok() {
            return Err(LoadError::AlreadyLoaded { name: options.name.clone() });
        }
        let mut refused = None;
        for keeper in self.all.iter().filter(|one| host.is_none_or(|kind| kind == one.kind())) {
            match keeper.keep(request, options) {
                Ok(mut pinned) => {
                    pinned.replaced |= self.unload_elsewhere(&options.name, keeper.kind())?;
                    return Ok((keeper.kind(), pinned));
                }
                Err(error) if error.class() == ErrorClass::Input => return Err(error),
                Err(error) => _ = refused.get_or_insert(error),
            }
        }
        Err(refused.unwrap_or_else(|| LoadError::Missing {
            what: "a host that keeps filters".to_owned(),
            why: "the vm host's filters end with the process that runs them".to_owned(),
            way_out: "load it on the bpf or the module host".to_owned(),
        }))
    }

    fn unload_elsewhere(&self, name: &str, here: HostKind) -> Result<bool, LoadError> {
        let mut was_there = false;
        for keeper in self.all.iter().filter(|one| one.kind() != here) {
            if keeper.show(name).is_ok() {
                keeper.unload(name)?;
                was_there = true;
            }
        }
        Ok(was_there)
    }

    /// The kept filters, by name, and why the first host that is there and does not say what
    /// it keeps does not.
    #[must_use]
    pub fn names(&self) -> (Vec<KeptName>, Option<LoadError>) {
        let mut all = Vec::new();
        let mut failed = None;
        for keeper in &self.all {
            let host = keeper.kind();
            match keeper.names() {
                Ok(names) => all.extend(names.into_iter().map(|name| KeptName { name, host })),
                Err(error) => _ = failed.get_or_insert(error),
            }
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        (all, failed)
    }

    /// As [`Keeper::show`], with who keeps it.
    ///
    /// # Errors
    /// As [`Keeper::show`].
    pub fn show(&self, name: &str) -> Result<(HostKind, PinMeta), LoadError> {
        self.first(name, |keeper| Ok((keeper.kind(), keeper.show(name)?)))
    }

    /// As [`Keeper::counters`].
    ///
    /// # Errors
    /// As [`Keeper::counters`].
    pub fn counters(
        &self,
        name: &str,
        meta: &PinMeta,
    ) -> Result<(SweepStats, Option<ResidentStats>), LoadError> {
        self.first(name, |keeper| keeper.counters(name, meta))
    }

    /// As [`Keeper::open`], with who keeps it.
    ///
    /// # Errors
    /// As [`Keeper::open`].
    pub fn open(&self, name: &str) -> Result<(HostKind, PinMeta, Box<dyn Session>), LoadError> {
        self.first(name, |keeper| {
            let (meta, session) = keeper.open(name)?;
            Ok((keeper.kind(), meta, session))
        })
    }

    /// As [`Keeper::unload`].
    ///
    /// # Errors
    /// As [`Keeper::unload`].
    pub fn unload(&self, name: &str) -> Result<(), LoadError> {
        self.first(name, |keeper| keeper.unload(name))
    }

    /// The answer of the keeper that has the filter; else the first one's that could not tell.
    fn first<T>(
        &self,
        name: &str,
        ask: impl Fn(&dyn Keeper) -> Result<T, LoadError>,
    ) -> Result<T, LoadError> {
        let mut failed = None;
        for keeper in &self.all {
            match ask(&**keeper) {
                Ok(answer) => return Ok(answer),
                Err(LoadError::NotLoaded { .. }) => {}
                Err(error) => _ = failed.get_or_insert(error),
            }
        }
        Err(failed.unwrap_or_else(|| LoadError::NotLoaded { name: name.to_owned() }))
    }
}

impl Keeper for Pins {
    fn kind(&self) -> HostKind {
        HostKind::Bpf
    }

    fn keep(&self, request: &Request<'_>, options: &PinOptions) -> Result<Pinned, LoadError> {
        self.load(request, options)
    }

    fn names(&self) -> Result<Vec<String>, LoadError> {
        self.list()
    }

    fn show(&self, name: &str) -> Result<PinMeta, LoadError> {
        self.show(name)
    }

    fn counters(
        &self,
        name: &str,
        meta: &PinMeta,
    ) -> Result<(SweepStats, Option<ResidentStats>), LoadError> {
        self.counters(name, meta)
    }

    fn open(&self, name: &str) -> Result<(PinMeta, Box<dyn Session>), LoadError> {
        self.open(name)
    }

    fn unload(&self, name: &str) -> Result<(), LoadError> {
        self.unload(name)
    }
}
