//! Clocks: clock_gettime(2).
//!
//! **Invariant**: the kernel is handed a `timespec` of ours and nothing else.
#![allow(unsafe_code, reason = "the clock of another process has no safe wrapper; see SAFETY")]

/// The clock of a process's CPU time, as `clock_getcpuclockid(3)` builds it: the complement
/// of the id, then `CPUCLOCK_SCHED`.
const CPUCLOCK_SCHED: libc::clockid_t = 2;

fn read(clock: libc::clockid_t) -> Option<i64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that outlives the call, which writes nothing else;
    // any clock id is answered, an unknown one with an error.
    let status = unsafe { libc::clock_gettime(clock, &raw mut time) };
    if status != 0 {
        return None;
    }
    time.tv_sec.checked_mul(1_000_000_000)?.checked_add(time.tv_nsec)
}

/// Nanoseconds since boot, those asleep included (CLOCK_BOOTTIME).
#[must_use]
pub fn boot_time_ns() -> i64 {
    read(libc::CLOCK_BOOTTIME).unwrap_or(0)
}

/// CPU time that all threads of a process have used, dead ones too, in nanoseconds. Needs no
/// privilege. `None` when there is no such process.
#[must_use]
pub fn process_cpu_ns(pid: i32) -> Option<i64> {
    let clock = (!pid).checked_mul(8)?.checked_add(CPUCLOCK_SCHED)?;
    if pid > 0 { read(clock) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_time_grows() {
        let pid = std::process::id().cast_signed();
        let (before, cpu) = (boot_time_ns(), process_cpu_ns(pid).expect("this process"));
        let spin: u64 = (0..2_000_000_u64).map(std::hint::black_box).sum();
        assert!(std::hint::black_box(spin) > 0);
        assert!(process_cpu_ns(pid).expect("this process") > cpu);
        assert!(boot_time_ns() > before);
        assert_eq!(process_cpu_ns(0), None);
        assert_eq!(process_cpu_ns(-5), None);
    }
}
