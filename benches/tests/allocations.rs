//! A row costs no allocation, in any format, once buffers have their size.

use std::hint::black_box;

use sockeye_benches::recorded::Recorded;
use sockeye_benches::work::{Case, Work};

#[test]
fn no_case_allocates_when_its_buffers_have_grown() {
    let recorded = Recorded::capture().unwrap();
    for case in Case::all() {
        let mut work = Work::new(case, &recorded);
        work.warm_up();
        let allocations = allocation_counter::measure(|| {
            for _ in 0..100 {
                black_box(work.round());
            }
        });
        assert_eq!(allocations.count_total, 0, "{case}");
    }
}

#[test]
fn the_counter_counts() {
    let allocations = allocation_counter::measure(|| drop(black_box(vec![1_u8; 100])));
    assert_eq!(allocations.count_total, 1);
}
