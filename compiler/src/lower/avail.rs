//! Which values are already in a register at the place where code is being written.
//!
//! The values known form a chain that grows along each path; where paths meet, what they
//! have in common is the chain's part before they parted. So a snapshot is one number.
//!
//! **Invariant**: a value is known only where its definition dominates.

use std::collections::HashMap;

use crate::arith::Val;
use crate::hir::ExprId;
use crate::lir::Place;

/// What a value is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// An expression.
    Expr(ExprId),
    /// A text column that stands in its buffer on the frame; the value means nothing.
    Buffer(u16),
    /// The time of the sweep.
    Now,
    /// That the columns of a group, which are read together, can be read; the value means
    /// nothing.
    Group(usize),
}

#[derive(Clone, Copy, Debug)]
struct Link {
    parent: usize,
    depth: u32,
    key: Key,
    val: Val,
}

/// The values known here, and at the places that were jumped to.
#[derive(Clone, Debug, Default)]
pub(super) struct Avail {
    links: Vec<Link>,
    /// Index of the last link plus one; 0 for none known; absent where nothing arrives.
    here: Here,
    places: HashMap<Place, usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Here {
    At(usize),
    Nowhere,
}

impl Default for Here {
    fn default() -> Self {
        Self::At(0)
    }
}

impl Avail {
    pub(super) fn get(&self, key: Key) -> Option<Val> {
        let Here::At(mut at) = self.here else { return None };
        while let Some(link) = at.checked_sub(1).map(|index| &self.links[index]) {
            if link.key == key {
                return Some(link.val);
            }
            at = link.parent;
        }
        None
    }

    pub(super) fn set(&mut self, key: Key, val: Val) {
        if let Here::At(at) = self.here {
            self.links.push(Link { parent: at, depth: self.depth(at) + 1, key, val });
            self.here = Here::At(self.links.len());
        }
    }

    /// A jump to `place` is written here.
    pub(super) fn note(&mut self, place: Place) {
        if let Here::At(at) = self.here {
            let common = self.places.get(&place).map_or(at, |&other| self.common(at, other));
            self.places.insert(place, common);
        }
    }

    /// What follows is reached only by jumps.
    pub(super) fn unreachable(&mut self) {
        self.here = Here::Nowhere;
    }

    /// `place` is bound here.
    pub(super) fn arrive(&mut self, place: Place) {
        self.here = match (self.here, self.places.get(&place)) {
            (here, None) => here,
            (Here::Nowhere, Some(&at)) => Here::At(at),
            (Here::At(here), Some(&at)) => Here::At(self.common(here, at)),
        };
    }

    fn depth(&self, at: usize) -> u32 {
        at.checked_sub(1).map_or(0, |index| self.links[index].depth)
    }

    fn parent(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |index| self.links[index].parent)
    }

    fn common(&self, mut a: usize, mut b: usize) -> usize {
        while a != b {
            if self.depth(a) >= self.depth(b) {
                a = self.parent(a);
            } else {
                b = self.parent(b);
            }
        }
        a
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_paths_meet_only_what_both_know_is_known() {
        let mut avail = Avail::default();
        let (a, b, c) = (Key::Expr(ExprId(0)), Key::Expr(ExprId(1)), Key::Now);
        let place = Place(0);
        avail.set(a, Val::constant(1));
        avail.note(place);
        avail.set(b, Val::constant(2));
        avail.arrive(place);
        assert!(avail.get(a).is_some() && avail.get(b).is_none());
        avail.set(c, Val::constant(3));
        assert!(avail.get(c).is_some());
    }

    #[test]
    fn code_that_nothing_falls_into_knows_what_the_jumps_know() {
        let mut avail = Avail::default();
        avail.set(Key::Now, Val::constant(1));
        avail.note(Place(0));
        avail.unreachable();
        assert!(avail.get(Key::Now).is_none());
        avail.arrive(Place(0));
        assert!(avail.get(Key::Now).is_some());
    }
}
