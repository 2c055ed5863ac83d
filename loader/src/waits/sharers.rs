//! Owners of locks that processes share, in whatever pid namespaces these are.
//!
//! Such a lock names its owner as the owner's own namespace numbers it, which need not be
//! the waiting thread's. It is one of the threads that have this number somewhere and that
//! map the object that the lock lies in. When there are two and one is the waiting thread
//! itself, the other is meant: if they wait for each other none of the two readings gets
//! anybody on, and if they do not there is no ring in either. Of several others nobody can
//! tell.

use super::Owner;
use crate::procfs::maps::{Mapping, Maps};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// What a shared mapping shows: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Object(i64, i64);

/// The object that the lock at `address` lies in: `Some(None)` when it is the process's own
/// memory, whatever the lock's flags say; `None` when that is not to be known.
pub(super) fn object(process: &Path, tid: i32, address: u64) -> Option<Option<Object>> {
    let address = address.cast_signed();
    let is_around = |at: &Mapping| (at.address..at.address + at.size).contains(&address);
    let maps = maps(process, tid)?;
    maps.list.iter().find(|mapping| is_around(mapping)).map(shown)
}

/// Which of the threads that have the owner's number, `(pid, tid)`, owns a lock in `object`
/// that the thread `own` waits for.
pub(super) fn owner(root: &Path, object: Object, own: i32, named: &[(i32, i32)]) -> Owner {
    let mut sharing = Vec::new();
    let mut is_hidden = false;
    for &(pid, tid) in named {
        match maps(&root.join(pid.to_string()), tid) {
            Some(maps) if maps.list.iter().any(|mapping| shown(mapping) == Some(object)) => {
                sharing.push(tid);
            }
            Some(_) => {}
            None => is_hidden = true,
        }
    }
    choose(&sharing, own, is_hidden)
}

/// `is_hidden`: one of the threads that have the number may not be looked at. It counts only
/// where nobody else is the owner: the first process of a machine is often such a one.
fn choose(sharing: &[i32], own: i32, is_hidden: bool) -> Owner {
    match *sharing {
        [] if is_hidden => Owner::Unknown,
        [tid] if is_hidden && tid == own => Owner::Unknown,
        [] => Owner::Gone,
        [tid] => Owner::Alive(tid),
        [first, second] if first == own => Owner::Alive(second),
        [first, second] if second == own => Owner::Alive(first),
        _ => Owner::Unknown,
    }
}

/// What a mapping shares with other processes.
fn shown(mapping: &Mapping) -> Option<Object> {
    let is_shared = mapping.is_shared() && mapping.inode != 0;
    is_shared.then_some(Object(mapping.device, mapping.inode))
}

/// `None` when the mappings may not be looked at. The kernel's own threads have none.
fn maps(process: &Path, tid: i32) -> Option<Maps> {
    let text = fs::read(process.join("task").join(tid.to_string()).join("maps")).ok()?;
    Some(Maps::parse(&text, &HashMap::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shared_mappings_of_something_show_an_object() {
        let text = b"7f00-7f10 rw-s 00000000 00:01 1234   /dev/zero (deleted)\n\
                     7f10-7f20 rw-p 00000000 fe:00 77 /usr/bin/env\n";
        let maps = Maps::parse(text, &HashMap::new());
        let shown: Vec<_> = maps.list.iter().map(shown).collect();
        assert_eq!(shown, [Some(Object(1, 1234)), None]);
    }

    #[test]
    fn of_two_the_one_that_does_not_wait_for_itself_owns_the_lock() {
        let seen = |sharing: &[i32]| choose(sharing, 1, false);
        assert_eq!(seen(&[]), Owner::Gone);
        assert_eq!(seen(&[2]), Owner::Alive(2));
        assert_eq!(seen(&[1]), Owner::Alive(1));
        assert_eq!(seen(&[1, 2]), Owner::Alive(2));
        assert_eq!(seen(&[2, 1]), Owner::Alive(2));
        assert_eq!(seen(&[2, 3]), Owner::Unknown);
        assert_eq!(seen(&[1, 2, 3]), Owner::Unknown);
    }

    #[test]
    fn nobody_has_gone_while_somebody_is_hidden() {
        assert_eq!(choose(&[], 1, true), Owner::Unknown);
        assert_eq!(choose(&[1], 1, true), Owner::Unknown);
        assert_eq!(choose(&[2], 1, true), Owner::Alive(2));
    }
}
