//! What can be wrong with an object file.

use crate::btf::BtfErrorKind;

/// What is wrong with an object file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("section `{section}`, byte {offset:#x}: {kind}")]
pub struct ObjectError {
    /// The section, or `ELF header` and the like.
    pub section: String,
    /// Bytes from its start.
    pub offset: u64,
    /// What is wrong there.
    pub kind: ObjectErrorKind,
}

/// What can be wrong with an object file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectErrorKind {
    /// No ELF file, or a broken one.
    #[error("{reason}")]
    Elf {
        /// What the ELF reader says.
        reason: String,
    },
    /// An ELF file for something else.
    #[error("not a BPF object in little endian: {found}")]
    NotBpf {
        /// What it is.
        found: String,
    },
    /// Something lies outside of what holds it.
    #[error("{what} lies outside of its section")]
    OutOfBounds {
        /// What.
        what: String,
    },
    /// A limit is passed.
    #[error("{count} {what}, more than the limit of {limit}")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many.
        count: u64,
        /// How many are allowed.
        limit: u64,
    },
    /// Something that must be there is not.
    #[error("no {what}")]
    Missing {
        /// What.
        what: String,
    },
    /// Something that this loader cannot do.
    #[error("{what} is not supported")]
    Unsupported {
        /// What.
        what: String,
    },
    /// A definition that contradicts itself or another one.
    #[error("{what}")]
    Malformed {
        /// What.
        what: String,
    },
    /// Broken BTF.
    #[error(transparent)]
    Btf(BtfErrorKind),
}

impl ObjectError {
    pub(super) fn new(section: impl Into<String>, offset: u64, kind: ObjectErrorKind) -> Self {
        Self { section: section.into(), offset, kind }
    }

    pub(super) fn malformed(section: &str, offset: u64, what: impl Into<String>) -> Self {
        Self::new(section, offset, ObjectErrorKind::Malformed { what: what.into() })
    }

    pub(super) fn outside(section: &str, offset: u64, what: impl Into<String>) -> Self {
        Self::new(section, offset, ObjectErrorKind::OutOfBounds { what: what.into() })
    }

    pub(super) fn btf(section: &str, error: crate::btf::BtfError) -> Self {
        Self::new(section, error.offset as u64, ObjectErrorKind::Btf(error.kind))
    }
}
