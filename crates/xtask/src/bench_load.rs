//! The sockets that are read: many in one namespace, few in each of many.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sockeye_testkit::load::{Load, LoadOptions};
use sockeye_testkit::netns::{Netns, TestNetns};
use sockeye_testkit::spread::{Spread, SpreadOptions};

use crate::bench_programs::Programs;

/// One namespace with so many sockets, of which one in a hundred has the peer's port 443.
pub(crate) struct Crowd {
    // Processes before the namespace that they are in.
    _loads: Vec<Load>,
    netns: TestNetns,
    /// All of them, listeners included.
    pub(crate) sockets: u64,
    /// Those with the peer's port 443.
    pub(crate) matching: u64,
}

/// Namespaces with a listener each, and a few connections.
pub(crate) struct Village {
    _spread: Spread,
    _netns: Vec<TestNetns>,
    /// All of them, listeners included.
    pub(crate) sockets: u64,
}

impl Crowd {
    /// Opens `sockets` sockets: both ends of half as many connections. Their data is sent, read and acknowledged.
    pub(crate) fn open(programs: &Programs, sockets: usize) -> Result<Self> {
        let netns = TestNetns::new("crowd")?;
        let matching = sockets / 100;
        let mut loads = Vec::new();
        let mut sum = 0;
        for ((connections, port), place) in shares(sockets).into_iter().zip(1..) {
            let options = LoadOptions {
                netns: Some(netns.path()),
                connections,
                // Of a million sockets, port 443 is the share of two.
                listen: vec![[127, 0, 0, place].into()],
                ports: vec![port],
                bytes: 100..=20_000,
                binary: Some(programs.load.clone()),
                ..LoadOptions::default()
            };
            let load = Load::spawn(&options)?;
            sum += load.sockets().len() as u64;
            loads.push(load);
        }
        Ok(Self { _loads: loads, netns, sockets: sum, matching: matching as u64 })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.netns.path()
    }
}

impl Village {
    /// Makes `count` namespaces with so many connections each, and others that come and go.
    pub(crate) fn open(
        programs: &Programs,
        count: usize,
        connections: usize,
        churn: Churn,
    ) -> Result<Self> {
        let netns = (0..count).map(|_| TestNetns::new("village")).collect::<Result<Vec<_>>>();
        let netns = netns.context("namespaces")?;
        let orderly = churn == Churn::Closed;
        if orderly {
            for netns in &netns {
                netns.set_sysctl("ipv4/ip_local_port_range", LOCAL_PORTS)?;
            }
        }
        let paths = netns.iter().map(Netns::path).collect();
        let (churn, every) = (if churn == Churn::None { 0 } else { CHURN }, CHURN_EVERY);
        let options = SpreadOptions { netns: paths, connections, churn, every, orderly };
        let spread = Spread::spawn(&programs.spread, &options)?;
        let sockets = count * (1 + 2 * connections);
        Ok(Self { _spread: spread, _netns: netns, sockets: sockets as u64 })
    }
}

/// Connections that come and go in each namespace of a village, oftener than it is polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Churn {
    None,
    /// They end by a reset, which leaves nothing.
    Reset,
    /// They are closed in order, which leaves one of two ends in `TIME_WAIT`.
    Closed,
}

/// What each process opens: connections, and the port of its listener. A process has 20,000 descriptors.
fn shares(sockets: usize) -> Vec<(usize, u16)> {
    let mut shares = Vec::new();
    for (connections, port) in [(sockets / 100, HTTPS), (sockets / 2 - sockets / 100, ANY)] {
        let mut left = connections;
        while left > 0 {
            let share = left.min(LARGEST_SHARE);
            shares.push((share, port));
            left -= share;
        }
    }
    shares
}

/// Connections that come and go at once.
const CHURN: usize = 3;
const CHURN_EVERY: Duration = Duration::from_millis(300);
/// What stays in `TIME_WAIT` for a minute would be more than what is open. So there are 32 ports beside those of the connections
/// that stay, and each is used again some seconds later, which ends its wait (`tcp_tw_reuse`).
const LOCAL_PORTS: &str = "40000 40041";

const LARGEST_SHARE: usize = 9_800;
const HTTPS: u16 = 443;
const ANY: u16 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_socket_in_a_hundred_has_the_port_of_its_peer_that_the_filter_asks_for() {
        assert_eq!(shares(1_000), [(10, 443), (490, 0)]);
        let shares = shares(100_000);
        assert_eq!(shares.iter().map(|(connections, _)| connections).sum::<usize>(), 50_000);
        assert_eq!(shares.first(), Some(&(1_000, 443)));
        assert_eq!(shares.iter().filter(|(_, port)| *port == 443).count(), 1);
        assert!(shares.iter().all(|(connections, _)| *connections <= LARGEST_SHARE));
    }
}
