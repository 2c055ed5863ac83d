//! Loaded filters where no program walks by itself: the kernel does, when a session reads.
//!
//! Such a sweep is several calls with its rows in between, and whoever reads at the same time
//! would be in its way: so there are no files for others, and sessions take turns.

use super::directory::{Aside, Directory};
use super::{PinMeta, PinOptions, Pinned, Pins, check_name, directory, meta, reuse_of};
use crate::error::LoadError;
use crate::host::Request;
use crate::host::bpf::{WALKS, link_rows, load_programs};
use kernel_vm::object::FilterMeta;
use std::os::fd::{AsFd as _, OwnedFd};

fn file_of(pass: usize) -> String {
    format!("pass{pass}")
}

impl Pins {
    /// As [`Pins::load`], with the programs for older kernels, whatever this kernel takes.
    ///
    /// # Errors
    /// As [`Pins::load`].
    pub fn load_classic(
        &self,
        request: &Request<'_>,
        options: &PinOptions,
    ) -> Result<Pinned, LoadError> {
        check_name(&options.name)?;
        let filter = request.filter;
        if filter.bpf.classic.is_empty() {
            let (why, way_out) = WALKS;
            return Err(LoadError::Missing {
                what: "a program for older kernels".to_owned(),
                why: why.to_owned(),
                way_out: way_out.to_owned(),
            });
        }
        let directory = Directory::new(&self.root);
        let exists = directory.has(&options.name);
        if exists && !options.replace {
            return Err(LoadError::AlreadyLoaded { name: options.name.clone() });
        }
        let code = meta::code_digest(request.object, filter);
        let history = if exists { self.history(&options.name, code) } else { None };
        let names: Vec<&str> = filter.bpf.classic.iter().map(|p| p.program.as_str()).collect();
        let reuse = reuse_of(filter, history.as_ref());
        let loaded = load_programs(&*self.sys, &self.types, request, &names, reuse)?;
        let links = link_rows(&*self.sys, filter, &loaded)?;
        let description = PinMeta::new(request, options, code, true).store(&*self.sys)?;
        let making = directory.begin(&options.name)?;
        self.pin_all(making.path(), filter, &loaded, &description)?;
        for (pass, link) in links.iter().enumerate() {
            self.pin(making.path(), &file_of(pass), link.as_fd())?;
        }
        directory::open_up(making.path(), options, false)?;
        let before = self.get(&options.name, super::file::STOP).ok();
        let old = making.finish(&*self.sys, options.replace)?;
        let replaced = old.is_some();
        if let Some(stop) = before {
            self.stop(&options.name, &stop);
        }
        let _ = old.map(Aside::remove);
        Ok(Pinned { replaced, history_kept: history.is_some(), readable: false })
    }

    /// The links of a filter's passes.
    pub(super) fn passes(
        &self,
        name: &str,
        filter: &FilterMeta,
    ) -> Result<Vec<OwnedFd>, LoadError> {
        (0..filter.bpf.classic.len()).map(|pass| self.get(name, &file_of(pass))).collect()
    }
}
