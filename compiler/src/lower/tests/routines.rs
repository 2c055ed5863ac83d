//! The routines by themselves, against 128-bit integers.

use kernel_vm::arith::history;
use proptest::prelude::*;

use super::machine::{Machine, STATE};
use super::random::edgy;
use super::reference;
use crate::lir::Routine;
use crate::target::routine;

fn run(wanted: Routine, state: Vec<u8>, args: &[u64]) -> (u64, Vec<u8>) {
    let code: Vec<u8> =
        routine::code(wanted).slots.into_iter().flat_map(crate::code::Slot::to_bytes).collect();
    let mut machine = Machine::new(Vec::new(), state, Vec::new());
    let r0 = machine.run(&code, args).expect("a sound routine");
    (r0, machine.block(STATE).to_vec())
}

fn variance_bytes(variance: i128) -> Vec<u8> {
    variance.to_le_bytes().to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn mul_div_is_exact(a in edgy(), b in edgy(), c in edgy()) {
        let (found, _) = run(Routine::MulDiv, Vec::new(), &[a as u64, b as u64, c as u64]);
        let exact = reference::mul_div(a.into(), b.into(), c.into());
        prop_assert_eq!(i128::from(found as i64), exact);
    }

    #[test]
    fn decay_follows_its_formula(dt in edgy(), half_life in edgy()) {
        let (found, _) = run(Routine::Decay, Vec::new(), &[dt as u64, half_life as u64]);
        prop_assert_eq!(i128::from(found), reference::decay(dt.into(), half_life.into()));
    }

    #[test]
    fn decay_is_close_to_the_real_power(half_life in 1_i64..i64::MAX, part in 0.0_f64..8.0) {
        let dt = (half_life as f64 * part) as i64;
        let real = (-(dt as f64) / half_life as f64).exp2() * 4294967296.0;
        let found = reference::decay(dt.into(), half_life.into()) as f64;
        prop_assert!((found - real).abs() < 6.0, "{found} for {real}");
    }

    #[test]
    fn root_is_exact_on_the_bits_that_it_looks_at(high in 0_u64..1 << 62, low: u64, shift in 0..126) {
        let variance = (i128::from(high) << 64 | i128::from(low)) >> shift;
        let (found, _) = run(Routine::Root, Vec::new(), &[variance as u64, (variance >> 64) as u64]);
        prop_assert_eq!(i128::from(found), reference::root(variance));
        // Never above the real root, and not below it by more than one part in 2^15.
        let found = i128::from(found);
        prop_assert!(found * found <= variance);
        let above = found + (found >> 15) + 1;
        prop_assert!(above.checked_mul(above).is_none_or(|square| square > variance));
    }

    #[test]
    fn root_is_exact_around_squares(size in 0_u32..31, root: u32, beside in -1_i64..=1) {
        let root = i64::from(root >> size >> 1);
        let variance = (root * root + beside).max(0);
        let (found, _) = run(Routine::Root, Vec::new(), &[variance as u64, 0]);
        prop_assert_eq!(found, variance.isqrt() as u64);
    }

    #[test]
    fn spread_is_exact(
        high in 0_u64..1 << 61, low: u64, difference in -(i64::MAX - 1)..i64::MAX,
        shift in 0..62, kept in 0_i64..=1 << 32,
    ) {
        let variance = (i128::from(high) << 64 | i128::from(low)) >> shift;
        let difference: i64 = difference >> shift;
        let args = [STATE, difference as u64, kept as u64];
        let (_, state) = run(Routine::Spread, variance_bytes(variance), &args);
        let found = i128::from_le_bytes(state.try_into().expect("sixteen bytes"));
        prop_assert_eq!(found, reference::spread(variance, difference.into(), i128::from(kept)));
        let mut machine = [variance as u64, (variance >> 64) as u64].map(u64::to_le_bytes);
        history::spread(&mut machine, &[difference as u64, kept as u64]);
        prop_assert_eq!(&found.to_le_bytes()[..], machine.as_flattened());
    }

    /// What the machine's helper does of any numbers at all, the routine does.
    #[test]
    fn the_machine_decays_and_takes_roots_as_the_routines_do(
        dt in edgy(), half_life in edgy(), high in 0_u64..1 << 62, low: u64, shift in 0..126,
    ) {
        let (found, _) = run(Routine::Decay, Vec::new(), &[dt as u64, half_life as u64]);
        prop_assert_eq!(found as i64, history::decay(dt, half_life));
        let variance = (u128::from(high) << 64 | u128::from(low)) >> shift;
        let (found, _) = run(Routine::Root, Vec::new(), &[variance as u64, (variance >> 64) as u64]);
        prop_assert_eq!(found, history::root(variance));
    }
}
