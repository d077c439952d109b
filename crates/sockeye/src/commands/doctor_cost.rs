//! What `doctor` says of the cost of a poll: measured by one walk of this host's table, and what would lower it.

use std::io;
use std::time::Duration;

use sockeye_filter::{Support, bytecode};
use sockeye_pipeline::{Completeness, Stop};
use sockeye_source::sockdiag::Dump;
use sockeye_source::sockdiag::cost::{Cost, expected};
use sockeye_sys::DiagSocket;
use sockeye_wire::{AttrSet, Part, Request};

use super::doctor::Report;

/// Adds the lines for namespaces with so many sockets in use each.
pub(super) fn put(report: &mut Report, in_use: &[u64]) {
    let walk = match walk() {
        Ok(walk) => walk,
        Err(error) => return report.less("cost", &format!("a walk can't be timed: {error}")),
    };
    let cost = expected(in_use.iter().copied(), walk);
    let namespaces = in_use.len();
    report.ok(
        "cost",
        &format!(
            "about {} of processor time a poll while connections are quiet, {} where all namespaces have opened \
             some since the last one that stay; {namespaces} read, a walk of the hash table takes {}",
            show(cost.quiet),
            show(cost.busy),
            show(walk)
        ),
    );
    for advice in advice(cost, walk, in_use) {
        report.less("cost", &advice);
    }
}

/// What would lower it by more than a fifth, with its price.
fn advice(cost: Cost, walk: Duration, in_use: &[u64]) -> Vec<String> {
    let mut advice = Vec::new();
    let total: u64 = in_use.iter().sum();
    let connected = in_use.iter().filter(|sockets| **sockets > 1).count();
    let walks = walk.saturating_mul(u32::try_from(connected).unwrap_or(u32::MAX));
    if connected > 1 && walks * 5 > cost.busy {
        advice.push(format!(
            "walks of the shared table are up to {} of that: sysctl net.ipv4.tcp_child_ehash_entries=4096 gives each \
             namespace that is made later a table of its own, which takes 32 KiB of memory each and about 10 us to walk \
             (Linux 6.1)",
            show(walks.min(cost.busy))
        ));
    }
    if total > MANY {
        advice.push(format!(
            "{total} sockets are most of it: --frequency twice as long halves it, --filter and --states leave sockets out, \
             and --deserializers info costs about a tenth less than the default"
        ));
    }
    advice
}

/// The time that the kernel takes to walk the table and find nothing; the least of three.
fn walk() -> io::Result<Duration> {
    let nothing = Part { source: (0, 0), destination: (u16::MAX, u16::MAX) };
    let bytecode = bytecode(None, &[nothing], Support::LEAST).unwrap_or_default();
    let states = "established".parse().expect("a state's name");
    let mut least = Duration::MAX;
    for _ in 0..3 {
        let mut socket = DiagSocket::open(Duration::from_millis(200))?;
        let dump = Dump {
            request: Request { states, attrs: AttrSet::NONE, bytecode: &bytecode },
            seq: 1,
            wanted: AttrSet::NONE,
            timeout: Duration::from_secs(5),
            stop: &Stop::default(),
        };
        let stats = dump.run(&mut socket, &mut vec![0; 32768], || true, |_| ());
        if let Completeness::Incomplete(why) = stats.completeness {
            return Err(io::Error::other(why.to_string()));
        }
        least = least.min(stats.took);
    }
    Ok(least)
}

fn show(time: Duration) -> String {
    let us = time.as_micros();
    match us {
        0..1_000 => format!("{us} us"),
        1_000..100_000 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        _ => format!("{} ms", us / 1_000),
    }
}

/// Sockets that are worth leaving out.
const MANY: u64 = 50_000;

#[cfg(test)]
mod tests {
    use super::*;

    const WALK: Duration = Duration::from_millis(8);

    #[test]
    fn many_namespaces_with_connections_are_advised_to_have_tables_of_their_own() {
        let in_use = [21; 200];
        let advice = advice(expected(in_use, WALK), WALK, &in_use);
        assert_eq!(advice.len(), 1);
        assert!(
            advice[0].starts_with("walks of the shared table are up to 1600 ms of that: sysctl "),
            "{advice:?}"
        );
    }

    #[test]
    fn a_host_with_listeners_only_gets_no_advice() {
        let in_use = [1; 200];
        assert_eq!(advice(expected(in_use, WALK), WALK, &in_use), [""; 0]);
    }

    #[test]
    fn many_sockets_are_advised_to_be_fewer() {
        let in_use = [100_000];
        let advice = advice(expected(in_use, WALK), WALK, &in_use);
        assert!(advice[0].starts_with("100000 sockets are most of it: --frequency"), "{advice:?}");
    }

    #[test]
    fn times_have_two_or_three_digits() {
        let shown = [999, 1_000, 12_340, 100_000].map(|us| show(Duration::from_micros(us)));
        assert_eq!(shown, ["999 us", "1.0 ms", "12.3 ms", "100 ms"]);
    }
}
