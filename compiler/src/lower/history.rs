//! Functions of a row's past: advanced once a sweep, looked at where they are needed.
//!
//! **Invariant**: an unknown argument leaves the state as it is.

use std::collections::HashMap;

use kernel_vm::abi::{FIXED_ONE, PER_SECOND_SCALE};
use kernel_vm::schema::{Type, Unit};

use super::kept::Kept;
use super::passed::{Advanced, Passed};
use super::{Host, Lower, Unknown};
use crate::arith::{self, Range, Val};
use crate::hir::{ExprId, ExprKind, HistoryFn};
use crate::lir::{AluOp, Base, Cond, Place, Routine, VReg};
use crate::plan::{Track, Wave, WaveParts};

/// The status of a history whose argument could not be read.
const UNREADABLE: i64 = 2;
/// The status of a history that has not seen enough.
const WARMING: i64 = 3;
/// What advancing the histories left behind in this sweep.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    pub(super) state: Option<VReg>,
    tracks: HashMap<ExprId, Step>,
    waves: HashMap<(ExprId, ExprId), Moments>,
}

impl Past {
    pub(super) fn base(&self) -> Option<Base> {
        self.state.map(Base::Reg)
    }
}

/// The change of a tracked argument; `status` is 0 when there is one.
#[derive(Clone, Copy, Debug)]
struct Step {
    status: Kept,
    delta: Kept,
    range: Range,
    dt: Kept,
}

/// Where a wave's results are; `status` is 0 when they may be reported.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    pub(super) status: Kept,
    mean: Kept,
    /// Where the state has the variance, and the bits after the point of its root.
    pub(super) variance: Option<(i32, i32)>,
    /// What a score needs: how far this sweep's value is from the mean before, and the
    /// variance before, its low word first.
    pub(super) difference: Kept,
    pub(super) before: [Kept; 2],
    peak: Kept,
    slope: Kept,
}

impl Lower<'_> {
    /// Advances every history by one sweep, arguments before the functions of them.
    pub(super) fn advance(&mut self) {
        let mut arguments: Vec<(ExprId, usize, bool)> = Vec::new();
        arguments.extend(self.plan.tracks.iter().enumerate().map(|(i, t)| (t.arg, i, true)));
        arguments.extend(self.plan.waves.iter().enumerate().map(|(i, w)| (w.arg, i, false)));
        arguments.sort();
        for (arg, index, track) in arguments {
            self.mark(arg);
            if track {
                self.advance_track(self.plan.tracks[index]);
            } else {
                self.advance_wave(self.plan.waves[index]);
            }
        }
    }

    /// The places to go to when an argument is unknown: they set `status` and meet at
    /// `done`, after `body` has written `results`.
    fn with_status(
        &mut self,
        results: &[Kept],
        body: impl FnOnce(&mut Self, Kept, Unknown, Place),
    ) -> Kept {
        let status = self.kept_later();
        let [unreadable, warming, done] = [self.f.place(), self.f.place(), self.f.place()];
        body(self, status, Unknown { unreadable, warming }, done);
        self.jump(done);
        for (place, why) in [(unreadable, UNREADABLE), (warming, WARMING)] {
            self.bind(place);
            self.put(status, Val::constant(why));
            for &result in results {
                self.blank(result);
            }
            self.jump(done);
        }
        self.bind(done);
        status
    }

    fn advance_track(&mut self, track: Track) {
        let Some(base) = self.past.base() else { return };
        let offset = track.offset as i32;
        let (delta, dt) = (self.kept_later(), self.kept_later());
        let mut range = Range::ALL;
        let status = self.with_status(&[delta, dt], |lower, status, unknown, _done| {
            let value = lower.value(track.arg, unknown);
            let now = lower.now();
            let last = lower.f.load(base, offset);
            let time = lower.f.load(base, offset + 8);
            let reg = value.in_reg(&mut lower.f);
            lower.f.store(base, offset, reg);
            lower.f.store(base, offset + 8, now);
            lower.branch(Cond::Eq, time, 0, unknown.warming);
            let change = arith::emit_sub(&mut lower.f, value, Val::reg(last, value.range));
            range = change.range;
            lower.put(delta, change);
            let passed = lower.f.alu(AluOp::Sub, now, time);
            lower.put(dt, Val::reg(passed, Range::NATURAL));
            lower.put(status, Val::constant(0));
        });
        self.past.tracks.insert(track.arg, Step { status, delta, range, dt });
    }

    /// The value of a history function; goes to `unknown` if it has none.
    pub(super) fn remembered(&mut self, id: ExprId, unknown: Unknown) -> Val {
        let ExprKind::History(history) = self.filter.expr(id).kind else {
            unreachable!("only called for histories");
        };
        let Some(window) = history.window else {
            let step = self.past.tracks[&history.arg];
            self.check(step.status, unknown);
            let delta = self.get(step.delta, step.range);
            if history.function != HistoryFn::Rate {
                return delta;
            }
            let scale = self.rate_scale(history.arg);
            let dt = self.get(step.dt, Range::NATURAL);
            return arith::emit_mul_div(&mut self.f, delta, Val::constant(scale), dt);
        };
        let wave = self.past.waves[&(history.arg, window)];
        self.check(wave.status, unknown);
        let result = match history.function {
            HistoryFn::Mean => wave.mean,
            HistoryFn::Deviation => return self.deviation(wave),
            HistoryFn::Zscore => return self.score(wave),
            HistoryFn::Peak => wave.peak,
            HistoryFn::Slope => wave.slope,
            HistoryFn::Rate | HistoryFn::Delta => unreachable!("these have no window"),
        };
        self.get(result, Range::ALL)
    }

    /// What a change in nanoseconds is multiplied with: growth of time is a ratio, that of
    /// anything else so many millionths a second.
    pub(super) fn rate_scale(&self, arg: ExprId) -> i64 {
        let of_time = self.filter.expr(arg).ty == Type::Int(Unit::Duration);
        if of_time { FIXED_ONE } else { PER_SECOND_SCALE }
    }

    pub(super) fn check(&mut self, status: Kept, unknown: Unknown) {
        let status = self.get(status, Range::new(0, WARMING)).in_reg(&mut self.f);
        if self.host == Host::Vm {
            let known = self.f.place();
            self.branch(Cond::Eq, status, 0, known);
            self.branch(Cond::Eq, status, WARMING as i32, unknown.warming);
            self.jump(unknown.unreadable);
            return self.bind(known);
        }
        self.branch(Cond::Eq, status, WARMING as i32, unknown.warming);
        self.branch(Cond::Ne, status, 0, unknown.unreadable);
    }

    fn wants(&self, wave: &Wave, function: HistoryFn) -> bool {
        let live = crate::plan::live(self.filter);
        self.filter.exprs.iter().zip(live).any(|(expr, live)| {
            live && matches!(expr.kind, ExprKind::History(h)
                if h.function == function && h.arg == wave.arg && h.window == Some(wave.window))
        })
    }

    fn advance_wave(&mut self, wave: Wave) {
        let Some(state) = self.past.state else { return };
        let base = Base::Reg(state);
        let WaveParts { start, time, mean, variance, peak, slow } = wave.parts;
        let regs = Moments {
            status: Kept::Memory(0),
            mean: self.kept_later(),
            variance: variance.map(|offset| (offset as i32, i32::from(wave.fraction_bits))),
            difference: self.kept_later(),
            before: [self.kept_later(), self.kept_later()],
            peak: self.kept_later(),
            slope: self.kept_later(),
        };
        let [low, high] = regs.before;
        let results = [regs.mean, regs.difference, low, high, regs.peak, regs.slope];
        let bits = i32::from(wave.fraction_bits);
        let status = self.with_status(&results, |lower, status, unknown, done| {
            let value = lower.value(wave.arg, unknown);
            let window = lower.value(wave.window, unknown).in_reg(&mut lower.f);
            let x = lower.fixed_point(value, bits);
            let x = lower.merged(x);
            let now = lower.now();
            let began = lower.f.load(base, start as i32);
            let old_time = lower.f.load(base, time as i32);
            if lower.host == Host::Bpf {
                lower.f.store(base, time as i32, now);
            }
            let going = lower.f.place();
            lower.branch(Cond::Ne, began, 0, going);
            lower.f.store(base, start as i32, now);
            if lower.host == Host::Vm {
                lower.f.store(base, time as i32, now);
            }
            for part in [Some(mean), peak, slow].into_iter().flatten() {
                lower.f.store(base, part as i32, x);
            }
            lower.jump(unknown.warming);

            lower.bind(going);
            let times = [now, old_time, window];
            let advanced = lower.averaged(&wave, state, x, times);
            let Advanced { mean: new, passed, .. } = advanced;
            lower.rounded(regs.mean, new, bits);
            if let Some(variance) = variance {
                lower.spread(&wave, (state, variance as i32), advanced, &regs);
            }
            if let Some(peak) = peak {
                let old = lower.f.load(base, peak as i32);
                let top = lower.faded(x, old, passed.kept);
                lower.f.store(base, peak as i32, top);
                lower.rounded(regs.peak, top, bits);
            }
            if let Some(slow) = slow {
                lower.slope(&wave, slow as i32, new, passed, regs.slope);
            }
            let age = lower.f.alu(AluOp::Sub, now, began);
            lower.put(status, Val::constant(WARMING));
            lower.branch(Cond::Slt, age, window, done);
            lower.put(status, Val::constant(0));
        });
        self.past.waves.insert((wave.arg, wave.window), Moments { status, ..regs });
    }

    /// `value` with `bits` after the point, held within 62 bits.
    fn fixed_point(&mut self, value: Val, bits: i32) -> VReg {
        let most = (1_i64 << (62 - bits)) - 1;
        let mut value = value;
        if value.range.hi > most {
            value = arith::emit_pick(&mut self.f, Cond::Slt, value, Val::constant(most));
        }
        if value.range.lo < -most {
            value = arith::emit_pick(&mut self.f, Cond::Sgt, value, Val::constant(-most));
        }
        let reg = value.in_reg(&mut self.f);
        self.f.alu(AluOp::Lsh, reg, bits)
    }

    /// Keeps `reg` without its fraction, to the nearest.
    fn rounded(&mut self, to: Kept, reg: VReg, bits: i32) {
        let half = self.f.alu(AluOp::Add, reg, 1 << (bits - 1));
        let whole = self.f.alu(AluOp::Arsh, half, bits);
        self.put(to, Val::reg(whole, Range::ALL));
    }

    /// Keeps what a score needs, then makes the variance that of this sweep.
    fn spread(
        &mut self,
        wave: &Wave,
        (state, offset): (VReg, i32),
        Advanced { difference, step, passed, .. }: Advanced,
        regs: &Moments,
    ) {
        let (moves, still) = (self.f.place(), self.f.place());
        let mut before = None;
        if self.wants(wave, HistoryFn::Zscore) {
            let (low, high) = self.variance(offset);
            before = Some((low, high)).filter(|_| self.host == Host::Vm);
            let kept =
                [(regs.difference, difference), (regs.before[0], low), (regs.before[1], high)];
            for (kept, reg) in kept {
                self.put(kept, Val::reg(reg, Range::ALL));
            }
        }
        // A value that has never changed has no variance, and most are such.
        self.branch(Cond::Ne, difference, 0, moves);
        let (low, high) = before.unwrap_or_else(|| self.variance(offset));
        let any = self.f.alu(AluOp::Or, low, high);
        self.branch(Cond::Eq, any, 0, still);
        self.bind(moves);
        let variance = self.f.alu(AluOp::Add, state, offset);
        match self.host {
            Host::Bpf => {
                let numbers = [difference, step, passed.kept];
                crate::history::quick_spread(&mut self.f, variance, numbers);
            }
            Host::Vm => {
                self.f.call(Routine::Spread, &[variance, difference, passed.kept]);
            }
        }
        self.bind(still);
    }

    /// What is known of a wave, once it has been advanced.
    pub(super) fn moments(&self, arg: ExprId, window: ExprId) -> Option<Moments> {
        self.past.waves.get(&(arg, window)).copied()
    }

    /// The root is taken where it is asked for: most rows have failed another condition before.
    fn deviation(&mut self, wave: Moments) -> Val {
        let ((low, high), bits) = self.variance_after(wave);
        let root = self.f.call(Routine::Root, &[low, high]);
        let half = self.f.alu(AluOp::Add, root, 1 << (bits - 1));
        let whole = self.f.alu(AluOp::Rsh, half, bits);
        Val::reg(whole, Range::NATURAL)
    }

    /// The score of the difference against the deviation before.
    fn score(&mut self, wave: Moments) -> Val {
        let Some((_, bits)) = wave.variance else { unreachable!("the plan keeps it") };
        let result = self.kept();
        self.put(result, Val::constant(0));
        let done = self.f.place();
        let difference = self.get(wave.difference, Range::ALL).in_reg(&mut self.f);
        self.branch(Cond::Eq, difference, 0, done);
        let [low, high] = wave.before.map(|word| self.get(word, Range::ALL).in_reg(&mut self.f));
        let root = self.root(low, high);
        let unit = Val::constant(1 << bits);
        let deviation = arith::emit_pick(&mut self.f, Cond::Sgt, root, unit);
        let score =
            arith::emit_mul_div_of_both_signs(&mut self.f, difference, FIXED_ONE, deviation);
        self.put(result, Val::reg(score, Range::ALL));
        self.bind(done);
        self.get(result, Range::ALL)
    }

    /// The variance that this sweep has left, and the bits after the point of its root.
    pub(super) fn variance_after(&mut self, wave: Moments) -> ((VReg, VReg), i32) {
        let Some((offset, bits)) = wave.variance else { unreachable!("the plan keeps it") };
        (self.variance(offset), bits)
    }

    fn variance(&mut self, offset: i32) -> (VReg, VReg) {
        let Some(base) = self.past.base() else { unreachable!("a wave has state") };
        (self.f.load(base, offset), self.f.load(base, offset + 8))
    }

    /// The square root of a variance.
    fn root(&mut self, low: VReg, high: VReg) -> Val {
        if self.host == Host::Vm {
            return Val::reg(self.f.call(Routine::Root, &[low, high]), Range::NATURAL);
        }
        let root = self.kept();
        let Kept::Memory(offset) = root else { unreachable!("the host keeps values in memory") };
        crate::history::quick_root(&mut self.f, (low, high), |f, root| {
            f.store(Base::Scratch, offset, root);
        });
        self.get(root, Range::NATURAL)
    }

    /// The larger of `x` and the old peak after fading towards `x`.
    fn faded(&mut self, x: VReg, old: VReg, kept: VReg) -> VReg {
        let top = self.f.reg();
        let done = self.f.place();
        self.f.mov(top, x);
        self.branch(Cond::Sle, old, x, done);
        let above = self.f.alu(AluOp::Sub, old, x);
        let left = arith::emit_scale(&mut self.f, above, kept);
        self.f.alu_into(top, AluOp::Add, x, left);
        self.bind(done);
        top
    }

    /// How far the mean's mean lags behind the mean, over the time of that lag: what a steady
    /// growth leaves between them.
    fn slope(&mut self, wave: &Wave, slow: i32, mean: VReg, passed: Passed, to: Kept) {
        let (Some(base), Some(lag)) = (self.past.base(), passed.lag) else { return };
        let old = self.f.load(base, slow);
        let difference = self.f.alu(AluOp::Sub, mean, old);
        let step = arith::emit_scale(&mut self.f, difference, passed.weight);
        let new = self.f.alu(AluOp::Add, old, step);
        self.f.store(base, slow, new);
        let gap = self.f.alu(AluOp::Sub, mean, new);
        let done = self.f.place();
        self.put(to, Val::constant(0));
        self.branch(Cond::Eq, gap, 0, done);
        // The scale of a rate is divided by the fraction's 2^bits as far as that goes; what
        // is left of it multiplies the lag.
        let scale = self.rate_scale(wave.arg) >> self.shared_bits(wave);
        let slope = arith::emit_mul_div_of_both_signs(&mut self.f, gap, scale, lag);
        let slope = Val::reg(slope, Range::ALL);
        self.put(to, slope);
        self.bind(done);
    }
}
