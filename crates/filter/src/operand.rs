//! Reads hosts, ports, marks and devices.

use std::net::{Ipv4Addr, Ipv6Addr};

use sockeye_wire::bytecode::{Condition, End, Predicate, Prefix};

use crate::filter::Name;
use crate::services;

/// Ports from one to another; `None` is every port.
pub(crate) type Ports = Option<(u16, u16)>;

/// A host as it stands behind `src` and `dst`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) family: Option<Family>,
    pub(crate) prefix: Option<Prefix>,
    pub(crate) ports: Ports,
}

/// What stands before a host or port: `inet:`, `inet6:`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Inet,
    Inet6,
}

impl Family {
    /// The condition on the socket's family itself: a mapped address is not of `inet`.
    pub(crate) fn predicate(self) -> Predicate<Name> {
        // Every IPv6 address begins with nothing, and no IPv4 address does so as an IPv6 one.
        let any = Condition::Host(End::Source, Prefix::V6([0; 16], 0));
        let inet6 = Predicate::Is(Name::Is(any));
        if self == Self::Inet6 { inet6 } else { inet6.negated() }
    }

    /// The family and what is behind its colon.
    fn split(text: &str) -> Result<(Option<Self>, &str), String> {
        let [inet, inet6] = ["inet:", "inet6:"].map(|family| text.strip_prefix(family));
        if let Some(foreign) = FOREIGN.iter().find(|family| text.starts_with(**family)) {
            return Err(format!("{foreign} is no family of TCP; allowed: inet:, inet6:"));
        }
        Ok(match (inet, inet6) {
            (Some(rest), _) => (Some(Self::Inet), rest),
            (_, Some(rest)) => (Some(Self::Inet6), rest),
            _ => (None, text),
        })
    }
}

/// `:443`, `443`, `:https`, `:1000-2000`, `*`, `:*`, each with a family before it.
pub(crate) fn port(text: &str) -> Result<(Option<Family>, Ports), String> {
    let (family, port) = Family::split(text)?;
    Ok((family, ports(port.strip_prefix(':').unwrap_or(port))?))
}

/// `10.0.0.1`, `10.0.0.0/8`, `10/8`, `[::1]`, `::1/128`, `*`, each with a family before it and a port behind it.
pub(crate) fn host(text: &str) -> Result<Host, String> {
    let (family, text) = Family::split(text)?;
    let (address, len, rest) = cut(text)?;
    let prefix = match (address, len) {
        ("" | "*" | "any" | "all" | "default", None) => None,
        ("" | "*" | "any" | "all" | "default", Some(_)) => {
            return Err(format!("{text:?}: a prefix length needs an address"));
        }
        (address, len) => Some(prefix(address, len)?),
    };
    let ports = match rest.strip_prefix(':') {
        Some(port) => ports(port)?,
        None if rest.is_empty() => None,
        None => return Err(format!("{rest:?} behind an address; allowed: /LENGTH, :PORT")),
    };
    match (family, prefix) {
        (Some(Family::Inet), Some(Prefix::V6(..))) => {
            return Err(format!("inet: takes an IPv4 address, not {address}"));
        }
        (Some(Family::Inet6), Some(Prefix::V4(..))) => {
            return Err(format!("inet6: takes an IPv6 address, not {address}"));
        }
        _ => {}
    }
    if text.is_empty() {
        return Err("an address or :port is missing behind the family".to_owned());
    }
    Ok(Host { family, prefix, ports })
}

/// `0x01`, `0x01/0x03`: a mark, and which of its bits to look at.
pub(crate) fn mark(text: &str) -> Result<Condition, String> {
    let (value, mask) = match text.split_once('/') {
        Some((value, mask)) => (number(value), number(mask)),
        None => (number(text), Some(u32::MAX)),
    };
    match (value, mask) {
        (Some(value), Some(mask)) => Ok(Condition::Mark { value, mask }),
        _ => Err(format!("{text:?} is no mark; allowed: VALUE, VALUE/MASK, such as 0x01/0x03")),
    }
}

/// An interface: its index, or its name, which means something else in each namespace.
pub(crate) fn device(text: &str) -> Result<Name, String> {
    if let Some(index) = number(text) {
        return Ok(Name::Is(Condition::Device(index)));
    }
    let is_name = !text.is_empty() && text.len() <= LONGEST_DEVICE && !text.contains(['/', ':']);
    if !is_name {
        return Err(format!("{text:?} is no name or index of an interface"));
    }
    Ok(Name::Device(text.to_owned()))
}

/// The address, the length of its prefix, and what is behind: `:port` or nothing.
fn cut(text: &str) -> Result<(&str, Option<&str>, &str), String> {
    let (address, behind) = if let Some(inside) = text.strip_prefix('[') {
        let (inside, behind) =
            inside.split_once(']').ok_or_else(|| format!("{text:?}: [ without ]"))?;
        if let Some((address, len)) = inside.split_once('/') {
            return Ok((address, Some(len), behind));
        }
        (inside, behind)
    } else if let Some(at) = text.find('/') {
        text.split_at(at)
    } else if text.parse::<Ipv6Addr>().is_ok() {
        (text, "")
    } else {
        text.rfind(':').map_or((text, ""), |at| text.split_at(at))
    };
    let Some(len) = behind.strip_prefix('/') else { return Ok((address, None, behind)) };
    let (len, behind) = len.find(':').map_or((len, ""), |at| len.split_at(at));
    Ok((address, Some(len), behind))
}

fn prefix(address: &str, len: Option<&str>) -> Result<Prefix, String> {
    if let Ok(v6) = address.parse::<Ipv6Addr>() {
        return Ok(Prefix::V6(v6.octets(), prefix_len(len, 128)?));
    }
    let short = len.and_then(|_| short_v4(address));
    if let Some(v4) = address.parse().ok().or(short) {
        let mask = len.and_then(|len| len.parse::<Ipv4Addr>().ok()).map(u32::from);
        let len = match mask.filter(|mask| mask.leading_ones() + mask.trailing_zeros() == 32) {
            Some(mask) => u8::try_from(mask.leading_ones()).unwrap_or(32),
            None => prefix_len(len, 32)?,
        };
        return Ok(Prefix::V4(v4.octets(), len));
    }
    Err(no_address(address, len))
}

fn no_address(address: &str, len: Option<&str>) -> String {
    if address.contains('%') {
        return format!("{address:?} is no address: an interface is asked for with dev = NAME");
    }
    if let (Ok(port), None) = (address.parse::<u16>(), len) {
        return format!("{address} is no address; a port is :{port}");
    }
    format!(
        "{address:?} is no address, and host names are not resolved; \
         allowed: 10.0.0.1, 10.0.0.0/8, [::1], ::1/128, *, each with :PORT behind it"
    )
}

/// `10` and `192.168`: the zeros behind it are left out.
fn short_v4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut places = octets.iter_mut();
    for number in text.split('.') {
        *places.next()? = number.parse().ok()?;
    }
    Some(octets.into())
}

fn prefix_len(len: Option<&str>, longest: u8) -> Result<u8, String> {
    let Some(len) = len else { return Ok(longest) };
    let read = len.parse().ok().filter(|len| *len <= longest);
    read.ok_or_else(|| format!("{len:?} is no prefix length; allowed: 0 to {longest}"))
}

fn ports(text: &str) -> Result<Ports, String> {
    if text == "*" {
        return Ok(None);
    }
    if let Some((low, high)) = text.split_once('-')
        && let (Some(low), Some(high)) = (number(low), number(high))
    {
        return match (u16::try_from(low), u16::try_from(high)) {
            (Ok(low), Ok(high)) if low <= high => Ok(Some((low, high))),
            (Ok(_), Ok(_)) => Err(format!("{text}: the range ends before it begins")),
            _ => Err(too_high(text)),
        };
    }
    if let Some(port) = number(text) {
        let port = u16::try_from(port).map_err(|_| too_high(text))?;
        return Ok(Some((port, port)));
    }
    if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && !text.contains([':', '/', '.']) {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(too_high(text));
        }
        return services::port_of(text).map(|port| Some((port, port)));
    }
    let what = if text.is_empty() { "a port is missing" } else { "no port" };
    Err(format!("{text:?}: {what}; allowed: :443, :https, :1000-2000, :*"))
}

fn too_high(text: &str) -> String {
    format!("{text}: ports are 0 to 65535")
}

/// As C reads numbers, and so `ss`: `0x` begins a hexadecimal one, `0` an octal one.
fn number(text: &str) -> Option<u32> {
    if let Some(hexadecimal) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let digits = hexadecimal.bytes().all(|byte| byte.is_ascii_hexdigit());
        return digits.then(|| u32::from_str_radix(hexadecimal, 16).ok())?;
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let radix = if text.len() > 1 && text.starts_with('0') { 8 } else { 10 };
    u32::from_str_radix(text, radix).ok()
}

/// `ALTIFNAMSIZ`, without its zero: the longest alternative name of an interface.
const LONGEST_DEVICE: usize = 127;

const FOREIGN: [&str; 4] = ["unix:", "link:", "netlink:", "vsock:"];

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "as it is compared")]
    fn v4(octets: [u8; 4], len: u8) -> Option<Prefix> {
        Some(Prefix::V4(octets, len))
    }

    #[expect(clippy::unnecessary_wraps, reason = "as it is compared")]
    fn v6(text: &str, len: u8) -> Option<Prefix> {
        Some(Prefix::V6(text.parse::<Ipv6Addr>().unwrap().octets(), len))
    }

    #[test]
    fn hosts_have_every_form_that_ss_takes() {
        let read = |text| {
            let Host { family, prefix, ports } = host(text).unwrap();
            assert_eq!(family, None, "{text}");
            (prefix, ports)
        };
        let https = Some((443, 443));
        assert_eq!(read("10.0.0.1"), (v4([10, 0, 0, 1], 32), None));
        assert_eq!(read("10.0.0.1:443"), (v4([10, 0, 0, 1], 32), https));
        assert_eq!(read("10.0.0.0/8"), (v4([10, 0, 0, 0], 8), None));
        assert_eq!(read("10.0.0.0/8:443"), (v4([10, 0, 0, 0], 8), https));
        assert_eq!(read("10/8"), (v4([10, 0, 0, 0], 8), None));
        assert_eq!(read("193.233.7/24"), (v4([193, 233, 7, 0], 24), None));
        assert_eq!(read("10.0.0.0/255.0.0.0"), (v4([10, 0, 0, 0], 8), None));
        assert_eq!(read("0.0.0.0/0"), (v4([0; 4], 0), None));
        assert_eq!(read("[::1]"), (v6("::1", 128), None));
        assert_eq!(read("[::1]:443"), (v6("::1", 128), https));
        assert_eq!(read("[fe80::]/10:443"), (v6("fe80::", 10), https));
        assert_eq!(read("[fe80::/10]"), (v6("fe80::", 10), None));
        assert_eq!(read("[fe80::/10]:443"), (v6("fe80::", 10), https));
        assert_eq!(read("::1/128"), (v6("::1", 128), None));
        assert_eq!(read("::1"), (v6("::1", 128), None));
        assert_eq!(read("fe80::/10:443"), (v6("fe80::", 10), https));
        assert_eq!(read("::ffff:10.0.0.1"), (v6("::ffff:10.0.0.1", 128), None));
        for any in ["*", "any", "all", "default", "*:*", ":*"] {
            assert_eq!(read(any), (None, None), "{any}");
        }
        for port in ["*:443", ":443", ":https", ":0x1bb", "any:443"] {
            assert_eq!(read(port), (None, https), "{port}");
        }
        assert_eq!(read(":1-0x10"), (None, Some((1, 16))));
        let Host { family, prefix, .. } = host("inet6:[::1]").unwrap();
        assert_eq!((family, prefix), (Some(Family::Inet6), v6("::1", 128)));
        assert_eq!(host("inet::443").unwrap().family, Some(Family::Inet));
    }

    #[test]
    fn what_is_no_host_is_told_what_would_be() {
        let wrong = |text: &str| host(text).unwrap_err();
        let allowed = "is no address, and host names are not resolved; \
                       allowed: 10.0.0.1, 10.0.0.0/8, [::1], ::1/128, *, each with :PORT behind it";
        for name in ["example.com", "10.0.0", "10.0.0.256"] {
            assert_eq!(wrong(name), format!("{name:?} {allowed}"));
        }
        assert_eq!(wrong("example.com:80"), format!("\"example.com\" {allowed}"));
        assert_eq!(wrong("80"), "80 is no address; a port is :80");
        assert_eq!(
            wrong("fe80::1%eth0"),
            "\"fe80:\" is no address, and host names are not resolved; allowed: 10.0.0.1, \
             10.0.0.0/8, [::1], ::1/128, *, each with :PORT behind it"
        );
        assert_eq!(
            wrong("[fe80::1%eth0]"),
            "\"fe80::1%eth0\" is no address: an interface is asked for with dev = NAME"
        );
        assert_eq!(wrong("10.0.0.1/33"), "\"33\" is no prefix length; allowed: 0 to 32");
        assert_eq!(wrong("::/129"), "\"129\" is no prefix length; allowed: 0 to 128");
        assert_eq!(
            wrong("10.0.0.0/255.0.255.0"),
            "\"255.0.255.0\" is no prefix length; allowed: 0 to 32"
        );
        assert_eq!(wrong("*/8"), "\"*/8\": a prefix length needs an address");
        assert_eq!(wrong("[::1"), "\"[::1\": [ without ]");
        assert_eq!(wrong("[::1]80"), "\"80\" behind an address; allowed: /LENGTH, :PORT");
        assert_eq!(wrong("[::/8]/8"), "\"/8\" behind an address; allowed: /LENGTH, :PORT");
        assert_eq!(wrong("inet:::1"), "inet: takes an IPv4 address, not ::1");
        assert_eq!(wrong("inet6:10.0.0.1"), "inet6: takes an IPv6 address, not 10.0.0.1");
        assert_eq!(wrong("inet:"), "an address or :port is missing behind the family");
        assert_eq!(wrong("unix:/a"), "unix: is no family of TCP; allowed: inet:, inet6:");
        assert_eq!(
            wrong("10.0.0.1:"),
            "\"\": a port is missing; allowed: :443, :https, :1000-2000, :*"
        );
    }

    #[test]
    fn ports_are_numbers_names_and_ranges() {
        let read = |text| port(text).unwrap();
        for https in [":443", "443", ":https", "https", "0x1bb", ":0673"] {
            assert_eq!(read(https), (None, Some((443, 443))), "{https}");
        }
        assert_eq!((read("*"), read(":*")), ((None, None), (None, None)));
        assert_eq!(read(":0-65535"), (None, Some((0, 65535))));
        assert_eq!(read("inet6::22"), (Some(Family::Inet6), Some((22, 22))));
        assert_eq!(read("inet:22"), (Some(Family::Inet), Some((22, 22))));
    }

    #[test]
    fn what_is_no_port_is_told_what_would_be() {
        let wrong = |text: &str| port(text).unwrap_err();
        let allowed = "allowed: :443, :https, :1000-2000, :*";
        assert_eq!(wrong(":"), format!("\"\": a port is missing; {allowed}"));
        assert_eq!(wrong("10.0.0.1:443"), format!("\"10.0.0.1:443\": no port; {allowed}"));
        assert_eq!(wrong(":-1"), format!("\"-1\": no port; {allowed}"));
        assert_eq!(wrong(":65536"), "65536: ports are 0 to 65535");
        assert_eq!(wrong(":99999999999"), "99999999999: ports are 0 to 65535");
        assert_eq!(wrong(":1-65536"), "1-65536: ports are 0 to 65535");
        assert_eq!(wrong(":2-1"), "2-1: the range ends before it begins");
        let unknown = wrong(":htps");
        assert!(unknown.starts_with("no TCP port is called \"htps\" "), "{unknown}");
        assert!(unknown.ends_with("; give the number, such as :443"), "{unknown}");
    }

    #[test]
    fn marks_and_devices_are_numbers_and_names() {
        let all = |value| Ok(Condition::Mark { value, mask: u32::MAX });
        assert_eq!((mark("1"), mark("0x10"), mark("010")), (all(1), all(16), all(8)));
        assert_eq!(mark("0x01/0x03"), Ok(Condition::Mark { value: 1, mask: 3 }));
        for wrong in ["", "a", "1/", "/1", "1/2/3", "-1", "0x", "0x+1", "4294967296", "08"] {
            let allowed = "allowed: VALUE, VALUE/MASK, such as 0x01/0x03";
            assert_eq!(mark(wrong), Err(format!("{wrong:?} is no mark; {allowed}")));
        }
        assert_eq!(device("7"), Ok(Name::Is(Condition::Device(7))));
        assert_eq!(device("eth0.7"), Ok(Name::Device("eth0.7".to_owned())));
        for wrong in ["", "a/b", "eth0:1"] {
            let error = format!("{wrong:?} is no name or index of an interface");
            assert_eq!(device(wrong), Err(error));
        }
    }
}
