//! The lock around a futex word in a program of 32 bits, whose glibc lays its locks out in
//! another way.
//!
//! | lock | futex word | owner | kind |
//! |---|---|---|---|
//! | mutex | 2 at the start | the third word | the fourth |
//! | robust mutex | the start | the word itself, and the third | the fourth |
//! | priority-inheriting mutex, FUTEX_LOCK_PI | the start | the word itself | the fourth |
//! | rwlock with a writer | the third or fourth word | the eighth | flags in the seventh |
//! | inheriting mutex that the kernel refused, FUTEX_WAIT for ever | on the stack | the mutex's word | the fourth |

use super::Futex;
use super::futex::Operation;
use super::lock::{
    KIND_BITS, KIND_INHERIT, KIND_ROBUST, KIND_SHARED, KIND_TYPE, Lock, Memory, OWNER_MASK,
    RWLOCK_HELD, TYPE_ADAPTIVE, WAITERS, counts_nested, is_contended, lock, words,
};

/// Stack of a refused thread that is searched, in pointers.
const STACK_POINTERS: usize = 96;
/// What may be set in a rwlock's flags: which side it prefers, and that processes share it.
const RWLOCK_FLAGS: u32 = 0x103;
const RWLOCK_SHARED: u32 = 0x100;

/// The lock that a thread in this call waits for, if it is one with an owner. `own_tid` is
/// the thread's id in its namespace.
#[must_use]
pub(super) fn find(futex: &Futex, own_tid: i32, memory: &impl Memory) -> Option<Lock> {
    let lock = match futex.operation {
        Operation::Inherit => inheriting(futex.address, memory),
        Operation::Wait => mutex(futex, memory)
            .or_else(|| rwlock(futex, 3, 2, memory))
            .or_else(|| rwlock(futex, 2, 3, memory)),
        Operation::Parked { stack } => refused(stack, own_tid, memory),
    }?;
    (lock.owner != 0).then_some(lock)
}

/// A glibc mutex: lock, count, owner, kind, users, spins or the next one of a list.
fn mutex(futex: &Futex, memory: &impl Memory) -> Option<Lock> {
    let [word, count, owner, kind, users, spins] = words::<6>(memory, futex.address)?;
    if kind & !KIND_BITS != 0 || word != futex.expected {
        return None;
    }
    let agrees = if kind & KIND_ROBUST != 0 {
        word & WAITERS != 0 && word & OWNER_MASK == owner
    } else {
        kind & KIND_INHERIT == 0
            && is_contended(word, kind)
            && (count != 0) == counts_nested(kind)
            && users != 0
            && (spins & 0xffff == 0 || kind & KIND_TYPE == TYPE_ADAPTIVE)
    };
    agrees.then(|| lock(futex.address, owner, kind & KIND_SHARED != 0))?
}

/// A glibc mutex that inherits priority.
fn inheriting(address: u64, memory: &impl Memory) -> Option<Lock> {
    let [word, _, _, kind] = words::<4>(memory, address)?;
    let agrees = kind & !KIND_BITS == 0 && kind & KIND_INHERIT != 0;
    agrees.then(|| lock(address, word & OWNER_MASK, kind & KIND_SHARED != 0))?
}

/// A rwlock that a writer holds and that is waited for on its word number `at`: readers,
/// writers, wrphase futex, writers futex, two unused, flags, current writer. `phase` of the
/// first has to be set then.
fn rwlock(futex: &Futex, at: usize, phase: u32, memory: &impl Memory) -> Option<Lock> {
    let address = futex.address.checked_sub(4 * at as u64)?;
    let words = words::<8>(memory, address)?;
    let [readers, _, _, _, unused, unused_too, flags, writer] = words;
    let held = futex.expected == RWLOCK_HELD
        && words[at] == futex.expected
        && readers & phase != 0
        && (unused, unused_too) == (0, 0)
        && flags & !RWLOCK_FLAGS == 0;
    held.then(|| lock(address, writer, flags & RWLOCK_SHARED != 0))?
}

/// The mutex that a parked thread did not get: the first that its stack points to and that
/// somebody else owns, or else one of its own, which it tried to lock again.
fn refused(stack: u64, own_tid: i32, memory: &impl Memory) -> Option<Lock> {
    const KIND_OFFSET: u64 = 12;
    let mut own = None;
    for pointer in words::<STACK_POINTERS>(memory, stack)?.map(u64::from) {
        for address in [Some(pointer), pointer.checked_sub(KIND_OFFSET)].into_iter().flatten() {
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
    let lock = inheriting(address, memory)?;
    // Its owner stands in it twice.
    let [owner] = words::<1>(memory, address.checked_add(8)?)?;
    (lock.owner != 0 && i64::from(lock.owner) == i64::from(owner)).then_some(lock)
}

#[cfg(test)]
mod tests {
    use super::super::lock::tests::Image;
    use super::*;
    use proptest::prelude::*;

    const OWN: i32 = 5;

    fn wait(expected: u32) -> Futex {
        Futex { address: 0x1000, operation: Operation::Wait, expected, is_32: true }
    }

    #[test]
    fn locks_of_every_kind_name_their_owner() {
        let lock = |address, owner, shared| Some(Lock { address, owner, shared });
        let word = WAITERS | 77;
        let inherits = Futex { operation: Operation::Inherit, ..wait(0) };
        for (futex, words, shared) in [
            (wait(2), [2, 0, 77, 0, 1, 0], false),
            (wait(2), [2, 3, 77, 1 | 128, 1, 0], true),
            (wait(word), [word, 0, 77, 16, 1, 0x2000], false),
            (inherits, [word, 0, 77, 32, 1, 0], false),
        ] {
            let found = find(&futex, OWN, &Image(0x1000, words.to_vec()));
            assert_eq!(found, lock(0x1000, 77, shared), "{words:?}");
        }
        let rwlock = [2, 0, 0, 3, 0, 0, 0x102, 77];
        let found = find(&wait(3), OWN, &Image(0x1000 - 12, rwlock.to_vec()));
        assert_eq!(found, lock(0x1000 - 12, 77, true));
    }

    #[test]
    fn what_does_not_agree_is_no_lock() {
        for words in [
            [1, 0, 77, 0, 1, 0], // nobody waits
            [2, 0, 0, 0, 1, 0],  // no owner
            [2, 0, 77, 0, 0, 0], // no user
            [2, 1, 77, 0, 1, 0], // counted, but not recursive
            [2, 0, 77, 0, 1, 9], // spins, but not adaptive
            [2, 0, 77, 1, 0, 0], // the layout of 64 bits
        ] {
            assert_eq!(find(&wait(2), OWN, &Image(0x1000, words.to_vec())), None, "{words:?}");
        }
        let word = WAITERS | 77;
        let robust = Image(0x1000, vec![word, 0, 78, 16, 1, 0x2000]);
        assert_eq!(find(&wait(word), OWN, &robust), None, "two owners");
    }

    proptest! {
        #[test]
        fn any_memory_is_answered(words in prop::collection::vec(any::<u32>(), 0..120), expected: u32) {
            let _ = find(&wait(expected), OWN, &Image(0x1000 - 12, words.clone()));
            let parked = Operation::Parked { stack: 0x1000 };
            let _ = find(&Futex { operation: parked, ..wait(expected) }, OWN, &Image(0x1000, words));
        }
    }
}
