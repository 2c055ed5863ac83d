//! What the time between two sweeps makes of a history: its mean, weights, and the lag of a mean.
//!
//! **Invariant**: what is remembered from row to row depends on the time alone.

use super::{Host, Lower};
use crate::arith::{self, Range, Val};
use crate::lir::{AluOp, Base, Cond, Routine, VReg};
use crate::plan::Wave;

/// A mean after one more value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Advanced {
    pub(super) mean: VReg,
    /// How far the value is from the mean before, and how far that went towards it.
    pub(super) difference: VReg,
    pub(super) step: VReg,
    pub(super) passed: Passed,
}

/// What the time since the previous sweep means for a wave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passed {
    /// The weight of what was before, and that of the new value.
    pub(super) kept: VReg,
    pub(super) weight: VReg,
    /// The lag of the mean's mean, scaled; where it is needed.
    pub(super) lag: Option<Val>,
}

impl Lower<'_> {
    /// Advances the mean of a wave, in `state`, by the value `x`. The machine has this of its own,
    /// and what nobody asks for of the rest is dropped.
    pub(super) fn averaged(
        &mut self,
        wave: &Wave,
        state: VReg,
        x: VReg,
        [now, old_time, window]: [VReg; 3],
    ) -> Advanced {
        let (base, mean) = (Base::Reg(state), wave.parts.mean as i32);
        let dt = self.f.alu(AluOp::Sub, now, old_time);
        if self.host == Host::Bpf {
            let passed = self.passed(wave, dt, window);
            let old = self.f.load(base, mean);
            let difference = self.f.alu(AluOp::Sub, x, old);
            let step = arith::emit_scale(&mut self.f, difference, passed.weight);
            let new = self.f.alu(AluOp::Add, old, step);
            self.f.store(base, mean, new);
            return Advanced { mean: new, difference, step, passed };
        }
        let old = self.f.load(base, mean);
        let difference = self.f.alu(AluOp::Sub, x, old);
        let average = self.f.alu(AluOp::Add, state, wave.parts.time as i32);
        let kept = self.f.call(Routine::Average, &[average, x, now, window]);
        let passed = self.weighed(kept);
        let lag = wave.parts.slow.map(|_| self.lag(wave, dt, &passed));
        let step = arith::emit_scale(&mut self.f, difference, passed.weight);
        let new = self.f.load(base, mean);
        Advanced { mean: new, difference, step, passed: Passed { lag, ..passed } }
    }

    /// What the time since the previous sweep means for a wave.
    ///
    /// It is remembered from row to row: nearly all rows were last seen in the same sweep, so
    /// that the time is the same. A weight and a lag of 0 are right for the time 0, with which
    /// the memory starts.
    fn passed(&mut self, wave: &Wave, dt: VReg, window: VReg) -> Passed {
        let wants_lag = wave.parts.slow.is_some();
        let [time, weight, lag] = [self.kept(), self.kept(), self.kept()];
        let remembered = self.f.place();
        let known = self.get(time, Range::ALL).in_reg(&mut self.f);
        self.branch(Cond::Eq, dt, known, remembered);
        let kept = self.f.call(Routine::Decay, &[dt, window]);
        let passed = self.weighed(kept);
        self.put(time, Val::reg(dt, Range::ALL));
        self.put(weight, Val::reg(passed.weight, Range::ALL));
        if wants_lag {
            let value = self.lag(wave, dt, &passed);
            self.put(lag, value);
        }
        self.bind(remembered);
        let part = Range::new(0, crate::history::ONE);
        let weight = self.get(weight, part).in_reg(&mut self.f);
        let one = self.f.constant(crate::history::ONE);
        let kept = self.f.alu(AluOp::Sub, one, weight);
        let lag = wants_lag.then(|| self.get(lag, Range::NATURAL));
        Passed { kept, weight, lag }
    }

    fn weighed(&mut self, kept: VReg) -> Passed {
        let one = self.f.constant(crate::history::ONE);
        let weight = self.f.alu(AluOp::Sub, one, kept);
        Passed { kept, weight, lag: None }
    }

    /// By how long the mean's mean lags behind the mean, times what [`Lower::slope`] leaves
    /// of the scale.
    fn lag(&mut self, wave: &Wave, dt: VReg, passed: &Passed) -> Val {
        let dt = Val::reg(dt, Range::NATURAL);
        let part = Range::new(0, crate::history::ONE);
        let (kept, weight) = (Val::reg(passed.kept, part), Val::reg(passed.weight, part));
        let lag = arith::emit_mul_div(&mut self.f, dt, kept, weight);
        let bits = u32::from(wave.fraction_bits) - self.shared_bits(wave);
        arith::emit_mul(&mut self.f, lag, Val::constant(1 << bits))
    }

    /// How often 2 divides both a rate's scale and the fraction's `2^bits`.
    pub(super) fn shared_bits(&self, wave: &Wave) -> u32 {
        u32::from(wave.fraction_bits).min(self.rate_scale(wave.arg).trailing_zeros())
    }
}
