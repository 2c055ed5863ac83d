//! What a loaded filter is, kept with it as JSON: in the only value of a frozen map, or with the
//! kernel module.
//!
//! **Invariant**: it says what is needed to sweep and to decode without the object, and it
//! is checked when it is read: another version may have written it.

use super::{PinOptions, Spared};
use crate::elf::{Object, map_type};
use crate::error::LoadError;
use crate::host::Request;
use crate::params::Given;
use crate::sys::{Call, MAP_RDONLY_PROG, MapCreate, Sys};
use kernel_vm::object::FilterMeta;
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The version of this description.
const FORMAT: u32 = 1;
/// Largest description that is read.
const BYTES_MAX: u32 = 1 << 20;

/// What a loaded filter is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinMeta {
    /// The version of this description.
    pub format: u32,
    /// The filter.
    pub filter: FilterMeta,
    /// The source file that it was compiled from.
    pub source: String,
    /// The parameters that were given.
    pub params: Vec<Given>,
    /// When it was loaded, in seconds since 1970.
    pub loaded_at: u64,
    /// The time from one of its own sweeps to the next, in nanoseconds; absent when it sweeps
    /// only if it is told to.
    #[serde(default)]
    pub every_ns: Option<u64>,
    /// Whom it spares, if it acts from the kernel on whom it finds.
    #[serde(default)]
    pub acting: Option<Spared>,
    /// It is swept by reading what its passes go over.
    #[serde(default)]
    pub by_row: bool,
    /// A digest of its code: equal ones read each other's history.
    pub code: u64,
}

impl PinMeta {
    pub(crate) fn new(
        request: &Request<'_>,
        options: &PinOptions,
        code: u64,
        by_row: bool,
    ) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            format: FORMAT,
            filter: request.filter.clone(),
            source: request.object.meta().map(|meta| meta.source.clone()).unwrap_or_default(),
            params: options.params.clone(),
            loaded_at: now.map_or(0, |now| now.as_secs()),
            every_ns: options.every.and_then(|every| u64::try_from(every.as_nanos()).ok()),
            acting: options.acting.as_ref().map(Spared::of),
            by_row,
            code,
        }
    }

    /// A frozen map with this description.
    pub(super) fn store(&self, sys: &dyn Sys) -> Result<OwnedFd, LoadError> {
        let doing = || LoadError::syscall("keeping the filter's description");
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        let create = MapCreate {
            name: "kfilter_meta",
            ty: map_type::ARRAY,
            key_size: 4,
            value_size: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            max_entries: 1,
            flags: MAP_RDONLY_PROG,
            btf: None,
        };
        let map = sys.bpf_fd(Call::MapCreate(create)).map_err(doing())?;
        let update = Call::MapUpdate { map: map.as_fd(), key: &[0; 4], value: &bytes };
        sys.bpf(update).map_err(doing())?;
        sys.bpf(Call::MapFreeze(map.as_fd())).map_err(doing())?;
        Ok(map)
    }

    /// Reads the description of the filter `name`.
    pub(super) fn read(sys: &dyn Sys, name: &str, map: BorrowedFd<'_>) -> Result<Self, LoadError> {
        let doing = || LoadError::syscall(format!("reading what filter `{name}` is"));
        let mut info = [0_u8; 80];
        sys.bpf(Call::Info { object: map, info: &mut info }).map_err(doing())?;
        let size = crate::btf::word_at(&info, 12).unwrap_or(0);
        if size > BYTES_MAX {
            return Err(foreign(name, format!("its description has {size} bytes")));
        }
        let mut bytes = vec![0; size as usize];
        sys.bpf(Call::MapLookup { map, key: &[0; 4], value: &mut bytes }).map_err(doing())?;
        let meta: Self =
            serde_json::from_slice(&bytes).map_err(|error| unreadable(name, &error))?;
        meta.check(name)?;
        Ok(meta)
    }

    /// Whether this version knows what it says.
    pub(crate) fn check(&self, name: &str) -> Result<(), LoadError> {
        if self.format != FORMAT {
            let reason = format!("another version loaded it (format {})", self.format);
            return Err(foreign(name, reason));
        }
        crate::record::check_layout(&self.filter.record).map_err(|reason| foreign(name, reason))
    }
}

fn foreign(name: &str, reason: String) -> LoadError {
    LoadError::Name { name: name.to_owned(), reason }
}

/// Of a description that is not as any version writes it.
pub(crate) fn unreadable(name: &str, error: &serde_json::Error) -> LoadError {
    foreign(name, format!("its description cannot be read: {error}"))
}

/// A digest (FNV-1a) of the filter's code before it is fitted to a kernel: the functions of
/// its sweep with their insns, and the definition of its history.
pub(crate) fn code_digest(object: &Object, filter: &FilterMeta) -> u64 {
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for &byte in bytes {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    let entry = object.function(&filter.bpf.sweep);
    for index in entry.map(|entry| crate::link::reach(object, entry)).unwrap_or_default() {
        if let Some(function) = object.functions.get(index) {
            add(function.name.as_bytes());
            add(&crate::insn::to_bytes(&function.insns));
        }
    }
    for map in object.maps.iter().filter(|map| Some(&map.name) == filter.bpf.state.as_ref()) {
        add(&map.value_size.to_le_bytes());
    }
    digest
}
