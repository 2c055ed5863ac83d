//! The abstract values of a small width, all of them, and their members.

use crate::domain::{Bounds, Tnum, mask, signed};
use std::collections::BTreeSet;
use std::vec::Vec;

pub(super) fn set_of(width: u32, has: impl Fn(u64) -> bool) -> u64 {
    (0..1 << width).filter(|&x| has(x)).fold(0, |set, x| set | 1 << x)
}

/// Members of known bits and of ranges at a width, looked up.
pub(super) struct Members {
    pub(super) width: u32,
    bits: Vec<u64>,
    unsigned: Vec<u64>,
    signed: Vec<u64>,
}

impl Members {
    pub(super) fn new(width: u32) -> Self {
        let n = 1u64 << width;
        let pairs = || (0..n).flat_map(move |high| (0..n).map(move |low| (high, low)));
        let bits = |(unknown, value)| {
            set_of(width, |x| value & unknown == 0 && Tnum { value, unknown }.contains(x))
        };
        let place = move |x: u64| signed(width, x);
        Self {
            width,
            bits: pairs().map(bits).collect(),
            unsigned: pairs().map(|(max, min)| set_of(width, |x| min <= x && x <= max)).collect(),
            signed: pairs()
                .map(|(max, min)| {
                    set_of(width, |x| place(min) <= place(x) && place(x) <= place(max))
                })
                .collect(),
        }
    }

    fn at(&self, high: u64, low: u64) -> usize {
        ((high & mask(self.width)) << self.width | low & mask(self.width)) as usize
    }

    pub(super) fn of_bits(&self, bits: Tnum) -> u64 {
        self.bits[self.at(bits.unknown, bits.value)]
    }

    pub(super) fn of_range(&self, range: Bounds) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let (smin, smax) = (range.smin.cast_unsigned(), range.smax.cast_unsigned());
        self.unsigned[self.at(range.umax, range.umin)] & self.signed[self.at(smax, smin)]
    }
}

/// An abstract value and its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Abstract {
    bits: (u64, u64),
    pub(super) range: (u64, u64, i64, i64),
    pub(super) members: u64,
}

impl Abstract {
    pub(super) fn tnum(self) -> Tnum {
        Tnum { value: self.bits.0, unknown: self.bits.1 }
    }

    pub(super) fn bounds(self) -> Bounds {
        let (umin, umax, smin, smax) = self.range;
        Bounds { umin, umax, smin, smax }
    }
}

/// Known bits of a width.
pub(super) fn tnums(width: u32) -> impl Iterator<Item = Tnum> {
    (0..1 << width).flat_map(move |unknown| {
        (0..1 << width)
            .filter(move |value| value & unknown == 0)
            .map(move |value| Tnum { value, unknown })
    })
}

pub(super) fn unsigned_ranges(width: u32) -> impl Iterator<Item = (u64, u64)> + Clone {
    (0..1 << width).flat_map(move |min| (min..1 << width).map(move |max| (min, max)))
}

fn signed_ranges(width: u32) -> impl Iterator<Item = (i64, i64)> + Clone {
    let any = Bounds::any(width);
    (any.smin..=any.smax).flat_map(move |min| (min..=any.smax).map(move |max| (min, max)))
}

/// Unsigned range by signed range.
pub(super) fn ranges(width: u32) -> impl Iterator<Item = Bounds> {
    unsigned_ranges(width).flat_map(move |(umin, umax)| {
        signed_ranges(width).map(move |(smin, smax)| Bounds { umin, umax, smin, smax })
    })
}

/// What sharpening makes of these, which is what the verifier keeps; nothing empty.
fn kept(
    members: &Members,
    values: impl Iterator<Item = (Tnum, Bounds)>,
) -> impl Iterator<Item = Abstract> {
    let width = members.width;
    values.filter_map(move |(bits, range)| {
        let (range, bits) = range.sharpen(width, bits);
        let set = members.of_bits(bits) & members.of_range(range);
        (set != 0).then_some(Abstract {
            bits: (bits.value, bits.unknown),
            range: (range.umin, range.umax, range.smin, range.smax),
            members: set,
        })
    })
}

fn distinct(values: impl Iterator<Item = Abstract>) -> Vec<Abstract> {
    values.collect::<BTreeSet<_>>().into_iter().collect()
}

impl Members {
    /// Everything that is known by bits.
    pub(super) fn all_bits(&self) -> Vec<Abstract> {
        let any = Bounds::any(self.width);
        distinct(kept(self, tnums(self.width).map(|bits| (bits, any))))
    }

    /// Everything that is known by an unsigned range alone, or by a signed one.
    pub(super) fn all_single_ranges(&self) -> Vec<Abstract> {
        let (width, any) = (self.width, Tnum::ANY.truncate(self.width));
        let unsigned = unsigned_ranges(width).map(|(min, max)| Bounds::unsigned(width, min, max));
        let signed = signed_ranges(width).map(|(min, max)| Bounds::signed(width, min, max));
        distinct(kept(self, unsigned.chain(signed).map(|range| (any, range))))
    }

    /// Everything that is known by both ranges.
    pub(super) fn all_ranges(&self) -> Vec<Abstract> {
        let any = Tnum::ANY.truncate(self.width);
        distinct(kept(self, ranges(self.width).map(|range| (any, range))))
    }

    /// Everything that can be known at all.
    pub(super) fn all_values(&self) -> Vec<Abstract> {
        let width = self.width;
        let values = tnums(width).flat_map(|bits| ranges(width).map(move |range| (bits, range)));
        distinct(kept(self, values))
    }
}
