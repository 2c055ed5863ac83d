//! Faults on purpose, to test the tests.
//!
//! `mutant!(Name, right, wrong)` is `right`. Only in this crate's own unit tests can a fault
//! be switched on, in one thread; no other build contains the second expression at all.

/// The right expression; in unit tests the wrong one while its fault is switched on.
#[cfg(not(test))]
macro_rules! mutant {
    ($name:ident, $right:expr, $wrong:expr) => {
        $right
    };
}

/// The right expression, or the wrong one while its fault is switched on.
#[cfg(test)]
macro_rules! mutant {
    ($name:ident, $right:expr, $wrong:expr) => {
        if crate::soundness::mutants::is_on(crate::soundness::mutants::Mutant::$name) {
            $wrong
        } else {
            $right
        }
    };
}
