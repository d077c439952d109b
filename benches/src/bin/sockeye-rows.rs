//! `sockeye-rows`: nanoseconds and allocations of one row, in each case of [`sockeye_benches::work`]; JSON lines.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use sockeye_benches::recorded::Recorded;
use sockeye_benches::work::{Case, Work};

fn main() -> Result<()> {
    let recorded = Recorded::capture()?;
    for case in Case::all() {
        let mut work = Work::new(case, &recorded);
        work.warm_up();
        let allocations = allocation_counter::measure(|| {
            for _ in 0..ROUNDS {
                black_box(work.round());
            }
        });
        let rows = work.rows() * ROUNDS;
        let mut samples: Vec<u64> = (0..SAMPLES).map(|_| picoseconds(&mut work, rows)).collect();
        samples.sort_unstable();
        let at =
            |share: usize| samples.get(share * (samples.len() - 1) / 100).copied().unwrap_or(0);
        println!(
            "{{\"case\":\"{case}\",\"rows\":{rows},\"allocations\":{},\"lowest_ps\":{},\"median_ps\":{},\"highest_ps\":{}}}",
            allocations.count_total,
            at(0),
            at(50),
            at(90)
        );
    }
    Ok(())
}

/// Of one row, over [`ROUNDS`] rounds.
fn picoseconds(work: &mut Work<'_>, rows: u64) -> u64 {
    let began = Instant::now();
    for _ in 0..ROUNDS {
        black_box(work.round());
    }
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX).saturating_mul(1000) / rows
}

const ROUNDS: u64 = 50;
const SAMPLES: usize = 101;
