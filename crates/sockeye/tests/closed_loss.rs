//! What the kernel could not keep for us is counted, and the count is right.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod closed_kit;
mod common;

use closed_kit::{Eye, Ground, closed_rows, said_before, truth_of};
use sockeye_testkit::brief::BriefOptions;
use sockeye_testkit::netns::require_root;

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn what_a_small_buffer_could_not_hold_is_counted() {
    require_root();
    let options = BriefOptions { connections: 5_000, life_us: 0..=0, ..BriefOptions::default() };
    let mut grounds = [Ground::new("small", &options)];
    // Inside, so that no one else's sockets count.
    let eye = Eye::open_in(&grounds[0].netns, &["--frequency", "10m", "--closed-buffer", "64KiB"]);
    eye.sees(&grounds);
    eye.daemon.signal("STOP");
    grounds[0].go();
    let truth = truth_of(&mut grounds);
    eye.daemon.signal("CONT");
    let (rows, said) = eye.end(usize::MAX);
    let closed = closed_rows(&rows, &grounds);
    assert!(closed.keys().all(|key| truth.contains_key(key)));
    let (here, lost) = (closed.len() as u64, said_before(&said, " lost; "));
    println!("{here} rows, {lost} lost");
    assert!(here < 9_000 && here > 0, "{here}: the buffer was large enough");
    let off = (here + lost).abs_diff(10_000);
    assert!(off <= 100, "{here} rows and {lost} lost of 10000: {said}");
}
