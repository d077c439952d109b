//! Expressions as text together with what they mean.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use proptest::sample::select;
use sockeye_filter::Filter;

use crate::socket::{LOCAL_PORTS, PORTS, Socket};

#[derive(Clone, Debug)]
pub(crate) enum Expression {
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    /// Whether it is the source.
    Port(bool, &'static str, u16),
    Range(bool, bool, u16, u16),
    Host(bool, bool, Option<u8>, Host, Option<u16>),
    Device(bool, Device),
    Mark(bool, u32, Option<u32>),
    /// The root, whose id is 1.
    Cgroup(bool),
    Autobound,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Host {
    Any,
    V4(Ipv4Addr, u8),
    V6(Ipv6Addr, u8),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Device {
    Name(&'static str),
    Index(u32),
}

impl Expression {
    pub(crate) fn holds(&self, socket: &Socket) -> bool {
        let end = |source: bool| if source { socket.source } else { socket.destination };
        match self {
            Self::And(a, b) => a.holds(socket) && b.holds(socket),
            Self::Or(a, b) => a.holds(socket) || b.holds(socket),
            Self::Not(it) => !it.holds(socket),
            Self::Port(source, operator, port) => {
                let have = end(*source).1;
                match *operator {
                    "=" | "==" | "eq" | "" => have == *port,
                    "!=" | "ne" | "neq" => have != *port,
                    ">" | "gt" => have > *port,
                    "<" | "lt" => have < *port,
                    ">=" | "ge" | "geq" => have >= *port,
                    "<=" | "le" | "leq" => have <= *port,
                    other => unreachable!("{other}"),
                }
            }
            Self::Range(source, equal, low, high) => {
                ((*low..=*high).contains(&end(*source).1)) == *equal
            }
            Self::Host(source, equal, family, host, port) => {
                let (address, have) = end(*source);
                let of_family = match family {
                    Some(4) => socket.source.0.is_ipv4(),
                    Some(_) => socket.source.0.is_ipv6(),
                    None => true,
                };
                let is = host.holds(address) && port.is_none_or(|port| port == have);
                of_family && is == *equal
            }
            Self::Device(equal, device) => {
                let index = match device {
                    Device::Name("eth0") => Some(2),
                    Device::Name("eth1") => Some(3),
                    Device::Name(_) => None,
                    Device::Index(index) => Some(*index),
                };
                (index == Some(socket.interface)) == *equal
            }
            Self::Mark(equal, value, mask) => {
                (socket.mark.unwrap_or(0) & mask.unwrap_or(u32::MAX) == *value) == *equal
            }
            Self::Cgroup(equal) => (socket.cgroup == Some(1)) == *equal,
            Self::Autobound => {
                socket.autobound && (LOCAL_PORTS.0..=LOCAL_PORTS.1).contains(&socket.source.1)
            }
        }
    }

    pub(crate) fn has_autobound(&self) -> bool {
        match self {
            Self::And(a, b) | Self::Or(a, b) => a.has_autobound() || b.has_autobound(),
            Self::Not(it) => it.has_autobound(),
            Self::Autobound => true,
            _ => false,
        }
    }

    /// The text, with brackets where the left-to-right reading needs them.
    fn text(&self) -> String {
        let right = |it: &Self| match it {
            Self::And(..) | Self::Or(..) => format!("( {} )", it.text()),
            _ => it.text(),
        };
        let src = |source: &bool| if *source { "src" } else { "dst" };
        let port = |source: &bool| if *source { "sport" } else { "dport" };
        let sign = |equal: &bool| if *equal { "=" } else { "!=" };
        match self {
            Self::And(a, b) => format!("{} and {}", a.text(), right(b)),
            Self::Or(a, b) => format!("{} || {}", a.text(), right(b)),
            Self::Not(it) => format!("not {}", right(it)),
            Self::Port(source, operator, number) => {
                format!("{} {operator} :{number}", port(source))
            }
            Self::Range(source, equal, low, high) => {
                format!("{} {} :{low}-{high}", port(source), sign(equal))
            }
            Self::Host(source, equal, family, host, number) => {
                let family = match family {
                    Some(4) => "inet:",
                    Some(_) => "inet6:",
                    None => "",
                };
                let number = number.map_or_else(String::new, |number| format!(":{number}"));
                let host = match host {
                    Host::Any => "*".to_owned(),
                    Host::V4(address, len) => format!("{address}/{len}"),
                    Host::V6(address, len) => format!("[{address}]/{len}"),
                };
                format!("{} {} {family}{host}{number}", src(source), sign(equal))
            }
            Self::Device(equal, Device::Name(name)) => format!("dev {} {name}", sign(equal)),
            Self::Device(equal, Device::Index(index)) => format!("dev {}{index}", sign(equal)),
            Self::Mark(equal, value, mask) => {
                let mask = mask.map_or_else(String::new, |mask| format!("/{mask:#x}"));
                format!("fwmark {} {value}{mask}", sign(equal))
            }
            Self::Cgroup(equal) => format!("cgroup {} /", sign(equal)),
            Self::Autobound => "autobound".to_owned(),
        }
    }
}

impl Host {
    fn holds(self, address: IpAddr) -> bool {
        let masked = |bits: u128, of: u8, len: u8| {
            if len == 0 { 0 } else { bits >> (of - len) }
        };
        match (self, address) {
            (Self::Any, _) => true,
            (Self::V4(net, len), IpAddr::V4(address)) => {
                masked(net.to_bits().into(), 32, len) == masked(address.to_bits().into(), 32, len)
            }
            (Self::V4(net, len), IpAddr::V6(address)) => {
                address.to_ipv4_mapped().is_some_and(|v4| {
                    masked(net.to_bits().into(), 32, len) == masked(v4.to_bits().into(), 32, len)
                })
            }
            (Self::V6(net, len), IpAddr::V6(address)) => {
                masked(net.to_bits(), 128, len) == masked(address.to_bits(), 128, len)
            }
            (Self::V6(..), IpAddr::V4(_)) => false,
        }
    }
}

pub(crate) fn expressions() -> impl Strategy<Value = (Expression, String)> {
    let expressions = conditions().prop_recursive(5, 24, 2, |inner| {
        let pair = (inner.clone(), inner.clone()).prop_map(|(a, b)| (Box::new(a), Box::new(b)));
        prop_oneof![
            pair.clone().prop_map(|(a, b)| Expression::And(a, b)),
            pair.prop_map(|(a, b)| Expression::Or(a, b)),
            inner.prop_map(|it| Expression::Not(Box::new(it))),
        ]
    });
    expressions.prop_map(|expression| {
        let text = expression.text();
        (expression, text)
    })
}

fn conditions() -> impl Strategy<Value = Expression> {
    let port = || select(&PORTS[..]);
    let hosts = prop_oneof![
        Just((Host::Any, None)),
        (select(&V4[..]), 0..=32u8).prop_map(|(v4, len)| (Host::V4(v4, len), Some(4))),
        (select(&V6[..]), 0..=128u8).prop_map(|(v6, len)| (Host::V6(v6, len), Some(6))),
    ];
    let host = (any::<(bool, bool)>(), any::<bool>(), hosts, prop::option::of(port())).prop_map(
        |((source, equal), with_family, (host, family), port)| {
            Expression::Host(source, equal, family.filter(|_| with_family), host, port)
        },
    );
    let range = (any::<(bool, bool)>(), port(), port())
        .prop_map(|((source, equal), a, b)| Expression::Range(source, equal, a.min(b), a.max(b)));
    let devices = prop_oneof![
        select(&["eth0", "eth1", "other"][..]).prop_map(Device::Name),
        (0..4u32).prop_map(Device::Index),
    ];
    let mark = (any::<bool>(), 0..6u32, prop::option::of(0..6u32))
        .prop_map(|(equal, value, mask)| Expression::Mark(equal, value, mask));
    let is_cgroup2 = "cgroup /".parse::<Filter>().is_ok();
    let cgroup = any::<bool>().prop_map(move |equal| {
        if is_cgroup2 { Expression::Cgroup(equal) } else { Expression::Autobound }
    });
    prop_oneof![
        3 => (any::<bool>(), select(OPERATORS), port())
            .prop_map(|(source, operator, port)| Expression::Port(source, operator, port)),
        2 => range,
        4 => host,
        2 => (any::<bool>(), devices).prop_map(|(equal, it)| Expression::Device(equal, it)),
        2 => mark,
        1 => cgroup,
        1 => Just(Expression::Autobound),
    ]
}

const OPERATORS: &[&str] = &[
    "=", "==", "eq", "", "!=", "ne", "neq", ">", "gt", "<", "lt", ">=", "ge", "geq", "<=", "le",
    "leq",
];

pub(crate) const WORDS: &[&str] = &[
    "src",
    "dst",
    "sport",
    "dport",
    "dev",
    "fwmark",
    "autobound",
    "and",
    "or",
    "not",
    "!",
    "(",
    ")",
    "=",
    "!=",
    ">=",
    "<",
    ":80",
    "80",
    "10.0.0.0/8",
    "[::1]:443",
    "*",
    "eth0",
    "1/3",
    "\\(",
    "'",
    "state",
    ":1-2",
    "inet6:",
];

const V4: [Ipv4Addr; 4] = [
    Ipv4Addr::UNSPECIFIED,
    Ipv4Addr::LOCALHOST,
    Ipv4Addr::new(10, 0, 0, 1),
    Ipv4Addr::new(192, 168, 0, 1),
];
const V6: [Ipv6Addr; 4] = [
    Ipv6Addr::UNSPECIFIED,
    Ipv6Addr::LOCALHOST,
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x0a00, 1),
];
