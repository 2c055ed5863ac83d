//! The system call of a blocked thread: proc_pid_syscall(5).

use super::lock::{BELOW_CEILING, CONTENDED};

/// The numbers of futex(2) on x86-64, and of what becomes of it when a thread that waits
/// with a timeout has been stopped and goes on: restart_syscall(2), with the arguments as
/// they were.
const SYSCALLS: [u64; 2] = [202, 219];
/// The same, and `futex_time64`, in programs of 32 bits.
const SYSCALLS_32: [u64; 3] = [240, 422, 0];
/// All of a program of 32 bits lies below.
const END_32: u64 = 1 << 32;
/// Operations without FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME.
const OPERATION_MASK: u64 = 0x7f;

/// How far from the stack pointer the word may be that a parked thread waits for.
const OWN_STACK_BYTES: u64 = 512;

/// What a thread asks of a futex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// To wait until it changes.
    Wait,
    /// FUTEX_LOCK_PI or FUTEX_LOCK_PI2: the kernel itself knows the owner.
    Inherit,
    /// To wait for ever on a word of its own stack: what the C libraries do when the kernel
    /// refuses to close a cycle.
    Parked {
        /// The stack pointer.
        stack: u64,
    },
}

/// A wait on a futex that may be a lock's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Futex {
    /// Address of the futex word.
    pub address: u64,
    /// What is asked of it.
    pub operation: Operation,
    /// The value that the word was expected to have.
    pub expected: u32,
    /// A program of 32 bits asks.
    pub is_32: bool,
}

impl Futex {
    /// Reads `nr arg1 … arg6 sp pc`; `None` for anything but a wait that a lock may make.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut words = text.split_whitespace();
        let number = words.next()?.parse::<u64>().ok()?;
        let mut argument = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
        let (address, operation, value) = (argument()?, argument()?, argument()?);
        let (timeout, _, _, stack) = (argument()?, argument()?, argument()?, argument()?);
        let is_32 = match number {
            number if SYSCALLS.contains(&number) => false,
            number if SYSCALLS_32.contains(&number) && stack < END_32 => true,
            _ => return None,
        };
        let expected = (value & u64::from(u32::MAX)) as u32;
        let is_own = (stack..stack.saturating_add(OWN_STACK_BYTES)).contains(&address);
        let operation = match operation & OPERATION_MASK {
            6 | 13 => Operation::Inherit,
            // Mutexes and rwlocks wait for small values, above which a priority ceiling may
            // stand, robust and musl's for an owner with the waiters' bit; a condition
            // variable's counter may be anything else.
            0 | 9
                if (1..=3).contains(&expected)
                    || expected & BELOW_CEILING == CONTENDED
                    || expected >> 31 == 1 =>
            {
                Operation::Wait
            }
            0 | 9 if expected == 0 && timeout == 0 && is_own => Operation::Parked { stack },
            _ => return None,
        };
        Some(Self { address, operation, expected, is_32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_waits_that_a_lock_makes_are_taken() {
        let parse = |text: &str| Futex::parse(text.as_bytes());
        let wait = Futex { address: 0x7f00, operation: Operation::Wait, expected: 2, is_32: false };
        assert_eq!(parse("202 0x7f00 0x80 0x2 0x0 0x0 0x0 0x7ffd 0x7f01\n"), Some(wait));
        let inherits = Futex { operation: Operation::Inherit, expected: 0, ..wait };
        assert_eq!(parse("202 0x7f00 0x86 0x0 0x0 0x0 0x0 0x7ffd 0x7f01\n"), Some(inherits));
        let parked = Futex { operation: Operation::Parked { stack: 0x7ec0 }, expected: 0, ..wait };
        assert_eq!(parse("202 0x7f00 0x80 0x0 0x0 0x0 0x0 0x7ec0 0x7f01\n"), Some(parked));
        assert_eq!(parse("202 0x7f00 0x80 0x0 0x1 0x0 0x0 0x7ec0 0x7f01\n"), None, "timed");
        assert_eq!(parse("202 0x7f00 0x80 0x0 0x0 0x0 0x0 0x1ec0 0x7f01\n"), None, "elsewhere");
        assert_eq!(parse("202 0x7f00 0x189 0x0 0x0 0x0 0xffffffff 0x7ffd 0x7f01\n"), None);
        assert_eq!(parse("202 0x7f00 0x81 0x2 0x0 0x0 0x0 0x7ffd 0x7f01\n"), None);
        let narrow = Some(Futex { is_32: true, ..wait });
        assert_eq!(parse("219 0x7f00 0x89 0x2 0x1 0x0 0x0 0x7ffd 0x7f01\n"), Some(wait));
        assert_eq!(parse("240 0x7f00 0x80 0x2 0x0 0x0 0x0 0x7ffd 0x7f01\n"), narrow);
        assert_eq!(parse("422 0x7f00 0x80 0x2 0x0 0x0 0x0 0x7ffd 0x7f01\n"), narrow);
        assert_eq!(parse("240 0x7f00 0x80 0x2 0x0 0x0 0x0 0x7ffd00000000 0x7f01\n"), None);
        assert_eq!(parse("7 0x7f00 0x80 0x2 0x0 0x0 0x0 0x7ffd 0x7f01\n"), None);
        assert_eq!(parse("running\n"), None);
        assert_eq!(parse("-1 0x7ffd 0x7f01\n"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(text in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = Futex::parse(&text);
        }
    }
}
