//! Every operation of the domain by chance at 64 bits; `exhaustive.rs` takes small widths.

use super::*;
use crate::isa::{AluOp, ByteOrder, Cond, Size, Width, eval};
use std::vec::Vec;

/// A small xorshift, so that a failure can be repeated.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Numbers near the places where arithmetic goes wrong.
    pub(crate) fn edge(&mut self) -> u64 {
        let shift = self.next() % 64;
        let base = match self.next() % 6 {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << shift,
            3 => (1u64 << shift).wrapping_neg(),
            4 => self.next(),
            _ => self.next() >> shift,
        };
        base.wrapping_add(self.next() % 5).wrapping_sub(2)
    }

    /// A set and some of its members.
    pub(crate) fn scalar(&mut self) -> (Scalar, Vec<u64>) {
        let members: Vec<u64> = (0..1 + self.next() % 4).map(|_| self.edge()).collect();
        let mut set = Scalar::exactly(members[0]);
        for &member in &members[1..] {
            set = set.union(&Scalar::exactly(member));
        }
        (set.sharpened(), members)
    }
}

#[test]
fn random_members_stay_inside() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..200_000 {
        let ((a, xs), (b, ys)) = (random.scalar(), random.scalar());
        assert!(xs.iter().all(|&x| a.contains(x)), "{a:?} lost one of {xs:x?}");
        for &width in &[Width::W32, Width::W64] {
            let op = AluOp::ALL[random.next() as usize % AluOp::ALL.len()];
            let result = a.alu(op, width, &b);
            for (&x, &y) in xs.iter().zip(&ys) {
                let z = eval::alu(width, op, x, y);
                assert!(result.contains(z), "{op:?} {width:?} {x:x} {y:x} -> {z:x}, {result:x?}");
            }
            let cond = Cond::ALL[random.next() as usize % Cond::ALL.len()];
            for (&x, &y) in xs.iter().zip(&ys) {
                let holds = eval::condition(width, cond, x, y);
                let (ra, rb) = Scalar::refine(cond, width, holds, &a, &b);
                assert!(
                    ra.contains(x) && rb.contains(y),
                    "{cond:?} {width:?} {holds} {x:x} {y:x}: {ra:x?} {rb:x?}"
                );
            }
        }
        for &x in &xs {
            assert!(a.neg(Width::W64).contains(x.wrapping_neg()));
            assert!(a.low_half().contains(x & mask(32)));
            for (size, bits) in [(Size::B, 8), (Size::H, 16), (Size::W, 32)] {
                let extended = eval::sign_extend(size, x);
                assert!(a.sign_extended(bits, Width::W64).contains(extended));
                assert!(a.sign_extended(bits, Width::W32).contains(extended & mask(32)));
                assert!(a.swapped(ByteOrder::Swap, size).contains(eval::byte_order(
                    ByteOrder::Swap,
                    size,
                    x
                )));
            }
        }
    }
}

#[test]
fn a_branch_on_small_numbers_decides_as_the_numbers_do() {
    for &cond in Cond::ALL {
        for lo in 0..20u64 {
            for hi in lo..20 {
                for c in 0..20u64 {
                    let (a, b) = (Scalar::range(lo, hi), Scalar::exactly(c));
                    for holds in [true, false] {
                        let (ra, _) = Scalar::refine(cond, Width::W64, holds, &a, &b);
                        for x in lo..=hi {
                            if eval::condition(Width::W64, cond, x, c) == holds {
                                assert!(ra.contains(x), "{cond:?} {holds} {lo}..={hi} {c}: {x}");
                            }
                        }
                        let possible =
                            (lo..=hi).any(|x| eval::condition(Width::W64, cond, x, c) == holds);
                        if cond != Cond::Set {
                            assert_eq!(
                                !ra.is_empty(),
                                possible,
                                "{cond:?} {holds} {lo}..={hi} {c}"
                            );
                        }
                    }
                }
            }
        }
    }
}
