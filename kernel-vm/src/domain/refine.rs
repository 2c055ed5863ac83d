//! What a branch teaches of the two sides of its comparison.

use super::{Bounds, Scalar, Tnum, mask};
use crate::isa::{Cond, Width};

impl Scalar {
    /// Both sides of `a cond b`, given whether it holds; one of them empty when it cannot.
    #[must_use]
    pub fn refine(cond: Cond, width: Width, holds: bool, a: &Self, b: &Self) -> (Self, Self) {
        let (mut a, mut b) = (*a, *b);
        learn(cond, width, holds, &mut a, &mut b);
        (a, b)
    }

    fn at(&self, width: Width) -> Bounds {
        match width {
            Width::W64 => self.wide,
            Width::W32 => self.low,
        }
    }

    fn put(&mut self, width: Width, bounds: Bounds) {
        match width {
            Width::W64 => self.wide = bounds,
            Width::W32 => mutant!(
                HalfIsWhole,
                self.low = bounds,
                (self.low, self.wide) = (bounds, self.wide.intersect(bounds))
            ),
        }
    }

    /// The bits under `which` are those of `value`.
    fn know(&mut self, which: u64, value: u64) {
        match self.bits.intersect(Tnum { value, unknown: !which }) {
            Some(bits) => self.bits = bits,
            None => self.wide = EMPTY,
        }
    }
}

/// Lets both sides of `a cond b` know whether it holds; whether that can be.
pub(crate) fn learn(cond: Cond, width: Width, holds: bool, a: &mut Scalar, b: &mut Scalar) -> bool {
    let cond = match (holds, opposite(cond)) {
        (true, _) => Some(cond),
        (false, Some(opposite)) => Some(mutant!(FalseIsTrue, opposite, cond)),
        (false, None) => None,
    };
    let bits = width.bits();
    match cond {
        Some(cond) => {
            let (x, y) = compare(cond, bits, a.at(width), b.at(width));
            let changed = (x != a.at(width), y != b.at(width));
            a.put(width, x);
            b.put(width, y);
            if cond == Cond::Eq {
                let known = |s: &Scalar| Tnum {
                    value: s.bits.value & mask(bits),
                    unknown: s.bits.unknown | !mask(bits),
                };
                match (a.bits.intersect(known(b)), b.bits.intersect(known(a))) {
                    (Some(ab), Some(bb)) => (a.bits, b.bits) = (ab, bb),
                    _ => a.wide = EMPTY,
                }
            }
            if cond == Cond::Set {
                // With a single bit to look at, it is known to be one.
                if let Some(bit) = single_bit(b, width) {
                    a.know(bit, bit);
                }
            }
            // What was as sharp as can be and has not changed still is.
            let by_bits = matches!(cond, Cond::Eq | Cond::Set);
            if changed.0 || by_bits {
                a.sharpen();
            }
            if changed.1 || by_bits {
                b.sharpen();
            }
        }
        // None of the bits is set.
        None => {
            if let Some(none) = mutant!(NoneOfUnknown, b.exact(), Some(b.wide.umax)) {
                a.know(none & mask(bits), 0);
                a.sharpen();
            }
        }
    }
    !(a.is_empty() || b.is_empty())
}

const EMPTY: Bounds = Bounds { umin: 1, umax: 0, smin: 1, smax: 0 };

/// The condition that holds exactly when this one does not; there is none for `Set`.
const fn opposite(cond: Cond) -> Option<Cond> {
    Some(match cond {
        Cond::Eq => Cond::Ne,
        Cond::Ne => Cond::Eq,
        Cond::Gt => Cond::Le,
        Cond::Le => Cond::Gt,
        Cond::Ge => Cond::Lt,
        Cond::Lt => Cond::Ge,
        Cond::Sgt => Cond::Sle,
        Cond::Sle => Cond::Sgt,
        Cond::Sge => Cond::Slt,
        Cond::Slt => Cond::Sge,
        Cond::Set => return None,
    })
}

fn single_bit(b: &Scalar, width: Width) -> Option<u64> {
    b.exact()
        .map(|bits| bits & mask(width.bits()))
        .filter(|bits| mutant!(SomeIsAll, bits.is_power_of_two(), true))
}

pub(super) fn compare(cond: Cond, width: u32, mut a: Bounds, mut b: Bounds) -> (Bounds, Bounds) {
    let top = mask(width);
    let any = Bounds::any(width);
    match cond {
        Cond::Eq => {
            let both = a.intersect(b);
            (both, both)
        }
        Cond::Ne => {
            exclude(&mut a, b, any);
            let changed = a;
            exclude(&mut b, changed, any);
            (a, b)
        }
        Cond::Set => {
            // Zero has no bit to share.
            a.umin = a.umin.max(1);
            b.umin = b.umin.max(1);
            (a, b)
        }
        Cond::Lt => {
            a.umax = a.umax.min(mutant!(LessIsMuchLess, below(b.umax), below(below(b.umax))));
            b.umin = b.umin.max(a.umin.saturating_add(1).min(top));
            if b.umax == 0 || a.umin == top { (EMPTY, EMPTY) } else { (a, b) }
        }
        Cond::Le => {
            a.umax = a.umax.min(mutant!(AtMostIsLess, b.umax, below(b.umax)));
            b.umin = b.umin.max(a.umin);
            (a, b)
        }
        Cond::Slt => {
            if b.smax == any.smin || a.smin == any.smax {
                return (EMPTY, EMPTY);
            }
            a.smax = a.smax.min(b.smax.saturating_sub(1));
            b.smin = b.smin.max(a.smin.saturating_add(1));
            (a, b)
        }
        Cond::Sle => {
            a.smax = a.smax.min(mutant!(SignedAtMostIsLess, b.smax, b.smax.saturating_sub(1)));
            b.smin = b.smin.max(a.smin);
            (a, b)
        }
        Cond::Gt => swapped(Cond::Lt, width, a, b),
        Cond::Ge => swapped(Cond::Le, width, a, b),
        Cond::Sgt => mutant!(
            SignedIsUnsigned,
            swapped(Cond::Slt, width, a, b),
            swapped(Cond::Lt, width, a, b)
        ),
        Cond::Sge => swapped(Cond::Sle, width, a, b),
    }
}

fn swapped(cond: Cond, width: u32, a: Bounds, b: Bounds) -> (Bounds, Bounds) {
    let (b, a) = compare(cond, width, b, a);
    (a, b)
}

fn below(x: u64) -> u64 {
    x.saturating_sub(1)
}

/// `a` without the one number that `b` is, when it is an end of a range of `a`.
fn exclude(a: &mut Bounds, b: Bounds, any: Bounds) {
    if mutant!(NotEqualToAny, b.umin == b.umax, true) {
        if a.umin == b.umin && a.umax == b.umin {
            *a = EMPTY;
            return;
        }
        if a.umin == b.umin {
            a.umin = a.umin.saturating_add(1).min(any.umax);
        }
        if a.umax == b.umin {
            a.umax = below(a.umax);
        }
    }
    if b.smin == b.smax {
        if a.smin == b.smin && a.smin < a.smax {
            a.smin = a.smin.saturating_add(1);
        }
        if a.smax == b.smin && a.smin < a.smax {
            a.smax = a.smax.saturating_sub(1);
        }
    }
}
