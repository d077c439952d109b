//! Resident code. A process of its own, since other tests would bring code back.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "what is not there is to fail the test")]

use std::fs;

/// Resident bytes of what is executable.
fn resident() -> u64 {
    let maps = fs::read_to_string("/proc/self/smaps").unwrap();
    let (mut is_code, mut bytes) = (false, 0);
    for line in maps.lines() {
        match line.strip_prefix("Rss:") {
            Some(rss) if is_code => {
                let kib: u64 = rss.trim().trim_end_matches(" kB").parse().unwrap();
                bytes += kib * 1024;
            }
            None if line.contains('-') => is_code = line.contains(" r-xp "),
            Some(_) | None => {}
        }
    }
    bytes
}

#[test]
fn code_goes_and_what_is_used_comes_back() {
    let before = resident();
    sockeye_sys::code::let_go().unwrap();
    let after = resident();
    assert!(0 < after && after < before * 9 / 10, "{before} {after}");
}
