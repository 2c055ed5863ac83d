//! The domain's operators at 64 bits: random members of random sets.

use std::format;
use std::string::String;

use crate::domain::Scalar;
use crate::isa::{AluOp, ByteOrder, Cond, Size, Width, eval, scatter};

/// Numbers near edges more often than others.
fn number(state: &mut u64) -> u64 {
    let bits = scatter(state);
    let edge = 1u64.wrapping_shl((bits >> 8) as u32);
    match bits & 7 {
        0 => bits >> 58,
        1 => edge.wrapping_sub(bits >> 62),
        2 => edge.wrapping_neg().wrapping_add(bits >> 62),
        3 => (bits >> 32) as u32 as i32 as i64 as u64,
        4 => bits >> (bits & 63),
        _ => scatter(state),
    }
}

/// A set and one of its members.
fn set(state: &mut u64) -> (Scalar, u64) {
    let member = number(state);
    let bits = scatter(state);
    let others = bits & 3;
    let mut set = Scalar::exactly(member);
    for _ in 0..others {
        let near = member.wrapping_add(scatter(state) >> (60 - (bits >> 56 & 31)));
        let other = if bits & 4 == 0 { near } else { number(state) };
        set = set.union(&Scalar::exactly(other));
    }
    let set = match bits >> 3 & 7 {
        0 => Scalar::any(),
        1 => Scalar { bits: Scalar::any().bits, ..set }.sharpened(),
        2 => Scalar { wide: Scalar::any().wide, ..set }.sharpened(),
        3 => Scalar { low: Scalar::any().low, ..set }.sharpened(),
        _ => set.sharpened(),
    };
    (set, member)
}

/// Tries every operator on sets by chance; the error names one that lost a member.
pub(super) fn check(seed: u64, rounds: u64) -> Result<(), String> {
    let mut state = seed;
    for _ in 0..rounds {
        let ((a, x), (b, y)) = (set(&mut state), set(&mut state));
        if !(a.contains(x) && b.contains(y)) {
            return Err(format!("a set lost its member: {a:x?} {x:#x}, {b:x?} {y:#x}"));
        }
        let bits = scatter(&mut state);
        let width = Width::ALL[(bits & 1) as usize];
        let holds = |what: &str, set: Scalar, z: u64| {
            let held = set.contains(z);
            held.then_some(())
                .ok_or_else(|| format!("{what} {width:?}: {a:x?} {b:x?}: {x:#x} {y:#x} -> {z:#x}"))
        };
        for &op in AluOp::ALL {
            holds(op.symbol(), a.alu(op, width, &b), eval::alu(width, op, x, y))?;
        }
        holds("-", a.neg(width), eval::neg(width, x))?;
        holds("low half", a.low_half(), eval::mov(Width::W32, x))?;
        holds("union", a.union(&b), x)?;
        holds("union", a.union(&b), y)?;
        for (size, bits) in [(Size::B, 8), (Size::H, 16), (Size::W, 32)] {
            holds("sign", a.sign_extended(bits, width), eval::mov_sx(width, size, x))?;
            holds("load", Scalar::loaded(size, false), eval::zero_extend(size, x))?;
            holds("load", Scalar::loaded(size, true), eval::sign_extend(size, x))?;
        }
        for &order in ByteOrder::ALL {
            for size in [Size::H, Size::W, Size::Dw] {
                holds("order", a.swapped(order, size), eval::byte_order(order, size, x))?;
            }
        }
        for &cond in Cond::ALL {
            let taken = eval::condition(width, cond, x, y);
            let (ra, rb) = Scalar::refine(cond, width, taken, &a, &b);
            holds(cond.symbol(), ra, x)?;
            holds(cond.symbol(), rb, y)?;
        }
    }
    Ok(())
}

#[test]
fn members_stay_members() {
    check(1, 100_000).unwrap_or_else(|what| panic!("{what}"));
}
