//! The lock around a futex word, and its owner.
//!
//! | lock | futex word | owner |
//! |---|---|---|
//! | glibc mutex | 2 at the start | the third word |
//! | glibc robust mutex | the start | the word itself |
//! | glibc priority-inheriting mutex, FUTEX_LOCK_PI | the start | the word itself |
//! | glibc rwlock with a writer | the third or fourth word | the seventh word |
//! | musl mutex that is recursive, error-checking or robust | the second word | the word itself |
//!
//! The operation, the expected value, the lock word and the lock's kind all have to agree,
//! as the bpf host's own phase asks it to.

use super::Futex;

/// Memory of a process.
pub trait Memory {
    /// Fills `bytes` from `address`; `false` when it cannot.
    fn read(&self, address: u64, bytes: &mut [u8]) -> bool;
}

/// A lock that has an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Where it starts.
    pub address: u64,
    /// The owner's thread id in its pid namespace.
    pub owner: i32,
    /// Processes share it.
    pub shared: bool,
}

/// The owner's id in a futex word that the kernel knows as a lock.
const OWNER_MASK: u32 = 0x3fff_ffff;
const WAITERS: u32 = 1 << 31;
// A glibc mutex's kind.
const KIND_BITS: u32 = 0x3ff;
const KIND_ROBUST: u32 = 16;
const KIND_INHERIT: u32 = 32;
const KIND_SHARED: u32 = 128;
/// A glibc mutex's word while somebody waits.
const CONTENDED: u32 = 2;
// A musl mutex's type.
const MUSL_TYPE_BITS: u32 = 0x8f;
const MUSL_OWNED: u32 = 0x7;

/// The lock that a thread in this call waits for, if it is one with an owner.
#[must_use]
pub(super) fn find(futex: &Futex, memory: &impl Memory) -> Option<Lock> {
    let lock = mutex(futex, memory)
        .or_else(|| (!futex.inherits).then(|| other(futex, memory)).flatten())?;
    (lock.owner != 0).then_some(lock)
}

fn words<const N: usize>(memory: &impl Memory, address: u64) -> Option<[u32; N]> {
    let mut bytes = vec![0_u8; N * 4];
    if !memory.read(address, &mut bytes) {
        return None;
    }
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    Some(words)
}

/// A glibc mutex: lock, count, owner, users, kind.
fn mutex(futex: &Futex, memory: &impl Memory) -> Option<Lock> {
    let [lock, _, owner, users, kind] = words::<5>(memory, futex.address)?;
    if kind & !KIND_BITS != 0 {
        return None;
    }
    let owner = if futex.inherits {
        (kind & KIND_INHERIT != 0).then_some(lock & OWNER_MASK)?
    } else if kind & KIND_ROBUST != 0 {
        (lock == futex.expected && lock & WAITERS != 0).then_some(lock & OWNER_MASK)?
    } else if kind & KIND_INHERIT != 0 {
        return None;
    } else {
        let agrees = futex.expected == CONTENDED && lock == CONTENDED && users != 0;
        agrees.then_some(owner)?
    };
    let owner = i32::try_from(owner).ok()?;
    Some(Lock { address: futex.address, owner, shared: kind & KIND_SHARED != 0 })
}

/// Locks whose futex word is not at their start.
fn other(futex: &Futex, memory: &impl Memory) -> Option<Lock> {
    let start = futex.address.checked_sub(12)?;
    let around = words::<11>(memory, start)?;
    if around[3] != futex.expected {
        return None;
    }
    // The writers' futex is the rwlock's fourth word, the phase's its third.
    rwlock(futex, start, &around[0..8], 2)
        .or_else(|| rwlock(futex, start + 4, &around[1..9], 3))
        .or_else(|| musl(futex, &around))
}

/// A rwlock: readers, writers, wrphase futex, writers futex, …, current writer, shared.
fn rwlock(futex: &Futex, address: u64, words: &[u32], phase: u32) -> Option<Lock> {
    let [readers, .., writer, shared] = *words else { return None };
    let held = (1..=3).contains(&futex.expected) && readers & phase != 0 && shared <= 1;
    let owner = held.then(|| i32::try_from(writer).ok())??;
    Some(Lock { address, owner, shared: shared == 1 })
}

/// A musl mutex: type, then the futex word with the owner.
fn musl(futex: &Futex, around: &[u32; 11]) -> Option<Lock> {
    let kind = around[2];
    if futex.expected & WAITERS == 0 || kind & !MUSL_TYPE_BITS != 0 || kind & MUSL_OWNED == 0 {
        return None;
    }
    let owner = i32::try_from(futex.expected & OWNER_MASK).ok()?;
    Some(Lock { address: futex.address - 4, owner, shared: kind & KIND_SHARED != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Memory that begins at an address.
    struct Image(u64, Vec<u32>);

    impl Memory for Image {
        fn read(&self, address: u64, bytes: &mut [u8]) -> bool {
            let all: Vec<u8> = self.1.iter().flat_map(|word| word.to_le_bytes()).collect();
            let Some(from) = address.checked_sub(self.0).map(|from| from as usize) else {
                return false;
            };
            let Some(found) = all.get(from..from + bytes.len()) else { return false };
            bytes.copy_from_slice(found);
            true
        }
    }

    fn wait(expected: u32) -> Futex {
        Futex { address: 0x1000, inherits: false, expected }
    }

    fn at(words: &[u32]) -> Image {
        Image(0x1000, words.to_vec())
    }

    #[test]
    fn glibc_mutexes_of_every_kind_name_their_owner() {
        let lock = |owner, shared| Some(Lock { address: 0x1000, owner, shared });
        for kind in [0, 1, 2, 3] {
            assert_eq!(find(&wait(2), &at(&[2, 1, 77, 1, kind])), lock(77, false));
        }
        assert_eq!(find(&wait(2), &at(&[2, 0, 77, 1, 128])), lock(77, true));
        let word = WAITERS | 77;
        assert_eq!(find(&wait(word), &at(&[word, 0, 77, 1, 16])), lock(77, false));
        let inherits = Futex { inherits: true, ..wait(0) };
        assert_eq!(find(&inherits, &at(&[word, 0, 77, 1, 32 | 128])), lock(77, true));
    }

    #[test]
    fn what_does_not_agree_is_no_lock() {
        for words in [
            [1, 1, 77, 1, 0],    // nobody waits
            [2, 1, 0, 1, 0],     // no owner
            [2, 1, 77, 0, 0],    // no user
            [2, 1, 77, 1, 1024], // no kind
            [2, 1, 77, 1, 32],   // inherits, but the call does not
        ] {
            assert_eq!(find(&wait(2), &at(&words)), None, "{words:?}");
        }
        let inherits = Futex { inherits: true, ..wait(0) };
        assert_eq!(find(&inherits, &at(&[77, 0, 77, 1, 0])), None);
        assert_eq!(find(&wait(2), &Image(0x9000, vec![2; 30])), None, "unmapped");
    }

    #[test]
    fn rwlocks_with_a_writer_and_musl_mutexes_are_found() {
        // Waiting for the writers' futex: the lock starts three words before.
        let lock = [2, 0, 0, 3, 0, 0, 77, 0, 0, 0, 0];
        let found = find(&wait(3), &Image(0x1000 - 12, lock.to_vec()));
        assert_eq!(found, Some(Lock { address: 0x1000 - 12, owner: 77, shared: false }));
        // Waiting for the phase: two words before.
        let lock = [9, 3, 0, 1, 0, 0, 0, 77, 1, 0, 0];
        let found = find(&wait(1), &Image(0x1000 - 12, lock.to_vec()));
        assert_eq!(found, Some(Lock { address: 0x1000 - 8, owner: 77, shared: true }));
        let word = WAITERS | 77;
        let lock = [0xffff, 0, 1, word, 0, 0, 0, 0xffff, 0xffff, 0, 0];
        let found = find(&wait(word), &Image(0x1000 - 12, lock.to_vec()));
        assert_eq!(found, Some(Lock { address: 0x1000 - 4, owner: 77, shared: false }));
    }

    proptest! {
        #[test]
        fn any_memory_is_answered(words in prop::collection::vec(any::<u32>(), 0..30), expected: u32) {
            let _ = find(&wait(expected), &Image(0x1000 - 12, words));
        }
    }
}
