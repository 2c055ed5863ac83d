//! How many destructive acts are allowed: a watchdog gone wrong must not empty a machine.
//!
//! **Invariant**: within any window of a rule at most its number of acts is granted.

use kernel_vm::abi::ACT_BUDGET;
use std::collections::VecDeque;

/// At most `.1` acts within `.0` nanoseconds, for each of the two rules.
#[derive(Clone, Debug)]
pub struct Budget {
    rules: [(i64, usize); 2],
    granted_ns: VecDeque<i64>,
}

impl Default for Budget {
    /// One in 15 seconds, three in 10 minutes.
    fn default() -> Self {
        Self::new(ACT_BUDGET)
    }
}

impl Budget {
    /// A budget with two rules of (window in nanoseconds, most acts).
    #[must_use]
    pub fn new(rules: [(i64, usize); 2]) -> Self {
        Self { rules, granted_ns: VecDeque::new() }
    }

    /// Whether one more act is allowed at `now_ns`.
    #[must_use]
    pub fn allows(&self, now_ns: i64) -> bool {
        self.rules.iter().all(|&(window_ns, most)| {
            let recent =
                self.granted_ns.iter().filter(|&&at| now_ns.saturating_sub(at) < window_ns).count();
            recent < most
        })
    }

    /// Counts an act.
    pub fn spend(&mut self, now_ns: i64) {
        let longest = self.rules.iter().map(|rule| rule.0).max().unwrap_or(0);
        while self.granted_ns.front().is_some_and(|&at| now_ns.saturating_sub(at) >= longest) {
            self.granted_ns.pop_front();
        }
        self.granted_ns.push_back(now_ns);
    }
}
