//! `sockeye-instructions CASE ROUNDS`: a case so many times, for a tool that counts instructions; prints its rows.
//!
//! Without a case it prints the names of all. The difference of two runs is free of what starting costs.

#![forbid(unsafe_code)]

use std::hint::black_box;

use anyhow::{Context as _, Result};
use sockeye_benches::recorded::Recorded;
use sockeye_benches::work::{Case, Work};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        for case in Case::all() {
            println!("{case}");
        }
        return Ok(());
    };
    let case = Case::named(&name).with_context(|| format!("no case {name}"))?;
    let rounds: u64 = arguments.next().context("how many rounds?")?.parse().context("rounds")?;
    let recorded = Recorded::capture()?;
    let mut work = Work::new(case, &recorded);
    work.warm_up();
    for _ in 0..rounds {
        black_box(work.round());
    }
    println!("{}", work.rows() * rounds);
    Ok(())
}
