//! `--modulus`: the same sockets at every poll, and all of them counted.

use sockeye_source::sockdiag::Netlinkers::Fixed;
use sockeye_source::sockdiag::{Modulus, Settings};
use sockeye_testkit::netns::TestNetns;

use crate::eye::{Eye, alone, connections, cookies, settings};

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn one_in_four_sockets_are_the_same_ones_at_every_poll() {
    let _alone = alone();
    let netns = TestNetns::new("modulus").unwrap();
    let _held = connections(&netns, 150);
    let all = cookies(&Eye::new(settings()).poll().rows_of(&netns));
    assert_eq!(all.len(), 450);
    for netlinkers in [1, 3] {
        let modulus = Modulus::one_in(4);
        let mut eye = Eye::new(Settings { modulus, netlinkers: Fixed(netlinkers), ..settings() });
        let first = eye.poll();
        let rows = first.rows_of(&netns);
        let kept = cookies(&rows);
        assert!(kept.is_subset(&all));
        // Six standard deviations around 112.5.
        assert!((58..168).contains(&kept.len()), "{}", kept.len());
        let mut numbers: Vec<u64> = rows.iter().map(|row| row.record_counter).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=kept.len() as u64).collect::<Vec<_>>());
        let part = first.part(netns.name());
        assert_eq!((part.rows, part.seen), (kept.len() as u64, 450));
        for _ in 0..3 {
            assert_eq!(cookies(&eye.poll().rows_of(&netns)), kept);
        }
    }
}
