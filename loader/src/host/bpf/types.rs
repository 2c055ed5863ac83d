//! The running kernel's types, scanned once for the loads of a host.
//!
//! **Invariant**: a scan answers only for names that it looked for; for others there is
//! another one.

use crate::btf::kernel::{KernelBtf, Wanted};
use crate::error::LoadError;
use crate::sys::{FileBytes, Sys};
use std::cell::RefCell;
use std::rc::Rc;

/// The running kernel's types.
#[derive(Debug, Default)]
pub struct Types(RefCell<Option<Rc<KernelBtf<FileBytes>>>>);

impl Types {
    /// The types with everything called as in `wanted`.
    ///
    /// # Errors
    /// [`LoadError::Missing`] when the kernel has no types, or they are no BTF.
    pub(crate) fn with(
        &self,
        sys: &dyn Sys,
        mut wanted: Wanted,
    ) -> Result<Rc<KernelBtf<FileBytes>>, LoadError> {
        if let Some(kernel) = &*self.0.borrow() {
            if kernel.looked_for(&wanted) {
                return Ok(Rc::clone(kernel));
            }
            wanted.add_all(kernel.wanted());
        }
        let missing = |why: String| LoadError::Missing {
            what: "the kernel's BTF".to_owned(),
            why,
            way_out: "use a kernel with CONFIG_DEBUG_INFO_BTF=y, or `--host vm`".to_owned(),
        };
        let bytes = sys.kernel_btf().map_err(|error| missing(error.to_string()))?;
        let kernel = KernelBtf::scan(bytes, wanted).map_err(|error| missing(error.to_string()))?;
        let kernel = Rc::new(kernel);
        self.0.replace(Some(Rc::clone(&kernel)));
        Ok(kernel)
    }
}
