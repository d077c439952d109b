//! The clocks that rows carry, and the one that says what we cost.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds since the epoch by the wall clock.
pub fn wall_ns() -> i64 {
    now(ClockId::CLOCK_REALTIME)
}

/// Nanoseconds since boot, suspended time included: orders rows of one host when the wall clock jumps.
pub fn boottime_ns() -> i64 {
    now(ClockId::CLOCK_BOOTTIME)
}

/// Nanoseconds of processor time that the process has used, in user and kernel, by all its threads.
pub fn process_cpu_ns() -> i64 {
    now(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

fn now(clock: ClockId) -> i64 {
    let time = clock_gettime(clock).expect("these clocks exist on every kernel that has sock_diag");
    #[expect(clippy::useless_conversion, reason = "time_t is 32 bits wide on some targets")]
    let (seconds, nanos) = (i64::from(time.tv_sec()), i64::from(time.tv_nsec()));
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
