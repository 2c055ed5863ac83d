//! The faults that the suite must find, one by one.

use std::cell::Cell;
use std::string::String;

use super::{campaign, operators};

macro_rules! mutants {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A fault of the verifier.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Mutant { $($(#[$doc])* $name,)* }

        impl Mutant {
            const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

mutants! {
    /// A sum that wraps keeps its range.
    AddIgnoresOverflow,
    /// A difference below zero keeps its unsigned range.
    SubForgetsBorrow,
    /// The largest by the largest is left out of a signed product.
    MulForgetsCorner,
    /// A quotient by zero is not thought of.
    DivForgetsZero,
    /// A remainder by zero is not thought of.
    ModForgetsZero,
    /// Signed division by a negative number keeps the order.
    SdivForgetsSign,
    /// A signed remainder is never negative.
    SmodIsPositive,
    /// A left shift that loses bits keeps its range.
    ShlIgnoresOverflow,
    /// The least is shifted least.
    ShrSwapsAmounts,
    /// A negative number rises when it is shifted less.
    AshrForgetsSign,
    /// An unsigned range over the sign bit is taken for a signed one.
    SharpenAcrossSign,
    /// A merge keeps the unsigned maximum of one side.
    UnionForgetsSecond,
    /// The way past a branch learns that its condition holds.
    FalseIsTrue,
    /// `<` is one too sharp.
    LessIsMuchLess,
    /// `<=` is taken for `<`.
    AtMostIsLess,
    /// `s<=` is taken for `s<`.
    SignedAtMostIsLess,
    /// `s>` is taken for `>`.
    SignedIsUnsigned,
    /// What a 32-bit comparison teaches is believed of all 64 bits.
    HalfIsWhole,
    /// `!=` to some number of a range excludes the least of them.
    NotEqualToAny,
    /// No common bit with a number that is not known.
    NoneOfUnknown,
    /// Some of several bits is taken for all of them.
    SomeIsAll,
    /// A 32-bit result extends its sign.
    HalfSignExtends,
    /// Shifts and divisions of the low half are those of the whole.
    EveryOpKeepsLowHalf,
    /// A number that is cut keeps its range.
    CutKeepsRange,
    /// A load gives half of the numbers that it can.
    LoadTooSmall,
    /// A shift by more than the width does nothing.
    ShiftNotMasked,
    /// One byte more than the region.
    BoundTooLarge,
    /// Bytes before the region.
    NegativeOffset,
    /// The row may be written.
    RowIsWritable,
    /// A value that may be null is accessed.
    NullIsFine,
    /// Bytes of the stack are read that nothing wrote.
    StackIsSet,
    /// A store across two slots is one of the first.
    SpillRoundsDown,
    /// Pointers are stored where they can be read.
    PointersMayLeave,
    /// Helpers read what nothing wrote.
    ArgumentsAreSet,
    /// Of what a helper writes the second half is not seen.
    HelperWritesAll,
    /// The way where it is null is taken for the other.
    NullWaysSwapped,
    /// The comparing exchange sets its operand.
    CmpxchgSetsOperand,
    /// An atomic insn leaves memory as it was.
    AtomicStoresOld,
    /// The last round of a loop is not seen.
    LoopEndsEarly,
    /// A loop is never done to its end.
    LoopCountsShort,
    /// A function leaves the stack of its caller alone.
    WindowIsKept,
    /// A function is given more of the stack than was written.
    WindowTooLarge,
    /// r1 to r5 survive calls.
    CallKeepsArguments,
    /// What one of two ways wrote counts as written.
    JoinKeepsWritten,
    /// A value that one of two ways kept is remembered.
    JoinKeepsSpilled,
    /// A value is remembered though a byte of it was overwritten.
    PartialStoreKeepsValue,
    /// The bound follows the shorter way.
    BoundTakesShorter,
    /// A loop counts once.
    BoundForgetsRounds,
    /// A call counts as one insn.
    BoundForgetsCalls,
    /// What jumps to a place that is also fallen into is not seen.
    ArrivalIsLost,
    /// A pointer on one way and a number on the other are the pointer.
    JoinOfKindsKeepsFirst,
}

std::thread_local! {
    static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Whether this thread's verifier has the fault.
pub(crate) fn is_on(mutant: Mutant) -> bool {
    ON.get() == Some(mutant)
}

/// How the suite finds the fault that is on, if it does.
fn found(programs: u64) -> Option<String> {
    if let Err(what) = operators::check(0, 20_000) {
        return Some(what);
    }
    let step = 500;
    (0..programs / step).find_map(|round| campaign(round * step, step, 6).err())
}

#[test]
fn every_fault_is_found() {
    let mut missed = std::vec::Vec::new();
    for &mutant in Mutant::ALL {
        ON.set(Some(mutant));
        let start = std::time::Instant::now();
        // A fault may also show as an overflow or a failed assertion of the machine itself.
        let outcome = std::panic::catch_unwind(|| found(120_000));
        ON.set(None);
        match outcome {
            Ok(None) => missed.push(mutant),
            Ok(Some(what)) => {
                let what = what.lines().next().unwrap_or("");
                std::println!("{mutant:?} ({:?}): {what:.110}", start.elapsed());
            }
            Err(_) => std::println!("{mutant:?}: an assertion failed"),
        }
    }
    assert!(Mutant::ALL.len() >= 25);
    assert!(missed.is_empty(), "not found: {missed:?}");
    assert_eq!(found(2_000), None, "without a fault nothing is found");
}
