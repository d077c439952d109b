//! The sockets of a capture: every state, family, owner and algorithm that one namespace can show.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use sockeye_testkit::load::{Load, LoadOptions};
use sockeye_testkit::netns::{Netns as _, TestNetns};
use sockeye_testkit::states::{self, Pair, SynSent, TimeWait, Waiting};
use sockeye_testkit::states_veth::{self, HalfOpen};
use sockeye_testkit::veth::{VethEnd, veth_pair};

/// Open sockets in a namespace; all are gone when this is dropped.
pub(crate) struct Sockets {
    _loads: Vec<Load>,
    _pairs: Vec<Pair>,
    _waiting: Vec<Waiting>,
    _syn_sent: Vec<SynSent>,
    _time_wait: Vec<TimeWait>,
    _half_open: HalfOpen,
    netns: TestNetns,
    /// The other end of the cable.
    _peer: TestNetns,
}

impl Sockets {
    /// Opens them all. The same number each time.
    ///
    /// # Errors
    /// This is not root, or the kernel lacks something, such as bbr.
    pub(crate) fn open() -> Result<Self> {
        let (netns, peer) = (TestNetns::new("capture")?, TestNetns::new("peer")?);
        let ends = [
            VethEnd { interface: "cable-a", addresses: &["10.9.0.1/24", "fe80::1/64"] },
            VethEnd { interface: "cable-b", addresses: &["10.9.0.2/24", "fe80::2/64"] },
        ];
        let [a, b] = ends;
        veth_pair(&netns, a, &peer, b)?;

        let loads = Load::spawn_all(&loads(&netns)?)?;
        let mut pairs = vec![states_veth::link_local(
            &netns,
            ("cable-a", "fe80::1".parse()?),
            &peer,
            "cable-b",
        )?];
        let half_open =
            states_veth::half_open(&netns, ("cable-a", "10.9.0.1:0".parse()?), &peer, "10.9.0.2")?;
        let mut waiting = Vec::new();
        let mut syn_sent = Vec::new();
        let mut time_wait = Vec::new();
        netns.enter(|| -> Result<()> {
            pairs.push(states::mapped()?);
            for loopback in ["127.0.0.1:0", "[::1]:0"] {
                let loopback: SocketAddr = loopback.parse()?;
                let marked = states::established(loopback, Some("bbr"))?;
                marked.client.set_mark(MARK)?;
                pairs.extend([
                    marked,
                    states::established(loopback, Some("reno"))?,
                    states::half_closed(loopback)?,
                ]);
                waiting.push(states::waiting(loopback, 7, 3)?);
                syn_sent.push(states::syn_sent(loopback)?);
                time_wait.push(states::time_wait(loopback)?);
            }
            Ok(())
        })??;
        Ok(Self {
            _loads: loads,
            _pairs: pairs,
            _waiting: waiting,
            _syn_sent: syn_sent,
            _time_wait: time_wait,
            _half_open: half_open,
            netns,
            _peer: peer,
        })
    }

    /// Where they are.
    pub(crate) fn netns(&self) -> &TestNetns {
        &self.netns
    }
}

/// Connections with data on them: each family, several owners, algorithms and classes of service.
fn loads(netns: &TestNetns) -> Result<[LoadOptions; 4]> {
    let addresses = |list: &[&str]| -> Result<Vec<IpAddr>> {
        Ok(list.iter().map(|ip| ip.parse()).collect::<Result<_, _>>()?)
    };
    let within = LoadOptions { netns: Some(netns.path()), ..LoadOptions::default() };
    Ok([
        LoadOptions {
            connections: 8,
            listen: addresses(&["127.0.0.1", "127.0.0.2"])?,
            client_addresses: addresses(&["127.0.0.3", "127.0.0.4", "127.0.0.5"])?,
            uid: Some(1000),
            congestion: Some("cubic".to_owned()),
            bytes: 1..=11,
            ..within.clone()
        },
        LoadOptions {
            connections: 6,
            listen: addresses(&["::1"])?,
            uid: Some(33),
            congestion: Some("bbr".to_owned()),
            tos: Some(0x10),
            bytes: 100_000..=100_009,
            ..within.clone()
        },
        LoadOptions {
            connections: 4,
            listen: addresses(&["::ffff:127.0.0.1"])?,
            tos: Some(0x48),
            bytes: 20_000..=20_005,
            ..within.clone()
        },
        LoadOptions {
            connections: 4,
            listen: Vec::new(),
            dual_stack: true,
            uid: Some(65_534),
            bytes: 1_000..=3_000_000,
            ..within
        },
    ])
}

/// What `SO_MARK` sets; only root sees it.
const MARK: u32 = 0x2a;
