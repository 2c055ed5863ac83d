//! The running kernel's types, scanned once for the loads of a host.
//!
//! The scan is the longest part of a load that needs nothing of the object but names. Who knows
//! them before there is an object has it made [ahead](Types::ahead), on another processor.
//!
//! **Invariant**: a scan answers only for names that it looked for; for others there is
//! another one.

use crate::btf::kernel::{KernelBtf, Wanted};
use crate::error::LoadError;
use crate::sys::{FileBytes, Kernel, Sys};
use std::cell::RefCell;
use std::rc::Rc;
use std::thread::{Builder, JoinHandle};

/// The running kernel's types.
#[derive(Debug, Default)]
pub struct Types(RefCell<Scan>);

#[derive(Debug, Default)]
enum Scan {
    /// There was none.
    #[default]
    None,
    /// It is being made.
    Ahead(JoinHandle<Option<KernelBtf<FileBytes>>>),
    Done(Rc<KernelBtf<FileBytes>>),
}

impl Types {
    /// The types of the running kernel, of which those called `names` are looked for in another
    /// thread from now on. What comes of it, an error too, is found by the first load.
    #[must_use]
    pub fn ahead<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut wanted = Wanted::default();
        names.for_each(|name| wanted.add(name));
        let scan = || KernelBtf::scan(Kernel.kernel_btf().ok()?, wanted).ok();
        // Where there can be no thread the load makes the scan.
        let thread = Builder::new().name("kernel types".to_owned()).spawn(scan);
        Self(RefCell::new(thread.map_or(Scan::None, Scan::Ahead)))
    }

    /// The types with everything called as in `wanted`.
    ///
    /// # Errors
    /// [`LoadError::Missing`] when the kernel has no types, or they are no BTF.
    pub(crate) fn with(
        &self,
        sys: &dyn Sys,
        mut wanted: Wanted,
    ) -> Result<Rc<KernelBtf<FileBytes>>, LoadError> {
        let known = match self.0.take() {
            Scan::None => None,
            // What went wrong there goes wrong here again, and is told.
            Scan::Ahead(thread) => thread.join().ok().flatten().map(Rc::new),
            Scan::Done(kernel) => Some(kernel),
        };
        let kernel = match known {
            Some(kernel) if kernel.looked_for(&wanted) => kernel,
            known => {
                known.iter().for_each(|kernel| wanted.add_all(kernel.wanted()));
                Rc::new(scan(sys, wanted)?)
            }
        };
        self.0.replace(Scan::Done(Rc::clone(&kernel)));
        Ok(kernel)
    }
}

fn scan(sys: &dyn Sys, wanted: Wanted) -> Result<KernelBtf<FileBytes>, LoadError> {
    let missing = |why: String| LoadError::Missing {
        what: "the kernel's BTF".to_owned(),
        why,
        way_out: "use a kernel with CONFIG_DEBUG_INFO_BTF=y, or `--host vm`".to_owned(),
    };
    let bytes = sys.kernel_btf().map_err(|error| missing(error.to_string()))?;
    KernelBtf::scan(bytes, wanted).map_err(|error| missing(error.to_string()))
}
