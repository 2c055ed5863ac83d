//! What the kernel allocates for what a filter keeps: the price of a row, of a group.
//!
//! State lies in task storage, groups and distinct values in hash maps without preallocation. The
//! kernel puts a head before each and takes it from the smallest of its caches that is large
//! enough. The heads are those of Linux 6.18 on 64 bits; older ones differ by a few bytes, which the
//! caches' sizes nearly always hide.
//!
//! **Invariant**: `tests/tests/kept_memory.rs` finds the same in `/proc/slabinfo`.

use kernel_vm::object::{FilterMeta, Merge};

/// `struct bpf_local_storage_elem` up to its data (include/linux/bpf_local_storage.h), and the list
/// node of the allocator (`LLIST_NODE_SZ`, kernel/bpf/memalloc.c).
const STORAGE_HEAD_BYTES: u32 = 72 + 8;
/// `struct htab_elem` up to its key (kernel/bpf/hashtab.c), and the allocator's list node.
const HASH_HEAD_BYTES: u32 = 48 + 8;
/// `struct bpf_local_storage`: what a task has besides, once, for the states of all filters.
pub const TASK_BYTES: u32 = 192;
/// The kernel's caches of less than a page (mm/slab_common.c).
const CACHES_BYTES: [u32; 12] = [8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096];

/// Bytes of the kernel's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// For the state of a row, while its task lives; 0 when there is none. A task that has any
    /// takes [`TASK_BYTES`] besides.
    pub row: u32,
    /// For a group, during a sweep; 0 when there is none.
    pub group: u32,
    /// For each distinct value in a group, during a sweep: the sum over all `count distinct`.
    pub distinct: u32,
}

/// What the kernel spends for `filter`.
#[must_use]
pub fn kept(filter: &FilterMeta) -> Kept {
    let row = match filter.state_size {
        0 => 0,
        bytes => cache(STORAGE_HEAD_BYTES + bytes),
    };
    let Some(group) = &filter.group else { return Kept { row, ..Kept::default() } };
    let hash = |key: u32, value: u32| {
        let round = |bytes: u32| bytes.next_multiple_of(8);
        cache(HASH_HEAD_BYTES.saturating_add(round(key)).saturating_add(round(value)))
    };
    let distinct = group.cells.iter().filter(|cell| cell.merge == Merge::Distinct);
    Kept {
        row,
        group: hash(group.key_size, group.size),
        distinct: distinct.map(|cell| hash(group.key_size.saturating_add(cell.size), 8)).sum(),
    }
}

/// Bytes of the cache that `bytes` are taken from.
fn cache(bytes: u32) -> u32 {
    CACHES_BYTES.into_iter().find(|&size| bytes <= size).unwrap_or(bytes.next_multiple_of(4096))
}

#[cfg(test)]
mod tests {
    use super::cache;

    #[test]
    fn what_does_not_fit_takes_the_next_cache() {
        assert_eq!([1, 96, 97, 129, 193, 257].map(cache), [8, 96, 128, 192, 256, 512]);
        assert_eq!([4096, 4097, u32::MAX - 4096].map(cache), [4096, 8192, u32::MAX - 4095]);
    }
}
