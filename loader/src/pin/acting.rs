//! Loaded filters that act: those whose `limit` the kernel itself carries out, as far as it is
//! made of signals.
//!
//! **Invariant**: what the rails say is in a frozen map before the first sweep; a filter that
//! cannot be held by them is not loaded.

use super::{PinOptions, Pins, file};
use crate::btf::kernel::Wanted;
use crate::elf::{Object, Target};
use crate::error::LoadError;
use crate::host::bpf::{Loaded, Reuse, Types};
use crate::limit::Rails;
use crate::limit::linux::is_first_pid_namespace;
use crate::link;
use crate::sys::{Call, Sys};
pub use kernel_vm::abi::ActCounts;
use kernel_vm::abi::{
    ACT_SLOT_BYTES, ACT_SLOTS, ActSlot, RAIL_NAME_BYTES, RAIL_NAMES, RAIL_PIDS, RailName,
};
use kernel_vm::object::{ActingMeta, FilterMeta, LimitAction, RungMeta};
use serde::{Deserialize, Serialize};
use std::mem::offset_of;
use std::os::fd::{AsFd, OwnedFd};

/// Whom the acts of a loaded filter spare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spared {
    /// Names; a trailing `*` matches any rest.
    pub names: Vec<String>,
    /// Process ids: who loaded it, and its ancestors.
    pub pids: Vec<i32>,
}

impl Spared {
    pub(super) fn of(rails: &Rails) -> Self {
        Self { names: rails.protect.clone(), pids: rails.own_pids.clone() }
    }
}

/// What is needed to let a filter act.
pub(super) struct Acting<'a> {
    pub(super) meta: &'a ActingMeta,
    rails: Vec<u8>,
}

/// What the object has for a filter that is to act, and its rails; `None` when it is not to.
pub(super) fn wanted<'a>(
    sys: &dyn Sys,
    filter: &'a FilterMeta,
    options: &PinOptions,
) -> Result<Option<Acting<'a>>, LoadError> {
    let Some(rails) = &options.acting else { return Ok(None) };
    let refuse = |reason: String| LoadError::Name { name: options.name.clone(), reason };
    if options.every.is_none() {
        return Err(refuse("it acts only where it sweeps by itself".to_owned()));
    }
    let meta = filter.bpf.resident.as_ref().and_then(|resident| resident.acting.as_ref());
    let Some(meta) = meta else {
        let ends = |rung: &RungMeta| matches!(rung.action, LimitAction::Term | LimitAction::Kill);
        return Err(if filter.limit.iter().flat_map(|limit| &limit.rungs).any(ends) {
            super::resident::from_an_earlier_compiler("what lets a filter act from the kernel")
        } else {
            let nothing =
                "the kernel can do nothing for it: its `limit` has no `term` and no `kill`";
            refuse(nothing.to_owned())
        });
    };
    if filter.top.is_some() {
        return Err(refuse(
            "the kernel acts on whoever matches, and `top` is found out by who reads; leave it to \
             `kfilter watch --enforce`"
                .to_owned(),
        ));
    }
    let rails = encode(rails).map_err(refuse)?;
    if crate::doctor::machine::is_without(sys, "CAP_KILL") {
        return Err(LoadError::Lacks {
            capability: "CAP_KILL",
            doing: "letting a filter send signals".to_owned(),
        });
    }
    if !is_first_pid_namespace() {
        return Err(LoadError::Missing {
            what: "the machine's first pid namespace".to_owned(),
            why: "the kernel would act on processes that cannot be seen from here".to_owned(),
            way_out: "load it from outside the container".to_owned(),
        });
    }
    Ok(Some(Acting { meta, rails }))
}

/// The bytes of [`KernelRails`](kernel_vm::abi::KernelRails).
fn encode(rails: &Rails) -> Result<Vec<u8>, String> {
    if rails.protect.len() > RAIL_NAMES {
        let names = rails.protect.len();
        return Err(format!("the kernel protects {RAIL_NAMES} names at most, these are {names}"));
    }
    if rails.own_pids.len() > RAIL_PIDS {
        return Err(format!("kfilter has more than {} ancestors", RAIL_PIDS - 1));
    }
    let pids = rails.own_pids.iter().chain(std::iter::repeat(&0)).take(RAIL_PIDS);
    let mut bytes: Vec<u8> = pids.flat_map(|pid| pid.to_ne_bytes()).collect();
    for pattern in &rails.protect {
        let name = encode_name(pattern)?;
        bytes.extend(name.bytes.into_iter().chain(name.mask));
    }
    for _ in rails.protect.len()..RAIL_NAMES {
        let RailName { bytes: none, mask } = RailName::NOBODY;
        bytes.extend(none.into_iter().chain(mask));
    }
    Ok(bytes)
}

fn encode_name(pattern: &str) -> Result<RailName, String> {
    let (name, counting) = match pattern.strip_suffix('*') {
        Some(start) => (start, start.len()),
        None => (pattern, pattern.len() + 1),
    };
    if name.len() >= RAIL_NAME_BYTES || name.contains('\0') {
        return Err(format!(
            "`{pattern}` protects nobody: the kernel keeps {} bytes of a name",
            RAIL_NAME_BYTES - 1
        ));
    }
    let (mut bytes, mut mask) = ([0; RAIL_NAME_BYTES], [0; RAIL_NAME_BYTES]);
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    mask[..counting].fill(0xff);
    Ok(RailName { bytes, mask })
}

impl Acting<'_> {
    /// Whether the kernel has the functions that the programs do without where they must.
    pub(super) fn ask(
        &self,
        sys: &dyn Sys,
        types: &Types,
        object: &Object,
    ) -> Result<(), LoadError> {
        let reached = object.function(&self.meta.start).map(|entry| link::reach(object, entry));
        let functions = reached.iter().flatten().filter_map(|&index| object.functions.get(index));
        let references = functions.flat_map(|function| &function.references);
        let weak = references.filter_map(|reference| match &reference.target {
            Target::Kfunc { name, weak: true } => Some(name),
            Target::Kfunc { weak: false, .. }
            | Target::Map(_)
            | Target::Data { .. }
            | Target::Function(_) => None,
        });
        let mut wanted = Wanted::default();
        weak.clone().for_each(|name| wanted.add(name));
        let kernel = types.with(sys, wanted)?;
        let Some(missing) = weak.into_iter().find(|name| kernel.function(name).is_none()) else {
            return Ok(());
        };
        Err(LoadError::Missing {
            what: "what lets a filter act from the kernel".to_owned(),
            why: format!("this kernel has no function `{missing}` (Linux 6.18 is the first)"),
            way_out: "load it without `--enforce`, and keep `kfilter watch --enforce` running"
                .to_owned(),
        })
    }

    /// Puts up the rails.
    pub(super) fn guard(&self, sys: &dyn Sys, loaded: &Loaded) -> Result<(), LoadError> {
        let doing = || LoadError::syscall("putting up the rails of a filter that acts");
        let Some(map) = loaded.map(&self.meta.rails) else {
            return Err(LoadError::Missing {
                what: format!("map `{}`", self.meta.rails),
                why: "the filter's program does not ask it".to_owned(),
                way_out: "compile the filter again".to_owned(),
            });
        };
        let map = map.fd.as_fd();
        let update = Call::MapUpdate { map, key: &[0; 4], value: &self.rails };
        sys.bpf(update).map_err(doing())?;
        sys.bpf(Call::MapFreeze(map)).map_err(doing())?;
        Ok(())
    }

    /// The acts that the filter goes on from.
    pub(super) fn reuse(&self, acts: Option<OwnedFd>) -> Option<Reuse> {
        acts.map(|fd| Reuse { map: self.meta.acts.clone(), fd })
    }
}

impl Pins {
    /// The last acts of the filter that is to be replaced, which another one's budget goes on from.
    pub(super) fn last_acts(&self, name: &str) -> Option<OwnedFd> {
        let map = self.get(name, file::ACTS).ok()?;
        let info = self.map_info(name, map.as_fd()).ok()?;
        let is_ours =
            info.value_size as usize == ACT_SLOT_BYTES && info.max_entries as usize == ACT_SLOTS;
        is_ours.then_some(map)
    }

    /// What has become of the acts of a filter; `None` when it does not act.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn acts(&self, name: &str) -> Result<Option<ActCounts>, LoadError> {
        let Some(map) = self.last_acts(name) else { return Ok(None) };
        let doing = || LoadError::syscall(format!("reading the acts of filter `{name}`"));
        let mut all = ActCounts::default();
        for slot in 0..ACT_SLOTS as u32 {
            let mut value = [0; ACT_SLOT_BYTES];
            let (map, key) = (map.as_fd(), slot.to_ne_bytes());
            let lookup = Call::MapLookup { map, key: &key, value: &mut value };
            self.sys.bpf(lookup).map_err(doing())?;
            let (words, _) = value.as_chunks::<8>();
            let before = offset_of!(ActSlot, counts) / 8;
            let mut counts = words.iter().map(|word| u64::from_ne_bytes(*word)).skip(before);
            for count in [
                &mut all.sent,
                &mut all.failed,
                &mut all.withdrawn,
                &mut all.refused,
                &mut all.spent,
                &mut all.silent,
            ] {
                *count = count.saturating_add(counts.next().unwrap_or(0));
            }
        }
        Ok(Some(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protected_name_counts_with_its_end_and_a_start_without() {
        let name = encode_name("sshd").unwrap();
        assert_eq!(&name.bytes[..6], b"sshd\0\0");
        assert_eq!(name.mask.iter().filter(|&&byte| byte == 0xff).count(), 5);
        let start = encode_name("sshd*").unwrap();
        assert_eq!((start.bytes, &start.mask[..5]), (name.bytes, &[0xff, 0xff, 0xff, 0xff, 0][..]));
        assert_eq!(encode_name("*").unwrap().mask, [0; RAIL_NAME_BYTES], "it protects all");
        for longest in ["a23456789012345", "a23456789012345*"] {
            assert!(encode_name(longest).is_ok(), "{longest}");
        }
        for beyond in ["a234567890123456", "a234567890123456*", "a\0b"] {
            assert!(encode_name(beyond).unwrap_err().contains("protects nobody"), "{beyond:?}");
        }
    }

    #[test]
    fn rails_that_the_kernel_has_no_room_for_are_refused() {
        let bytes = encode(&Rails::default()).unwrap();
        assert_eq!(bytes.len(), kernel_vm::abi::KERNEL_RAILS_BYTES);
        assert!(bytes[4 * RAIL_PIDS..].iter().all(|&byte| byte == 0xff), "they protect nobody");
        let names = |count| Rails { protect: vec!["x".to_owned(); count], ..Rails::default() };
        assert_eq!(encode(&names(RAIL_NAMES)).unwrap().len(), bytes.len());
        assert!(encode(&names(RAIL_NAMES + 1)).unwrap_err().contains("16 names at most"));
        let pids = Rails { own_pids: vec![7; RAIL_PIDS + 1], ..Rails::default() };
        assert!(encode(&pids).unwrap_err().contains("ancestors"));
    }
}
