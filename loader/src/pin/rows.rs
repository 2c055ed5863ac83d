//! Loaded filters where no program walks by itself: the kernel does, when a session reads.
//!
//! Such a sweep is a call for each row. If it takes one reading, its file is for consumers as
//! anywhere, and the program keeps readers apart. Several readings are of one sweep only if the
//! same session makes them: then there are no files for others, and sessions take turns.

use super::directory::{Aside, Directory};
use super::reader::load_lines;
use super::{PinMeta, PinOptions, Pinned, Pins, check_name, directory, meta, reuse_of};
use crate::error::LoadError;
use crate::host::Request;
use crate::host::bpf::{WALKS, link_rows, load_programs};
use kernel_vm::object::{FilterMeta, ReaderMeta};
use std::os::fd::{AsFd as _, OwnedFd};

/// What a filter has for consumers that read a file, and the program that it takes.
pub(super) fn reader(filter: &FilterMeta) -> Option<(&ReaderMeta, &str)> {
    let reader = filter.bpf.reader.as_ref()?;
    Some((reader, reader.classic.as_deref()?))
}

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
        let reader = reader(filter);
        let names: Vec<&str> = match reader {
            Some((_, program)) => vec![program],
            None => filter.bpf.classic.iter().map(|pass| pass.program.as_str()).collect(),
        };
        let reuse = reuse_of(filter, history.as_ref());
        let loaded = load_programs(&*self.sys, &self.types, request, &names, reuse)?;
        let lines = reader
            .map(|(reader, program)| {
                load_lines(&*self.sys, &self.types, request, reader, program, &loaded)
            })
            .transpose()?;
        let description = PinMeta::new(request, options, code, true).store(&*self.sys)?;
        let making = directory.begin(&options.name)?;
        self.pin_all(making.path(), filter, &loaded, &description)?;
        if let (Some(lines), Some(records)) = (&lines, loaded.programs.first()) {
            let programs = [records.as_fd(), lines.as_fd()];
            self.pin_readers(making.path(), programs, 0, options)?;
        } else {
            for (pass, link) in link_rows(&*self.sys, filter, &loaded)?.iter().enumerate() {
                self.pin(making.path(), &file_of(pass), link.as_fd())?;
            }
        }
        directory::open_up(making.path(), options, lines.is_some())?;
        let before = self.get(&options.name, super::file::STOP).ok();
        let old = making.finish(&*self.sys, options.replace)?;
        let replaced = old.is_some();
        if let Some(stop) = before {
            self.stop(&options.name, &stop);
        }
        let _ = old.map(Aside::remove);
        Ok(Pinned { replaced, history_kept: history.is_some(), readable: lines.is_some() })
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
