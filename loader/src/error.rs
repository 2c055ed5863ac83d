//! Why a filter cannot be loaded or run.
//!
//! **Invariant**: every error says what was refused, by whom and, where the kernel gave one,
//! with which errno.

use crate::core_reloc::RelocError;
use crate::elf::ObjectError;
use crate::kernel_log::Rejection;
use crate::params::ParamError;
use crate::sys::SyscallError;

/// Why a filter cannot be loaded or run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The object file is broken, foreign or of another version.
    #[error("not a usable object: {0}")]
    Object(#[from] ObjectError),
    /// The object has no filter of this name.
    #[error("the object has no filter `{name}`; it has {}", list(.known))]
    NoSuchFilter {
        /// The name asked for.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// A parameter that the filter does not take.
    #[error(transparent)]
    Param(#[from] ParamError),
    /// The kernel's types do not have what a program needs.
    #[error(transparent)]
    Relocation(#[from] RelocError),
    /// The verifier refused a program.
    #[error(transparent)]
    Rejected(Box<Rejection>),
    /// A system call failed.
    #[error("{doing}: {source}")]
    Syscall {
        /// What was being done, in the user's words.
        doing: String,
        /// The call.
        source: SyscallError,
    },
    /// The host lacks something that the filter needs.
    #[error("{what} is missing: {why}; {way_out}")]
    Missing {
        /// What is missing.
        what: String,
        /// How that showed.
        why: String,
        /// What can be done.
        way_out: String,
    },
    /// A privilege is missing that the kernel itself does not ask for.
    #[error("{doing} takes {capability}, which kfilter does not have")]
    Lacks {
        /// The capability.
        capability: &'static str,
        /// What was being done, in the user's words.
        doing: String,
    },
    /// Another sweep of the same loaded filter was running all the time.
    #[error("filter `{filter}` is being swept by someone else")]
    Busy {
        /// The filter.
        filter: String,
    },
    /// A filter of this name is loaded.
    #[error("filter `{name}` is loaded already; unload or replace it")]
    AlreadyLoaded {
        /// Its name.
        name: String,
    },
    /// No filter of this name is loaded.
    #[error("no filter `{name}` is loaded")]
    NotLoaded {
        /// The name.
        name: String,
    },
    /// A name that no loaded filter can have, or a filter that cannot be understood.
    #[error("filter `{name}`: {reason}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The `vm` host cannot run the filter.
    #[error("the vm host cannot run filter `{filter}`: {reason}")]
    Vm {
        /// The filter.
        filter: String,
        /// Why not.
        reason: String,
    },
    /// The kernel module cannot run the filter.
    #[error("the module host cannot run filter `{filter}`: {reason}")]
    Module {
        /// The filter.
        filter: String,
        /// Why not.
        reason: String,
    },
}

/// Who can do something about an error: the exit codes of the command line follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Who wrote the filter, the object or the parameters.
    Input,
    /// Who runs the machine: the kernel, its limits or its configuration.
    Host,
    /// Who may grant privilege.
    Privilege,
}

impl LoadError {
    /// Who can do something about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Object(_)
            | Self::NoSuchFilter { .. }
            | Self::Param(_)
            | Self::AlreadyLoaded { .. }
            | Self::NotLoaded { .. }
            | Self::Name { .. } => ErrorClass::Input,
            Self::Lacks { .. } => ErrorClass::Privilege,
            Self::Syscall { source, .. } if source.errno.is_privilege() => ErrorClass::Privilege,
            Self::Rejected(rejection)
                if rejection.lacks.is_some() || rejection.errno.0 == libc::EPERM =>
            {
                ErrorClass::Privilege
            }
            Self::Relocation(_)
            | Self::Rejected(_)
            | Self::Syscall { .. }
            | Self::Missing { .. }
            | Self::Busy { .. }
            | Self::Vm { .. }
            | Self::Module { .. } => ErrorClass::Host,
        }
    }

    pub(crate) fn syscall(doing: impl Into<String>) -> impl FnOnce(SyscallError) -> Self {
        let doing = doing.into();
        move |source| Self::Syscall { doing, source }
    }
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}
