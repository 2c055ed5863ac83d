//! The lock around a futex word, and its owner.
//!
//! | lock | futex word | owner |
//! |---|---|---|
//! | glibc mutex, one with a priority ceiling too | 2 at the start, and the ceiling | the third word |
//! | glibc robust mutex | the start | the word itself |
//! | glibc priority-inheriting mutex, FUTEX_LOCK_PI | the start | the word itself |
//! | glibc rwlock with a writer | the third or fourth word | the seventh word |
//! | inheriting mutex that the kernel refused, FUTEX_WAIT for ever | on the stack | the mutex's word |
//! | musl mutex that is recursive, error-checking, robust or inheriting | the second word | the word itself |
//!
//! The operation, the expected value, the lock word and the lock's kind all have to agree,
//! as the bpf host's own phase asks it to. Of a mutex that the kernel refused to wait for
//! only a pointer on the stack is left; /proc shows no other registers.

use super::Futex;
use super::futex::Operation;

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
pub(super) const OWNER_MASK: u32 = 0x3fff_ffff;
pub(super) const WAITERS: u32 = 1 << 31;
/// The largest thread id that the kernel gives.
const THREAD_ID_MAX: u32 = 4 << 20;
// A glibc mutex's kind.
pub(super) const KIND_BITS: u32 = 0x3ff;
pub(super) const KIND_TYPE: u32 = 3;
const TYPE_RECURSIVE: u32 = 1;
pub(super) const TYPE_ADAPTIVE: u32 = 3;
pub(super) const KIND_ROBUST: u32 = 16;
pub(super) const KIND_INHERIT: u32 = 32;
const KIND_PROTECT: u32 = 64;
pub(super) const KIND_SHARED: u32 = 128;
/// A glibc mutex's word while somebody waits.
pub(super) const CONTENDED: u32 = 2;
/// The bits below the priority ceiling of a mutex that has one.
pub(super) const BELOW_CEILING: u32 = (1 << 19) - 1;
/// What a thread expects that waits for a rwlock's writer: held, and waited for.
pub(super) const RWLOCK_HELD: u32 = 3;
// A musl mutex's type.
const MUSL_TYPE_BITS: u32 = 0x8f;
const MUSL_OWNED: u32 = 0xf;
const MUSL_INHERIT: u32 = 8;
/// Words of a mutex in both libraries, and where it has its links to its neighbours on the
/// owner's list.
const MUTEX_WORDS: usize = 10;
const PREVIOUS: usize = 6;
const NEXT: usize = 8;
/// Stack of a refused thread that is searched, in pointers.
const STACK_POINTERS: usize = 48;

/// The lock that a thread in this call waits for, if it is one with an owner. `own_tid` is
/// the thread's id in its namespace.
#[must_use]
pub(super) fn find(futex: &Futex, own_tid: i32, memory: &impl Memory) -> Option<Lock> {
    let lock = match futex.operation {
        Operation::Inherit => {
            inheriting(futex.address, memory).or_else(|| musl_inheriting(futex, memory))
        }
        Operation::Wait => mutex(futex, memory)
            .or_else(|| rwlock(futex, 3, 2, memory))
            .or_else(|| rwlock(futex, 2, 3, memory))
            .or_else(|| musl(futex, memory)),
        Operation::Parked { stack } => refused(stack, own_tid, memory),
    }?;
    (lock.owner != 0).then_some(lock)
}

pub(super) fn words<const N: usize>(memory: &impl Memory, address: u64) -> Option<[u32; N]> {
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

fn pointer(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

pub(super) fn lock(address: u64, owner: u32, shared: bool) -> Option<Lock> {
    let owner = i32::try_from(owner).ok().filter(|_| owner <= THREAD_ID_MAX)?;
    Some(Lock { address, owner, shared })
}

/// Whether a mutex that is robust, or musl's, is on its owner's list: what precedes it there
/// points back. A shared one's neighbours may be in another process.
fn is_listed(address: u64, words: &[u32; MUTEX_WORDS], shared: bool, memory: &impl Memory) -> bool {
    let previous = pointer(words[PREVIOUS], words[PREVIOUS + 1]);
    let next = pointer(words[NEXT], words[NEXT + 1]);
    if previous < 8 || next < 8 {
        return false;
    }
    // Pointers to locks that inherit have their lowest bit set in glibc's lists.
    let back = self::words::<2>(memory, previous & !1).map(|[low, high]| pointer(low, high) & !1);
    shared || back == address.checked_add(4 * NEXT as u64)
}

/// A glibc mutex: lock, count, owner, users, kind, spins.
fn mutex(futex: &Futex, memory: &impl Memory) -> Option<Lock> {
    let words = words::<MUTEX_WORDS>(memory, futex.address)?;
    let [word, count, owner, users, kind, spins, ..] = words;
    let shared = kind & KIND_SHARED != 0;
    if kind & !KIND_BITS != 0 || word != futex.expected {
        return None;
    }
    if kind & KIND_ROBUST != 0 {
        let held = word & WAITERS != 0 && is_listed(futex.address, &words, shared, memory);
        return held.then(|| lock(futex.address, word & OWNER_MASK, shared))?;
    }
    // Other libraries' locks have a word that is 2 as well, with anything behind it.
    let agrees = kind & KIND_INHERIT == 0
        && is_contended(word, kind)
        && (count != 0) == counts_nested(kind)
        && users != 0
        && (spins & 0xffff == 0 || kind & KIND_TYPE == TYPE_ADAPTIVE)
        && words[PREVIOUS..].iter().all(|&link| link == 0);
    agrees.then(|| lock(futex.address, owner, shared))?
}

/// Whether a mutex of this kind has the number of its owner's nested locks.
pub(super) const fn counts_nested(kind: u32) -> bool {
    kind & KIND_TYPE == TYPE_RECURSIVE || kind & KIND_PROTECT != 0
}

/// Whether the word of a mutex that records no owner in it says that somebody waits.
pub(super) const fn is_contended(word: u32, kind: u32) -> bool {
    let below = if kind & KIND_PROTECT != 0 { word & BELOW_CEILING } else { word };
    below == CONTENDED
}

/// A glibc mutex that inherits priority.
fn inheriting(address: u64, memory: &impl Memory) -> Option<Lock> {
    let [word, _, _, _, kind] = words::<5>(memory, address)?;
    let agrees = kind & !KIND_BITS == 0 && kind & KIND_INHERIT != 0;
    agrees.then(|| lock(address, word & OWNER_MASK, kind & KIND_SHARED != 0))?
}

/// A rwlock that a writer holds and that is waited for on its word number `at`: readers,
/// writers, wrphase futex, writers futex, two unused, current writer, shared. `phase` of the
/// first has to be set then.
fn rwlock(futex: &Futex, at: usize, phase: u32, memory: &impl Memory) -> Option<Lock> {
    let address = futex.address.checked_sub(4 * at as u64)?;
    let words = words::<8>(memory, address)?;
    let [readers, _, _, _, unused, unused_too, writer, shared] = words;
    let held = futex.expected == RWLOCK_HELD
        && words[at] == futex.expected
        && readers & phase != 0
        && (unused, unused_too) == (0, 0)
        && shared <= 1;
    held.then(|| lock(address, writer, shared == 1))?
}

/// A musl mutex's words, if its type has one of `bits`: type, then the futex word with the
/// owner, waiters.
fn of_musl(address: u64, bits: u32, memory: &impl Memory) -> Option<[u32; MUTEX_WORDS]> {
    let words = words::<MUTEX_WORDS>(memory, address)?;
    (words[0] & !MUSL_TYPE_BITS == 0 && words[0] & bits != 0).then_some(words)
}

fn musl(futex: &Futex, memory: &impl Memory) -> Option<Lock> {
    let address = futex.address.checked_sub(4)?;
    let words = of_musl(address, MUSL_OWNED, memory)?;
    let [kind, word, waiters, unused, unused_too, ..] = words;
    let shared = kind & KIND_SHARED != 0;
    let held = word == futex.expected
        && word & WAITERS != 0
        && waiters != 0
        && (unused, unused_too) == (0, 0)
        && is_listed(address, &words, shared, memory);
    held.then(|| lock(address, word & OWNER_MASK, shared))?
}

fn musl_inheriting(futex: &Futex, memory: &impl Memory) -> Option<Lock> {
    let address = futex.address.checked_sub(4)?;
    let words = of_musl(address, MUSL_INHERIT, memory)?;
    lock(address, words[1] & OWNER_MASK, words[0] & KIND_SHARED != 0)
}

/// The mutex that a parked thread did not get: the first that its stack points to and that
/// somebody else owns, or else one of its own, which it tried to lock again.
fn refused(stack: u64, own_tid: i32, memory: &impl Memory) -> Option<Lock> {
    const KIND_OFFSET: u64 = 16;
    let slots = words::<{ 2 * STACK_POINTERS }>(memory, stack)?;
    let mut own = None;
    for slot in slots.as_chunks::<2>().0 {
        let at = pointer(slot[0], slot[1]);
        for address in [Some(at), at.checked_sub(KIND_OFFSET)].into_iter().flatten() {
            match refused_at(address, memory) {
                Some(lock) if lock.owner == own_tid => own = own.or(Some(lock)),
                Some(lock) => return Some(lock),
                None => {}
            }
        }
    }
    own
}

fn refused_at(address: u64, memory: &impl Memory) -> Option<Lock> {
    if let Some(lock) = inheriting(address, memory) {
        // Its owner stands in it twice.
        let [owner] = words::<1>(memory, address.checked_add(8)?)?;
        return (lock.owner != 0 && i64::from(lock.owner) == i64::from(owner)).then_some(lock);
    }
    let words = of_musl(address, MUSL_INHERIT, memory)?;
    let shared = words[0] & KIND_SHARED != 0;
    let lock = lock(address, words[1] & OWNER_MASK, shared)?;
    (lock.owner != 0 && is_listed(address, &words, shared, memory)).then_some(lock)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Memory that begins at an address.
    pub(in super::super) struct Image(pub(in super::super) u64, pub(in super::super) Vec<u32>);

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
        Futex { address: 0x1000, operation: Operation::Wait, expected, is_32: false }
    }

    fn at(words: &[u32]) -> Image {
        Image(0x1000, words.to_vec())
    }

    /// The id of the thread that waits.
    const OWN: i32 = 5;
    /// A mutex's words, with the four of its links.
    const LINKED: [u32; 5] = [0x1000 + 32, 0, 0x1000 + 32, 0, 0];

    #[test]
    fn glibc_mutexes_of_every_kind_name_their_owner() {
        let lock = |owner, shared| Some(Lock { address: 0x1000, owner, shared });
        for (kind, count) in [(0, 0), (1, 3), (2, 0), (3, 0)] {
            let found = find(&wait(2), OWN, &at(&[2, count, 77, 1, kind, 0, 0, 0, 0, 0]));
            assert_eq!(found, lock(77, false), "{kind}");
        }
        let found = find(&wait(2), OWN, &at(&[2, 0, 77, 1, 128, 0, 0, 0, 0, 0]));
        assert_eq!(found, lock(77, true));
        let word = WAITERS | 77;
        // Its own neighbour on the list, which is enough to point back.
        let mut robust = vec![word, 0, 77, 1, 16, 0];
        robust.extend(LINKED);
        assert_eq!(find(&wait(word), OWN, &at(&robust)), lock(77, false));
        robust[6] += 8;
        assert_eq!(find(&wait(word), OWN, &at(&robust)), None, "nobody points back");
        let inherits = Futex { operation: Operation::Inherit, ..wait(0) };
        assert_eq!(find(&inherits, OWN, &at(&[word, 0, 77, 1, 32 | 128])), lock(77, true));
    }

    #[test]
    fn what_does_not_agree_is_no_lock() {
        for words in [
            [1, 0, 77, 1, 0, 0, 0, 0, 0, 0],      // nobody waits
            [2, 0, 0, 1, 0, 0, 0, 0, 0, 0],       // no owner
            [2, 0, 77, 0, 0, 0, 0, 0, 0, 0],      // no user
            [2, 1, 77, 1, 0, 0, 0, 0, 0, 0],      // counted, but not recursive
            [2, 0, 77, 1, 0, 0, 0, 0, 9, 0],      // on a list
            [2, 0, 5 << 20, 1, 0, 0, 0, 0, 0, 0], // no thread's id
            [2, 0, 77, 1, 1024, 0, 0, 0, 0, 0],   // no kind
            [2, 0, 77, 1, 32, 0, 0, 0, 0, 0],     // inherits, but the call does not
        ] {
            assert_eq!(find(&wait(2), OWN, &at(&words)), None, "{words:?}");
        }
        let inherits = Futex { operation: Operation::Inherit, ..wait(0) };
        assert_eq!(find(&inherits, OWN, &at(&[77, 0, 77, 1, 0])), None);
        assert_eq!(find(&wait(2), OWN, &Image(0x9000, vec![2; 30])), None, "unmapped");
    }

    #[test]
    fn rwlocks_with_a_writer_and_musl_mutexes_are_found() {
        // Waiting for the writers' futex: the lock starts three words before.
        let lock = [2, 0, 0, 3, 0, 0, 77, 0, 0, 0, 0];
        let found = find(&wait(3), OWN, &Image(0x1000 - 12, lock.to_vec()));
        assert_eq!(found, Some(Lock { address: 0x1000 - 12, owner: 77, shared: false }));
        // Waiting for the phase: two words before.
        let lock = [9, 3, 0, 3, 0, 0, 0, 77, 1, 0, 0];
        let found = find(&wait(3), OWN, &Image(0x1000 - 12, lock.to_vec()));
        assert_eq!(found, Some(Lock { address: 0x1000 - 8, owner: 77, shared: true }));
        let word = WAITERS | 77;
        let lock = [1, word, 1, 0, 0, 0, 0x1000 - 4 + 32, 0, 0x1000 - 4 + 32, 0];
        let found = find(&wait(word), OWN, &Image(0x1000 - 4, lock.to_vec()));
        assert_eq!(found, Some(Lock { address: 0x1000 - 4, owner: 77, shared: false }));
    }

    #[test]
    fn a_refused_thread_names_the_mutex_that_its_stack_points_to() {
        let parked = |stack| Futex { operation: Operation::Parked { stack }, ..wait(0) };
        let word = WAITERS | 77;
        // Two mutexes, one its own, and the stack behind them.
        let mut words = vec![OWN as u32, 0, OWN as u32, 1, 32, 0, 0, 0, 0, 0];
        words.extend([word, 0, 77, 1, 32, 0, 0, 0, 0, 0]);
        words.extend([0; 2 * STACK_POINTERS]);
        (words[24], words[30]) = (0x1000, 0x1000 + 40 + 16);
        let found = find(&parked(0x1000 + 80), OWN, &at(&words));
        assert_eq!(found, Some(Lock { address: 0x1000 + 40, owner: 77, shared: false }));
        words[30] = 0;
        let found = find(&parked(0x1000 + 80), OWN, &at(&words));
        assert_eq!(found, Some(Lock { address: 0x1000, owner: OWN, shared: false }));
        words[24] = 0;
        assert_eq!(find(&parked(0x1000 + 80), OWN, &at(&words)), None);
    }

    proptest! {
        #[test]
        fn any_memory_is_answered(words in prop::collection::vec(any::<u32>(), 0..120), expected: u32) {
            let _ = find(&wait(expected), OWN, &Image(0x1000 - 12, words.clone()));
            let parked = Operation::Parked { stack: 0x1000 };
            let _ = find(&Futex { operation: parked, ..wait(expected) }, OWN, &at(&words));
        }
    }
}
