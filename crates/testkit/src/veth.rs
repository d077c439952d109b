//! A cable between two namespaces.

use anyhow::Result;

use crate::netns::Netns;

/// One end of a veth pair.
#[derive(Clone, Copy, Debug)]
pub struct VethEnd<'a> {
    /// The interface's name, at most 15 bytes.
    pub interface: &'a str,
    /// Addresses with prefix length: `10.9.0.1/24`, `fe80::1/64`. Usable at once, without duplicate address detection.
    pub addresses: &'a [&'a str],
}

/// Makes a veth pair with one end in each namespace, with addresses and up. It goes with either of the namespaces.
///
/// The kernel makes no link-local addresses of its own on it: it has those of the lists and no others.
///
/// # Errors
/// `ip` failed: a name or an address is taken or malformed.
pub fn veth_pair(
    netns_a: &impl Netns,
    a: VethEnd<'_>,
    netns_b: &impl Netns,
    b: VethEnd<'_>,
) -> Result<()> {
    let peer_netns = netns_b.ip_argument();
    let add = [
        "link",
        "add",
        a.interface,
        "type",
        "veth",
        "peer",
        "name",
        b.interface,
        "netns",
        &peer_netns,
    ];
    netns_a.exec("ip", &add)?;
    configure(netns_a, a)?;
    configure(netns_b, b)
}

fn configure(netns: &impl Netns, end: VethEnd<'_>) -> Result<()> {
    netns.exec("ip", &["link", "set", end.interface, "addrgenmode", "none"])?;
    for address in end.addresses {
        let mut add = vec!["addr", "add", address, "dev", end.interface];
        if address.contains(':') {
            add.push("nodad");
        }
        netns.exec("ip", &add)?;
    }
    netns.exec("ip", &["link", "set", end.interface, "up"])?;
    Ok(())
}
