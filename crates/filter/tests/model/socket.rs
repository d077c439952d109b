//! Sockets from a small world, so that conditions often hold.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use proptest::sample::select;
use sockeye_filter::Resolved;
use sockeye_wire::attrs::nr;
use sockeye_wire::inet_diag::{AF_INET, AF_INET6, MSG_BYTES};
use sockeye_wire::{AttrSet, InetDiag};

pub(crate) const LOCAL_PORTS: (u16, u16) = (1500, 40_000);
pub(crate) const PORTS: [u16; 11] = [0, 1, 22, 79, 80, 81, 443, 1500, 2000, 40_000, u16::MAX];

#[derive(Clone, Debug)]
pub(crate) struct Socket {
    pub(crate) source: (IpAddr, u16),
    pub(crate) destination: (IpAddr, u16),
    pub(crate) interface: u32,
    pub(crate) mark: Option<u32>,
    pub(crate) cgroup: Option<u64>,
    /// `SOCK_BINDPORT_LOCK` is not set.
    pub(crate) autobound: bool,
}

impl Socket {
    pub(crate) fn family(&self) -> u8 {
        if self.source.0.is_ipv4() { AF_INET } else { AF_INET6 }
    }

    /// As the kernel describes it, through the view that readers use.
    pub(crate) fn matches(&self, filter: &Resolved) -> bool {
        let mut bytes = vec![0; MSG_BYTES];
        bytes[0] = self.family();
        bytes[4..6].copy_from_slice(&self.source.1.to_be_bytes());
        bytes[6..8].copy_from_slice(&self.destination.1.to_be_bytes());
        for (at, address) in [(8, self.source.0), (24, self.destination.0)] {
            match address {
                IpAddr::V4(v4) => bytes[at..at + 4].copy_from_slice(&v4.octets()),
                IpAddr::V6(v6) => bytes[at..at + 16].copy_from_slice(&v6.octets()),
            }
        }
        bytes[40..44].copy_from_slice(&self.interface.to_ne_bytes());
        if let Some(mark) = self.mark {
            bytes.extend([8u16.to_ne_bytes(), nr::MARK.to_ne_bytes()].concat());
            bytes.extend(mark.to_ne_bytes());
        }
        if let Some(cgroup) = self.cgroup {
            bytes.extend([12u16.to_ne_bytes(), nr::CGROUP_ID.to_ne_bytes()].concat());
            bytes.extend(cgroup.to_ne_bytes());
        }
        filter.matches(&InetDiag::parse(&bytes, AttrSet::ALL).unwrap())
    }
}

pub(crate) fn sockets() -> impl Strategy<Value = Socket> {
    let ends = |pool: &'static [IpAddr]| (select(pool), select(pool));
    let addresses = prop_oneof![ends(&V4), ends(&V6)];
    let ports = (select(&PORTS[..]), select(&PORTS[..]));
    let mark = prop::option::of(0..6u32);
    let cgroup = prop::option::of(1..3u64);
    (addresses, ports, 0..4u32, mark, cgroup, any::<bool>()).prop_map(
        |((source, destination), (sport, dport), interface, mark, cgroup, autobound)| Socket {
            source: (source, sport),
            destination: (destination, dport),
            interface,
            mark,
            cgroup,
            autobound,
        },
    )
}

const V4: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(192, 168, 0, 1)),
];
const V6: [IpAddr; 6] = [
    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb9, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped()),
    IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped()),
];
