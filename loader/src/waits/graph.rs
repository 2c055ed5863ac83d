//! From owners to rings.

use super::{Class, Operation, Owner, Wait, Waiter};
use std::collections::{HashMap, HashSet};

/// Classifies every waiter. `owner` finds the thread that owns its lock; `unchanged` looks
/// at a waiter a second time.
pub(super) fn resolve(
    waiters: &[Waiter],
    owner: impl Fn(&Waiter) -> Owner,
    unchanged: impl Fn(&Waiter) -> bool,
) -> HashMap<i32, Wait> {
    let index: HashMap<i32, usize> =
        waiters.iter().enumerate().map(|(at, waiter)| (waiter.tid, at)).collect();
    let owners: Vec<Owner> = waiters.iter().map(&owner).collect();
    let next = |at: usize| match owners[at] {
        Owner::Alive(tid) => index.get(&tid).copied(),
        Owner::Gone | Owner::Foreign | Owner::Unknown => None,
    };
    let mut waits = HashMap::new();
    for (at, waiter) in waiters.iter().enumerate() {
        // The dead of another namespace are known by their number there, which is nobody here.
        let gone = if waiter.inner_tid == waiter.tid { waiter.lock.owner } else { 0 };
        let (class, owner) = match owners[at] {
            Owner::Gone => (Class::Abandoned, gone),
            Owner::Alive(tid) if tid == waiter.tid => (Class::Own, tid),
            Owner::Alive(tid) => (Class::Waiting, tid),
            Owner::Foreign | Owner::Unknown => continue,
        };
        let wait = Wait {
            address: waiter.lock.address.cast_signed(),
            owner: owner.into(),
            class,
            ..Wait::default()
        };
        waits.insert(waiter.tid, wait);
    }
    for ring in rings(waiters.len(), next) {
        // Two looks at every member, and nothing moved: all edges existed at one time.
        if !ring.iter().all(|&at| unchanged(&waiters[at]) && owner(&waiters[at]) == owners[at]) {
            for &at in &ring {
                waits.remove(&waiters[at].tid);
            }
            continue;
        }
        let id = ring.iter().map(|&at| i64::from(waiters[at].tid)).min().unwrap_or(0);
        let length = i64::try_from(ring.len()).unwrap_or(i64::MAX);
        for &at in &ring {
            if let Some(wait) = waits.get_mut(&waiters[at].tid) {
                wait.class = if length == 1 { Class::Own } else { Class::Cycle };
                (wait.cycle_id, wait.cycle_length) = (id, length);
            }
        }
    }
    for (at, waiter) in waiters.iter().enumerate() {
        let is_abandoned = owners[at] == Owner::Gone;
        let is_confirmed = || unchanged(waiter) && owner(waiter) == Owner::Gone;
        // A parked thread says nothing but that the kernel refused to close a cycle.
        let is_parked = matches!(waiter.futex.operation, Operation::Parked { .. });
        let is_waiting = waits.get(&waiter.tid).is_some_and(|wait| wait.class == Class::Waiting);
        if is_abandoned && !is_confirmed() || is_parked && is_waiting {
            waits.remove(&waiter.tid);
        }
    }
    waits
}

/// The rings among `count` nodes that each lead to at most one other.
fn rings(count: usize, next: impl Fn(usize) -> Option<usize>) -> Vec<Vec<usize>> {
    let mut rings = Vec::new();
    let mut seen = HashSet::new();
    for first in 0..count {
        let mut path = Vec::new();
        let mut on_path = HashMap::new();
        let mut at = Some(first);
        while let Some(node) = at {
            if let Some(&position) = on_path.get(&node) {
                rings.push(path.split_off(position));
                break;
            }
            if !seen.insert(node) {
                break;
            }
            on_path.insert(node, path.len());
            path.push(node);
            at = next(node);
        }
    }
    rings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waits::{Futex, Lock};

    fn waiter(tid: i32, owner: i32) -> Waiter {
        Waiter {
            pid: 1,
            tid,
            namespace: 0,
            inner_tid: tid,
            start: 1,
            switches: (0, 0),
            futex: Futex { address: 0, operation: Operation::Wait, expected: 2, is_32: false },
            lock: Lock { address: 0x1000, owner, shared: false },
            object: None,
        }
    }

    fn classes(edges: &[(i32, i32)], gone: &[i32], moved: &[i32]) -> Vec<(i32, Class, i64)> {
        let waiters: Vec<Waiter> = edges.iter().map(|&(from, to)| waiter(from, to)).collect();
        let owner = |waiter: &Waiter| match waiter.lock.owner {
            owner if gone.contains(&owner) => Owner::Gone,
            owner => Owner::Alive(owner),
        };
        let waits = resolve(&waiters, owner, |waiter| !moved.contains(&waiter.tid));
        let mut all: Vec<(i32, Class, i64)> =
            waits.iter().map(|(&tid, wait)| (tid, wait.class, wait.cycle_length)).collect();
        all.sort_unstable_by_key(|each| each.0);
        all
    }

    #[test]
    fn rings_and_their_tails_are_told_apart() {
        // 1 → 2 → 3 → 1, and 4 waits for a member, 5 for 4.
        let edges = [(5, 4), (4, 2), (1, 2), (2, 3), (3, 1)];
        assert_eq!(
            classes(&edges, &[], &[]),
            [
                (1, Class::Cycle, 3),
                (2, Class::Cycle, 3),
                (3, Class::Cycle, 3),
                (4, Class::Waiting, 0),
                (5, Class::Waiting, 0),
            ]
        );
    }

    #[test]
    fn a_lock_of_its_own_is_a_class_of_its_own() {
        assert_eq!(classes(&[(1, 1)], &[], &[]), [(1, Class::Own, 1)]);
    }

    #[test]
    fn an_owner_that_has_gone_abandons_the_lock() {
        assert_eq!(classes(&[(1, 9)], &[9], &[]), [(1, Class::Abandoned, 0)]);
        assert_eq!(classes(&[(1, 9)], &[9], &[1]), []);
    }

    #[test]
    fn one_that_moved_breaks_the_ring() {
        assert_eq!(classes(&[(1, 2), (2, 1)], &[], &[2]), []);
    }

    #[test]
    fn contention_without_a_ring_is_only_waiting() {
        assert_eq!(
            classes(&[(1, 9), (2, 9), (3, 1)], &[], &[]),
            [(1, Class::Waiting, 0), (2, Class::Waiting, 0), (3, Class::Waiting, 0)]
        );
    }

    #[test]
    fn long_rings_are_walked_once() {
        let edges: Vec<(i32, i32)> = (0..2000).map(|at| (at + 1, (at + 1) % 2000 + 1)).collect();
        let all = classes(&edges, &[], &[]);
        assert!(all.iter().all(|each| each.1 == Class::Cycle && each.2 == 2000));
    }
}
