//! Scalars: all 64 bits and the low 32 of the same number, on everything that can be known of
//! numbers whose halves are small.
//!
//! A number here has an upper half of one or two bits and a lower one of one to three, each
//! extended by its sign to 32: so both halves' signs, the carry between them and the wrapping of
//! either are a step away. What can be known are the joins of such numbers, and whatever bits,
//! ranges and ranges of the low half of several such joins may come together.

use super::{concrete, holds};
use crate::domain::{Bounds, Scalar, Tnum};
use crate::isa::{AluOp, ByteOrder, Cond, Size, Width, eval};
use std::collections::HashSet;
use std::vec::Vec;

/// What is known, and which of the numbers it holds.
type Known = (Scalar, Vec<u64>);

/// Numbers with so many bits in each half.
fn numbers(high: u32, low: u32) -> Vec<u64> {
    let small = |bits: u32| -(1i64 << (bits - 1))..1i64 << (bits - 1);
    small(high)
        .flat_map(|high| {
            small(low).map(move |low| (high << 32 | low & 0xffff_ffff).cast_unsigned())
        })
        .collect()
}

/// Numbers where loads, extensions and byte orders have their edges.
fn edges() -> Vec<u64> {
    let ones = [7u32, 8, 15, 16, 31, 32, 63].map(|bits| (1u64 << bits) - 1);
    let mut edges: Vec<u64> = ones.iter().flat_map(|&ones| [ones, ones + 1]).collect();
    edges.extend([0, u64::MAX, 0x8000_0000_0000_0080]);
    edges
}

fn key(scalar: &Scalar) -> ([u64; 6], [i64; 4]) {
    let (bits, wide, low) = (scalar.bits, scalar.wide, scalar.low);
    (
        [bits.value, bits.unknown, wide.umin, wide.umax, low.umin, low.umax],
        [wide.smin, wide.smax, low.smin, low.smax],
    )
}

fn with_members(numbers: &[u64], set: Scalar) -> Option<Known> {
    let members: Vec<u64> = numbers.iter().copied().filter(|&x| set.contains(x)).collect();
    (!members.is_empty()).then_some((set, members))
}

/// The joins of every subset.
fn joins(numbers: &[u64]) -> Vec<Known> {
    let exact: Vec<Scalar> = numbers.iter().map(|&x| Scalar::exactly(x)).collect();
    let mut seen: HashSet<_> = exact.iter().map(key).collect();
    let mut todo = exact.clone();
    let mut all = Vec::new();
    while let Some(set) = todo.pop() {
        todo.extend(exact.iter().map(|x| set.union(x)).filter(|join| seen.insert(key(join))));
        all.extend(with_members(numbers, set));
    }
    all
}

/// The bits of one join with the ranges of another and the low half's ranges of a third.
fn mixtures(numbers: &[u64]) -> Vec<Known> {
    let joins = joins(numbers);
    let range = |range: Bounds| (range.umin, range.umax, range.smin, range.smax);
    let bits: HashSet<_> =
        joins.iter().map(|(set, _)| (set.bits.value, set.bits.unknown)).collect();
    let wides: HashSet<_> = joins.iter().map(|(set, _)| range(set.wide)).collect();
    let lows: HashSet<_> = joins.iter().map(|(set, _)| range(set.low)).collect();
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for &(value, unknown) in &bits {
        for &(umin, umax, smin, smax) in &wides {
            for &low in &lows {
                let wide = Bounds { umin, umax, smin, smax };
                let (umin, umax, smin, smax) = low;
                let low = Bounds { umin, umax, smin, smax };
                let set = Scalar { bits: Tnum { value, unknown }, wide, low }.sharpened();
                if !set.is_empty() && seen.insert(key(&set)) {
                    all.extend(with_members(numbers, set));
                }
            }
        }
    }
    all
}

fn check_pairs(left: &[Known], right: &[Known]) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for first in 0..threads {
            scope.spawn(move || {
                for a in left.iter().skip(first).step_by(threads) {
                    right.iter().for_each(|b| check_pair(a, b));
                }
            });
        }
    });
}

fn check_pair((a, xs): &Known, (b, ys): &Known) {
    let pairs = || xs.iter().flat_map(|&x| ys.iter().map(move |&y| (x, y)));
    let either = a.union(b);
    assert!(xs.iter().chain(ys).all(|&x| either.contains(x)), "{a:x?} or {b:x?}");
    for &width in Width::ALL {
        for &op in AluOp::ALL {
            let result = a.alu(op, width, b);
            for (x, y) in pairs() {
                let z = at(width, x, y, |bits, x, y| concrete(bits, op, x, y));
                assert!(
                    result.contains(z),
                    "{op:?} {width:?}: {a:x?} {b:x?}: {x:#x} {y:#x} -> {z:#x}, {result:x?}"
                );
            }
        }
        for &cond in Cond::ALL {
            let ways = [true, false].map(|taken| Scalar::refine(cond, width, taken, a, b));
            for (x, y) in pairs() {
                let taken = at(width, x, y, |bits, x, y| u64::from(holds(bits, cond, x, y))) != 0;
                let (ra, rb) = &ways[usize::from(!taken)];
                assert!(
                    ra.contains(x) && rb.contains(y),
                    "{cond:?} {width:?} {taken}: {a:x?} {b:x?}: {x:#x} {y:#x}: {ra:x?} {rb:x?}"
                );
            }
        }
    }
}

fn at(width: Width, x: u64, y: u64, f: impl Fn(u32, u64, u64) -> u64) -> u64 {
    match width {
        Width::W64 => f(64, x, y),
        Width::W32 => f(32, x & 0xffff_ffff, y & 0xffff_ffff),
    }
}

fn check_each(all: &[Known]) {
    for (a, xs) in all {
        for &x in xs {
            let check = |what: &str, set: Scalar, y: u64| {
                assert!(set.contains(y), "{what}: {a:x?}: {x:#x} -> {y:#x}, {set:x?}");
            };
            check("low half", a.low_half(), x & 0xffff_ffff);
            check("sharpened", a.sharpened(), x);
            for &width in Width::ALL {
                check("negated", a.neg(width), eval::neg(width, x));
                for (size, bits) in [(Size::B, 8), (Size::H, 16), (Size::W, 32)] {
                    check("sign", a.sign_extended(bits, width), eval::mov_sx(width, size, x));
                }
            }
            for &order in ByteOrder::ALL {
                for size in [Size::H, Size::W, Size::Dw] {
                    check("order", a.swapped(order, size), eval::byte_order(order, size, x));
                }
            }
        }
    }
}

#[test]
fn joins_of_numbers_with_three_bits() {
    for (high, low) in [(1, 1), (1, 2), (2, 1)] {
        let joins = joins(&numbers(high, low));
        check_pairs(&joins, &joins);
        check_each(&joins);
    }
}

#[test]
fn mixtures_of_numbers_with_three_bits() {
    for (high, low) in [(1, 2), (2, 1)] {
        let numbers = numbers(high, low);
        let (joins, mixtures) = (joins(&numbers), mixtures(&numbers));
        check_each(&mixtures);
        let exact: Vec<Known> = joins.into_iter().filter(|(_, xs)| xs.len() == 1).collect();
        check_pairs(&mixtures, &exact);
        check_pairs(&exact, &mixtures);
    }
}

#[test]
fn joins_of_numbers_at_the_edges_of_sizes() {
    check_each(&joins(&edges()));
}

#[test]
#[ignore = "a minute: just exhaustive"]
fn mixtures_of_numbers_with_three_bits_in_pairs() {
    for (high, low) in [(1, 2), (2, 1)] {
        let mixtures = mixtures(&numbers(high, low));
        std::println!("{high}+{low}: {} scalars", mixtures.len());
        check_pairs(&mixtures, &mixtures);
    }
}

#[test]
#[ignore = "twenty minutes on two CPUs: just exhaustive"]
fn joins_of_numbers_with_four_bits() {
    for (high, low) in [(2, 2), (1, 3), (3, 1)] {
        let joins = joins(&numbers(high, low));
        std::println!("{high}+{low}: {} scalars", joins.len());
        check_pairs(&joins, &joins);
    }
}

#[test]
#[ignore = "a minute: just exhaustive"]
fn mixtures_of_numbers_with_four_bits() {
    let numbers = numbers(2, 2);
    let exact: Vec<Known> = joins(&numbers).into_iter().filter(|(_, xs)| xs.len() <= 2).collect();
    let mixtures = mixtures(&numbers);
    std::println!("{} scalars by {}", mixtures.len(), exact.len());
    check_each(&mixtures);
    check_pairs(&mixtures, &exact);
    check_pairs(&exact, &mixtures);
}
