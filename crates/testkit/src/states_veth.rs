//! Single TCP sockets in states that need two namespaces and a cable between them.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

use anyhow::{Context as _, Result};
use socket2::Socket;

use crate::netns::Netns;
use crate::ss_run::interfaces;
use crate::states::{Pair, connecting, listener, local};

/// A connection between link-local IPv6 addresses: both sockets are bound to their interface.
///
/// The addresses have to be on the interfaces already: see [`crate::veth::veth_pair`].
///
/// # Errors
/// What the kernel refused, or an interface that is not there.
pub fn link_local(
    server_netns: &impl Netns,
    server: (&str, Ipv6Addr),
    client_netns: &impl Netns,
    client_interface: &str,
) -> Result<Pair> {
    let (server_interface, address) = server;
    let listen = SocketAddrV6::new(address, 0, 0, index_of(server_netns, server_interface)?);
    let listener = server_netns.enter(|| listener(SocketAddr::V6(listen), 16, None))??;
    let port = local(&listener)?.port();
    let target = SocketAddrV6::new(address, port, 0, index_of(client_netns, client_interface)?);
    client_netns.enter(|| crate::states::connected(listener, SocketAddr::V6(target), None))?
}

/// A connection attempt whose answers get lost: SYN-RECV at the server, SYN-SENT at the client.
#[derive(Debug)]
pub struct HalfOpen {
    /// The listener; the SYN-RECV socket is its, and no process has it open.
    pub listener: Socket,
    /// The socket that connects, in SYN-SENT.
    pub client: Socket,
}

/// Makes the server answer to a hardware address that no one has, and connects to it.
///
/// `server` is the server's interface and address, `client` the address of the client; both are on the cable.
///
/// # Errors
/// What the kernel refused.
pub fn half_open(
    server_netns: &impl Netns,
    server: (&str, SocketAddr),
    client_netns: &impl Netns,
    client: &str,
) -> Result<HalfOpen> {
    let (interface, address) = server;
    let neighbour =
        ["neigh", "replace", client, "lladdr", NO_ONE, "dev", interface, "nud", "permanent"];
    server_netns.exec("ip", &neighbour)?;
    let listener = server_netns.enter(|| listener(address, 16, None))??;
    // The client resolves the server by a question that the server could not answer either.
    let text = server_netns.exec("ip", &["-o", "link", "show", interface])?;
    let lladdr = text.split_whitespace().skip_while(|word| *word != "link/ether").nth(1);
    let lladdr = lladdr.context("the server's interface has no hardware address")?;
    let route = client_netns.exec("ip", &["-o", "route", "get", &address.ip().to_string()])?;
    let device =
        route.split_whitespace().skip_while(|word| *word != "dev").nth(1).context("no route")?;
    let server_ip = address.ip().to_string();
    client_netns.exec(
        "ip",
        &["neigh", "replace", &server_ip, "lladdr", lladdr, "dev", device, "nud", "permanent"],
    )?;

    let target = local(&listener)?;
    let client = client_netns.enter(|| connecting(target))??;
    Ok(HalfOpen { listener, client })
}

fn index_of(netns: &impl Netns, interface: &str) -> Result<u32> {
    let index = interfaces(Some(&netns.path()))?.get(interface).copied();
    index.with_context(|| format!("no interface {interface}"))
}

/// A locally administered address.
const NO_ONE: &str = "02:00:00:00:00:99";
