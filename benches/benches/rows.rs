//! Wall clock of every case, over the capture and, as root, over a thousand sockets made now.
//!
//! For the desk: `cargo bench -p sockeye-benches --bench rows`. Nothing passes or fails by it.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sockeye_benches::recorded::Recorded;
use sockeye_benches::work::{Case, Work};
use sockeye_testkit::generate::generate;
use sockeye_testkit::load::LoadOptions;
use sockeye_testkit::netns::{Netns as _, TestNetns, is_root};

fn rows(criterion: &mut Criterion) {
    let capture = Recorded::capture().expect("the capture is part of the repository");
    bench(criterion, "capture", &capture);
    if is_root() {
        bench(criterion, "live", &live());
    }
}

fn bench(criterion: &mut Criterion, messages: &str, recorded: &Recorded) {
    for case in Case::all() {
        let mut work = Work::new(case, recorded);
        work.warm_up();
        let mut group = criterion.benchmark_group(case.to_string());
        group.throughput(Throughput::Elements(work.rows()));
        group.bench_function(BenchmarkId::from_parameter(messages), |bencher| {
            bencher.iter(|| black_box(work.round()));
        });
        group.finish();
    }
}

/// More than a cache of the first level holds.
fn live() -> Recorded {
    let netns = TestNetns::new("benches").expect("root makes namespaces");
    let options = LoadOptions { connections: 500, bytes: 100..=20_000, ..LoadOptions::default() };
    let recorded = netns.enter(|| {
        let _load = generate(&options).expect("500 connections on loopback");
        Recorded::live().expect("they are there")
    });
    recorded.expect("the namespace is there")
}

criterion_group!(benches, rows);
criterion_main!(benches);
