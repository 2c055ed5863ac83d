//! The layout of a row's state.

use kernel_vm::schema::{Type, Unit};

use super::{Plan, live};
use crate::hir::{ExprId, ExprKind, Filter, HistoryFn};

/// The last value of an argument and when it was seen: `rate` and `delta`.
#[derive(Clone, Copy, Debug)]
pub struct Track {
    /// The argument.
    pub arg: ExprId,
    /// Bytes from the state's start: the value, then the time.
    pub offset: u32,
}

/// The running moments of an argument over a half-life.
#[derive(Clone, Copy, Debug)]
pub struct Wave {
    /// The argument.
    pub arg: ExprId,
    /// The half-life.
    pub window: ExprId,
    /// How many bits after the point its numbers have.
    pub fraction_bits: u8,
    /// Where its parts stand.
    pub parts: WaveParts,
}

/// Bytes from the state's start of a wave's parts, 8 bytes each; those that no function
/// needs are absent.
#[derive(Clone, Copy, Debug)]
pub struct WaveParts {
    /// When the first value was seen; 0 for never.
    pub start: u32,
    /// When the last value was seen.
    pub time: u32,
    /// The mean, right behind the time: both are the machine's average.
    pub mean: u32,
    /// The variance, 16 bytes, low half first.
    pub variance: Option<u32>,
    /// The peak.
    pub peak: Option<u32>,
    /// The mean's mean.
    pub slow: Option<u32>,
}

/// Bits after the point for values of type `ty`: numbers of things are small and need
/// more.
fn fraction_bits(ty: Type) -> u8 {
    match ty {
        Type::Int(Unit::Count) => 16,
        Type::Int(
            Unit::Bytes
            | Unit::Duration
            | Unit::Ratio
            | Unit::Instant
            | Unit::Id
            | Unit::Address
            | Unit::Device
            | Unit::Bits,
        )
        | Type::PerSecond(_)
        | Type::Bool
        | Type::Text { .. }
        | Type::Enum(_)
        | Type::Thread
        | Type::Object => 8,
    }
}

impl Plan {
    pub(super) fn place_history(&mut self, filter: &Filter) {
        for (expr, live) in filter.exprs.iter().zip(live(filter)) {
            if !live {
                continue;
            }
            if let ExprKind::Held(..) = expr.kind {
                self.held = Some(self.place_state(8));
            }
            let ExprKind::History(history) = expr.kind else { continue };
            if let Some(window) = history.window {
                let bits = fraction_bits(filter.expr(history.arg).ty);
                self.place_wave(history.function, history.arg, window, bits);
            } else {
                self.place_track(history.arg);
            }
        }
    }

    fn place_state(&mut self, bytes: u32) -> u32 {
        let offset = self.state_size;
        self.state_size += bytes;
        offset
    }

    fn place_track(&mut self, arg: ExprId) {
        if !self.tracks.iter().any(|track| track.arg == arg) {
            let offset = self.place_state(16);
            self.tracks.push(Track { arg, offset });
        }
    }

    fn place_wave(&mut self, function: HistoryFn, arg: ExprId, window: ExprId, bits: u8) {
        let known = self.waves.iter().position(|w| w.arg == arg && w.window == window);
        let index = known.unwrap_or_else(|| {
            let start = self.place_state(24);
            let parts = WaveParts {
                start,
                time: start + 8,
                mean: start + 16,
                variance: None,
                peak: None,
                slow: None,
            };
            self.waves.push(Wave { arg, window, fraction_bits: bits, parts });
            self.waves.len() - 1
        });
        let mut parts = self.waves[index].parts;
        match function {
            HistoryFn::Deviation | HistoryFn::Zscore => {
                parts.variance = parts.variance.or_else(|| Some(self.place_state(16)));
            }
            HistoryFn::Peak => parts.peak = parts.peak.or_else(|| Some(self.place_state(8))),
            HistoryFn::Slope => parts.slow = parts.slow.or_else(|| Some(self.place_state(8))),
            HistoryFn::Mean | HistoryFn::Rate | HistoryFn::Delta => {}
        }
        self.waves[index].parts = parts;
    }
}
