//! What the time between two sweeps makes of a history: weights, and the lag of a mean.
//!
//! **Invariant**: what is remembered from row to row depends on the time alone.

use super::{Host, Lower};
use crate::arith::{self, Range, Val};
use crate::lir::{AluOp, Cond, Routine, VReg};
use crate::plan::Wave;

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
    /// What the time since the previous sweep means for a wave.
    ///
    /// In the kernel it is remembered from row to row: nearly all rows were last seen in the
    /// same sweep, so that the time is the same. A weight and a lag of 0 are right for the
    /// time 0, with which the memory starts.
    pub(super) fn passed(&mut self, wave: &Wave, dt: VReg, window: VReg) -> Passed {
        let wants_lag = wave.parts.slow.is_some();
        if self.host == Host::Vm {
            let passed = self.weigh(dt, window);
            let lag = wants_lag.then(|| self.lag(wave, dt, &passed));
            return Passed { lag, ..passed };
        }
        let [time, weight, lag] = [self.kept(), self.kept(), self.kept()];
        let remembered = self.f.place();
        let known = self.get(time, Range::ALL).in_reg(&mut self.f);
        self.branch(Cond::Eq, dt, known, remembered);
        let passed = self.weigh(dt, window);
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

    fn weigh(&mut self, dt: VReg, window: VReg) -> Passed {
        let kept = self.f.call(Routine::Decay, &[dt, window]);
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
