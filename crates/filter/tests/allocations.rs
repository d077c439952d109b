//! What is done for each row costs no memory.

#![forbid(unsafe_code)]

use sockeye_filter::Filter;
use sockeye_wire::{AttrSet, InetDiag};

#[test]
fn the_test_of_a_row_allocates_nothing() {
    let filter: Filter = "not ( dport :443 or dst 10/8 or dev eth0 ) fwmark 0/1".parse().unwrap();
    let filter = filter.resolve(|_: &str| Some(2));
    let mut message = [0; 72];
    message[0] = 2;
    let row = InetDiag::parse(&message, AttrSet::ALL).unwrap();
    let mut kept = 0;
    let allocations = allocation_counter::measure(|| {
        kept = (0..1000).filter(|_| filter.matches(&row)).count();
    });
    assert_eq!((kept, allocations.count_total), (1000, 0));
}
