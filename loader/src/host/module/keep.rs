//! Filters that the module keeps by name.
//!
//! The module knows a filter's program and what it remembers. What the filter is, and what user
//! space does with its groups, goes with it as a description, which only this file reads.
//!
//! **Invariant**: a description is checked like an object's metadata, and the program in it is
//! verified again: another version, or somebody else with the privilege, may have written it.

use super::super::vm::{GroupedFilter, finish_code};
use super::{ModuleHost, ModuleSession, is_absent, opening, speaking};
use crate::error::LoadError;
use crate::host::{HostKind, Request, Session};
use crate::keep::Keeper;
use crate::pin::{PinMeta, PinOptions, Pinned, check_name, code_digest, unreadable};
use crate::sys::{ModuleFile, SyscallError};
use kernel_vm::abi::{ResidentStats, SweepStats};
use kernel_vm::module::{DESCRIPTION_BYTES_MAX, KEPT_MAX};
use serde::{Deserialize, Serialize};

/// What the module keeps beside a filter.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    #[serde(flatten)]
    meta: PinMeta,
    /// The code that makes rows of its groups, and the parameters that it reads.
    finish: Vec<u8>,
    block: Vec<u8>,
}

impl Keeper for ModuleHost {
    fn kind(&self) -> HostKind {
        HostKind::Module
    }

    fn keep(&self, request: &Request<'_>, options: &PinOptions) -> Result<Pinned, LoadError> {
        check_name(&options.name)?;
        if options.every.is_some() {
            return Err(LoadError::Missing {
                what: "what lets a filter sweep by itself".to_owned(),
                why: "the kernel module sweeps when it is told to".to_owned(),
                way_out: "load it without `--every` and sweep with `kfilter read`, or load it \
                          with --host bpf"
                    .to_owned(),
            });
        }
        let code = code_digest(request.object, request.filter);
        let finish = finish_code(request);
        let description = Description {
            meta: PinMeta::new(request, options, code, false),
            finish: finish.unwrap_or_default().to_vec(),
            block: finish.map(|_| request.block().to_vec()).unwrap_or_default(),
        };
        let description = serde_json::to_vec(&description).unwrap_or_default();
        if description.len() > DESCRIPTION_BYTES_MAX as usize {
            let reason = format!("its description has {} bytes", description.len());
            return Err(LoadError::Module { filter: request.filter.name.clone(), reason });
        }
        let session = self.load_session(request)?;
        let kept = session.file.keep(&options.name, &description, options.replace);
        let kept = kept.map_err(|error| not_kept(&options.name, error))?;
        let (replaced, history_kept) = (kept.replaced, kept.history);
        Ok(Pinned { replaced, history_kept, readable: false })
    }

    fn names(&self) -> Result<Vec<String>, LoadError> {
        let file = match (self.open)() {
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            file => speaking(file.map_err(opening)?)?,
        };
        let doing = LoadError::syscall("listing what the kernel module keeps");
        let mut names = file.names().map_err(doing)?;
        names.sort();
        Ok(names)
    }

    fn show(&self, name: &str) -> Result<PinMeta, LoadError> {
        Ok(self.attached(name)?.1.meta)
    }

    fn counters(
        &self,
        name: &str,
        _: &PinMeta,
    ) -> Result<(SweepStats, Option<ResidentStats>), LoadError> {
        let (file, _) = self.attached(name)?;
        let doing = LoadError::syscall(format!("reading the counters of filter `{name}`"));
        Ok((file.stats().map_err(doing)?, None))
    }

    fn open(&self, name: &str) -> Result<(PinMeta, Box<dyn Session>), LoadError> {
        let (file, Description { meta, finish, block }) = self.attached(name)?;
        let foreign = |reason| LoadError::Name { name: name.to_owned(), reason };
        let groups = GroupedFilter::new(&meta.filter, &finish, &block).map_err(foreign)?;
        let session = ModuleSession::new(&meta.filter, file, groups);
        Ok((meta, Box::new(session)))
    }

    fn unload(&self, name: &str) -> Result<(), LoadError> {
        check_name(name)?;
        let file = self.present(name)?;
        file.remove(name).map_err(|error| of_kept("unloading", name, error))
    }
}

impl ModuleHost {
    /// A file of the kept filter, and what it is.
    fn attached(&self, name: &str) -> Result<(Box<dyn ModuleFile>, Description), LoadError> {
        check_name(name)?;
        let file = self.present(name)?;
        file.attach(name).map_err(|error| of_kept("opening", name, error))?;
        let bytes = file.description().map_err(|error| of_kept("reading", name, error))?;
        let description: Description =
            serde_json::from_slice(&bytes).map_err(|error| unreadable(name, &error))?;
        description.meta.check(name)?;
        Ok((file, description))
    }

    /// A file of the module; where there is no module nothing is loaded.
    fn present(&self, name: &str) -> Result<Box<dyn ModuleFile>, LoadError> {
        match (self.open)() {
            Err(error) if is_absent(&error) => Err(LoadError::NotLoaded { name: name.to_owned() }),
            file => speaking(file.map_err(opening)?),
        }
    }
}

fn of_kept(doing: &str, name: &str, error: SyscallError) -> LoadError {
    match error.errno.0 {
        libc::ENOENT => LoadError::NotLoaded { name: name.to_owned() },
        _ => LoadError::syscall(format!("{doing} filter `{name}` of the kernel module"))(error),
    }
}

fn not_kept(name: &str, error: SyscallError) -> LoadError {
    match error.errno.0 {
        libc::EEXIST => LoadError::AlreadyLoaded { name: name.to_owned() },
        libc::ENOSPC => LoadError::Missing {
            what: "room for one more filter".to_owned(),
            why: format!("the kernel module keeps {KEPT_MAX} at most"),
            way_out: "unload one: `kfilter list` names them".to_owned(),
        },
        _ => LoadError::syscall(format!("keeping filter `{name}` in the kernel module"))(error),
    }
}
