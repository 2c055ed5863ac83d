//! Every operator of the domain on every abstract value of a small width, against all members.
//!
//! A set of numbers of at most six bits is a mask of 64, so that what an operation makes of two
//! sets is a few look-ups and whether an abstract value holds it is one `&`. Which abstract
//! values there are is not chosen: they are all that [`Bounds::sharpen`] makes of any known bits
//! with any ranges, as the verifier keeps them.
//!
//! The bits of a result come from operands' bits and the ranges from operands' ranges: the
//! signatures in `tnum.rs` and `bounds.rs` let through nothing else. So all pairs of bits and
//! all pairs of ranges are all pairs; [`at_width`], which puts them together, is looked at as a
//! whole at a width that allows it. What takes minutes is ignored: `just exhaustive` runs it.

mod halves;
mod values;

use super::refine::compare;
use super::scalar::at_width;
use super::{Bounds, Tnum, mask, signed};
use crate::isa::{AluOp, Cond};
use std::collections::BTreeSet;
use std::vec::Vec;
use values::{Abstract, Members, ranges, set_of, tnums, unsigned_ranges};

/// The operation itself at a width, in the words of the RFC.
fn concrete(width: u32, op: AluOp, a: u64, b: u64) -> u64 {
    let (sa, sb) = (signed(width, a), signed(width, b));
    let amount = b % u64::from(width);
    let result = match op {
        AluOp::Add => a.wrapping_add(b),
        AluOp::Sub => a.wrapping_sub(b),
        AluOp::Mul => a.wrapping_mul(b),
        AluOp::Or => a | b,
        AluOp::And => a & b,
        AluOp::Xor => a ^ b,
        AluOp::Lsh => a << amount,
        AluOp::Rsh => a >> amount,
        AluOp::Arsh => (sa >> amount).cast_unsigned(),
        AluOp::Div => a.checked_div(b).unwrap_or(0),
        AluOp::Mod => a.checked_rem(b).unwrap_or(a),
        AluOp::Sdiv if b == 0 => 0,
        AluOp::Sdiv => sa.wrapping_div(sb).cast_unsigned(),
        AluOp::Smod if b == 0 => a,
        AluOp::Smod => sa.wrapping_rem(sb).cast_unsigned(),
    };
    result & mask(width)
}

fn holds(width: u32, cond: Cond, a: u64, b: u64) -> bool {
    let (sa, sb) = (signed(width, a), signed(width, b));
    match cond {
        Cond::Eq => a == b,
        Cond::Ne => a != b,
        Cond::Gt => a > b,
        Cond::Ge => a >= b,
        Cond::Lt => a < b,
        Cond::Le => a <= b,
        Cond::Set => a & b != 0,
        Cond::Sgt => sa > sb,
        Cond::Sge => sa >= sb,
        Cond::Slt => sa < sb,
        Cond::Sle => sa <= sb,
    }
}

/// What an operation makes of one set and any other, by the bytes of the other's mask.
struct Row([[u64; 256]; 8]);

impl Row {
    fn new(width: u32, members: u64, f: impl Fn(u64, u64) -> u64) -> Self {
        let members: Vec<u64> = (0..1 << width).filter(|x| members >> x & 1 != 0).collect();
        let mut row = [[0; 256]; 8];
        for (byte, table) in row.iter_mut().enumerate().take((1 << width) / 8) {
            let results = [0, 1, 2, 3, 4, 5, 6, 7].map(|bit| {
                let y = byte as u64 * 8 + bit;
                members.iter().fold(0, |results, &x| results | 1 << f(x, y))
            });
            for set in 1..256usize {
                table[set] = table[set & (set - 1)] | results[set.trailing_zeros() as usize];
            }
        }
        Self(row)
    }

    fn results(&self, other: u64) -> u64 {
        let bytes = other.to_le_bytes();
        (self.0.iter().zip(bytes)).fold(0, |set, (table, byte)| set | table[usize::from(byte)])
    }
}

/// Calls `check` with every value, on every CPU.
fn for_each(values: &[Abstract], check: impl Fn(Abstract) + Sync) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for first in 0..threads {
            let check = &check;
            scope.spawn(move || values.iter().skip(first).step_by(threads).for_each(|&a| check(a)));
        }
    });
}

/// Every operation on every pair.
fn check_operations(members: &Members, left: &[Abstract], right: &[Abstract]) {
    let width = members.width;
    for_each(left, |a| {
        for &op in AluOp::ALL {
            let row = Row::new(width, a.members, |x, y| concrete(width, op, x, y));
            for &b in right {
                let (va, vb) = ((a.tnum(), a.bounds()), (b.tnum(), b.bounds()));
                let (bits, range) = at_width(op, width, va, vb);
                let held = members.of_bits(bits) & members.of_range(range);
                let results = row.results(b.members);
                assert!(
                    results & !held == 0,
                    "{op:?} at {width}: {a:?} {b:?} -> {bits:?} {range:?} lost {:#x}",
                    results & !held
                );
            }
        }
    });
}

/// What is in either, and what is in both.
fn check_lattice(members: &Members, left: &[Abstract], right: &[Abstract]) {
    for_each(left, |a| {
        for &b in right {
            let bits = members.of_bits(a.tnum().union(b.tnum()));
            let range = members.of_range(a.bounds().union(b.bounds()));
            let either = a.members | b.members;
            assert!(either & !(bits & range) == 0, "{a:?} or {b:?}");
            let bits = a.tnum().intersect(b.tnum()).map_or(0, |bits| members.of_bits(bits));
            let range = members.of_range(a.bounds().intersect(b.bounds()));
            let both = a.members & b.members;
            assert!(both & !(bits & range) == 0, "{a:?} and {b:?}");
        }
    });
}

/// What a branch teaches of both sides: whoever can be on this way stays.
fn check_conditions(members: &Members, left: &[Abstract], right: &[Abstract]) {
    let width = members.width;
    for &cond in Cond::ALL {
        let other = |set: u64, x: u64, x_is_left: bool| {
            (0..1 << width).any(|y| {
                let (a, b) = if x_is_left { (x, y) } else { (y, x) };
                set >> y & 1 != 0 && holds(width, cond, a, b)
            })
        };
        let partners: Vec<u64> =
            right.iter().map(|b| set_of(width, |x| other(b.members, x, true))).collect();
        for_each(left, |a| {
            let partners_of_a = set_of(width, |y| other(a.members, y, false));
            for (&b, partners_of_b) in right.iter().zip(&partners) {
                let (ra, rb) = compare(cond, width, a.bounds(), b.bounds());
                let (ra, rb) = (members.of_range(ra), members.of_range(rb));
                let lost = (a.members & partners_of_b & !ra, b.members & partners_of_a & !rb);
                assert_eq!(lost, (0, 0), "{cond:?} at {width}: {a:?} {b:?}");
            }
        });
    }
}

/// Sharpening of everything, sharp or not.
fn check_sharpening(members: &Members) {
    let width = members.width;
    for bits in tnums(width) {
        let set = members.of_bits(bits);
        for range in ranges(width) {
            let before = set & members.of_range(range);
            let (sharp, sharp_bits) = range.sharpen(width, bits);
            let after = members.of_bits(sharp_bits) & members.of_range(sharp);
            assert!(before & !after == 0, "{bits:?} {range:?} lost {:#x}", before & !after);
        }
    }
}

#[test]
fn known_bits_of_six_bits() {
    for width in 3..=6 {
        let members = Members::new(width);
        let all = members.all_bits();
        assert_eq!(all.len(), 3usize.pow(width));
        check_operations(&members, &all, &all);
        check_lattice(&members, &all, &all);
    }
}

#[test]
fn ranges_of_five_bits_in_one_order() {
    let members = Members::new(5);
    let all = members.all_single_ranges();
    check_operations(&members, &all, &all);
    check_lattice(&members, &all, &all);
    check_conditions(&members, &all, &all);
}

#[test]
fn ranges_of_five_bits_in_both_orders_by_exact_numbers() {
    let members = Members::new(5);
    let all = members.all_ranges();
    let is_exact = |a: &&Abstract| a.bounds() == Bounds::exactly(5, a.range.0);
    let exact: Vec<Abstract> = all.iter().filter(is_exact).copied().collect();
    assert_eq!(exact.len(), 32);
    check_operations(&members, &all, &exact);
    check_operations(&members, &exact, &all);
    check_conditions(&members, &all, &exact);
    check_conditions(&members, &exact, &all);
}

#[test]
fn everything_that_can_be_known_of_three_bits() {
    let members = Members::new(3);
    let all = members.all_values();
    check_operations(&members, &all, &all);
    check_lattice(&members, &all, &all);
    check_conditions(&members, &all, &all);
}

#[test]
fn sharpening_loses_nothing_of_four_bits() {
    check_sharpening(&Members::new(4));
}

#[test]
fn known_bits_of_six_bits_shifted_cut_and_extended() {
    const WIDTH: u32 = 6;
    let members = Members::new(WIDTH);
    let image = |set: u64, f: &dyn Fn(u64) -> u64| {
        (0..1 << WIDTH).filter(|x| set >> x & 1 != 0).fold(0, |image, x| image | 1u64 << f(x))
    };
    for bits in tnums(WIDTH) {
        let set = members.of_bits(bits);
        let check = |what: &str, n: u32, result: Tnum, f: &dyn Fn(u64) -> u64| {
            let lost = image(set, f) & !members.of_bits(result);
            assert!(lost == 0, "{what} {n}: {bits:?} -> {result:?} lost {lost:#x}");
        };
        for n in 0..WIDTH {
            let all = mask(WIDTH);
            check("<<", n, bits.shl(n).truncate(WIDTH), &|x| x << n & all);
            check(">>", n, bits.shr(n), &|x| x >> n);
            let arsh = |x| (signed(WIDTH, x) >> n).cast_unsigned() & all;
            check("s>>", n, bits.ashr(WIDTH, n), &arsh);
        }
        for n in 1..=WIDTH {
            check("cut", n, bits.truncate(n), &|x| x & mask(n));
            let extended = |x| signed(n, x).cast_unsigned() & mask(WIDTH);
            check("extend", n, bits.truncate(n).sign_extend(n, WIDTH), &extended);
        }
    }
    for (min, max) in unsigned_ranges(WIDTH) {
        let lost =
            set_of(WIDTH, |x| min <= x && x <= max) & !members.of_bits(Tnum::range(min, max));
        assert!(lost == 0, "{min}..={max}");
    }
}

#[test]
#[ignore = "ten seconds: just exhaustive"]
fn ranges_of_six_bits_in_one_order() {
    let members = Members::new(6);
    let all = members.all_single_ranges();
    check_operations(&members, &all, &all);
    check_lattice(&members, &all, &all);
    check_conditions(&members, &all, &all);
}

#[test]
#[ignore = "fifteen minutes on two CPUs: just exhaustive"]
fn ranges_of_five_bits_in_both_orders() {
    let members = Members::new(5);
    let all = members.all_ranges();
    std::println!("{} pairs of ranges", all.len());
    check_operations(&members, &all, &all);
    check_lattice(&members, &all, &all);
    check_conditions(&members, &all, &all);
}

#[test]
#[ignore = "five minutes on two CPUs: just exhaustive"]
fn everything_that_can_be_known_of_four_bits() {
    let members = Members::new(4);
    let all = members.all_values();
    std::println!("{} abstract values", all.len());
    check_operations(&members, &all, &all);
    check_lattice(&members, &all, &all);
    check_conditions(&members, &all, &all);
}

#[test]
#[ignore = "ten seconds: just exhaustive"]
fn sharpening_loses_nothing_of_five_bits() {
    check_sharpening(&Members::new(5));
    check_ranges_are_all(&Members::new(5));
}

/// Nothing that sharpening makes of bits with ranges has ranges that are not in the list of all.
fn check_ranges_are_all(members: &Members) {
    let ranges: BTreeSet<_> = members.all_ranges().iter().map(|a| a.range).collect();
    let missing = members.all_values().into_iter().find(|value| !ranges.contains(&value.range));
    assert_eq!(missing, None);
}

#[test]
fn all_ranges_of_four_bits_are_listed() {
    check_ranges_are_all(&Members::new(4));
}
