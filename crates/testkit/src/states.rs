//! Single TCP sockets in a particular state, in the namespace of the calling thread.
//!
//! Inside a namespace, call them through [`crate::netns::Netns::enter`]: sockets stay in the namespace they were made
//! in, whichever thread holds them. Each function returns the sockets; the state lasts until they are dropped.

use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::stat::fstat;
use socket2::{Domain, Socket, Type};

use crate::proc_net_tcp::wait_until;

/// A connection and the listener that accepted it.
#[derive(Debug)]
pub struct Pair {
    /// The listener.
    pub listener: Socket,
    /// The end that connected.
    pub client: Socket,
    /// The end that was accepted.
    pub server: Socket,
}

/// An established connection on `listen` (port 0 picks one), optionally with a congestion control such as `bbr`.
///
/// # Errors
/// What the kernel refused.
pub fn established(listen: SocketAddr, congestion: Option<&str>) -> Result<Pair> {
    let listener = listener(listen, 16, congestion)?;
    let target = local(&listener)?;
    connected(listener, target, congestion)
}

/// A connection from 127.0.0.1 to a dual-stack listener on `[::]`: the server's addresses are `::ffff:127.0.0.1`.
///
/// # Errors
/// What the kernel refused.
pub fn mapped() -> Result<Pair> {
    let listener = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    listener.set_only_v6(false)?;
    listener.bind(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0).into())?;
    listener.listen(16)?;
    let target = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), local(&listener)?.port());
    connected(listener, target, None)
}

/// A connection that its client has shut down for writing: FIN-WAIT-2 at the client, CLOSE-WAIT at the server.
///
/// # Errors
/// What the kernel refused.
pub fn half_closed(listen: SocketAddr) -> Result<Pair> {
    let pair = established(listen, None)?;
    pair.client.shutdown(Shutdown::Write)?;
    expect_end(&pair.server)?;
    // The acknowledgement of the end may be delayed; until then it is FIN-WAIT-1.
    let inode = fstat(pair.client.as_fd())?.st_ino;
    wait_until("FIN-WAIT-2", PATIENCE, |entries| {
        entries.get(&inode).is_some_and(|entry| entry.state == FIN_WAIT2)
    })?;
    Ok(pair)
}

/// A socket without a process, in TIME-WAIT for a minute.
#[derive(Debug)]
pub struct TimeWait {
    /// The listener, still open.
    pub listener: Socket,
    /// The end that is in TIME-WAIT.
    pub local: SocketAddr,
    /// The end that is no more.
    pub peer: SocketAddr,
    /// The cookie that the socket had while it lived; it keeps it.
    pub cookie: u64,
}

/// A connection that its client closed first: the client's end is in TIME-WAIT.
///
/// # Errors
/// What the kernel refused.
pub fn time_wait(listen: SocketAddr) -> Result<TimeWait> {
    let Pair { listener, client, server } = established(listen, None)?;
    let (local, peer, cookie) = (local(&client)?, local(&server)?, client.cookie()?);
    drop(client);
    expect_end(&server)?;
    drop(server);
    Ok(TimeWait { listener, local, peer, cookie })
}

/// A listener with connections that no one accepts.
#[derive(Debug)]
pub struct Waiting {
    /// The listener; `ss` shows the number of waiting connections as Recv-Q and the backlog as Send-Q.
    pub listener: Socket,
    /// The clients of the waiting connections, all established.
    pub clients: Vec<Socket>,
}

/// A listener with a limit of `backlog` and `waiting` connections in its accept queue.
///
/// The kernel lets one more wait than the backlog says.
///
/// # Errors
/// What the kernel refused; more than `backlog + 1` connections cannot wait.
pub fn waiting(listen: SocketAddr, backlog: i32, waiting: usize) -> Result<Waiting> {
    if usize::try_from(backlog).is_ok_and(|backlog| waiting > backlog + 1) {
        bail!("{waiting} connections cannot wait at a backlog of {backlog}");
    }
    let listener = listener(listen, backlog, None)?;
    let target = local(&listener)?;
    let mut clients = Vec::new();
    for _ in 0..waiting {
        let client = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
        client.connect_timeout(&target.into(), PATIENCE)?;
        clients.push(client);
    }
    Ok(Waiting { listener, clients })
}

/// A socket in SYN-SENT, for about two minutes.
#[derive(Debug)]
pub struct SynSent {
    /// The listener that does not answer, and the connection that fills its queue.
    pub full: Waiting,
    /// The socket that connects.
    pub client: Socket,
}

/// A connection attempt to a listener whose accept queue is full, which drops every SYN.
///
/// # Errors
/// What the kernel refused.
pub fn syn_sent(listen: SocketAddr) -> Result<SynSent> {
    let full = waiting(listen, 0, 1)?;
    let target = local(&full.listener)?;
    let client = connecting(target)?;
    Ok(SynSent { full, client })
}

/// A socket that is bound and neither listens nor connects.
///
/// `ss` 6.1 never shows it: it does not ask for the pseudo-state `TCP_BOUND_INACTIVE` (Linux 6.8).
///
/// # Errors
/// What the kernel refused.
pub fn bound(address: SocketAddr) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A listener. Port 0 picks one: see [`local`].
///
/// # Errors
/// What the kernel refused.
pub fn listener(address: SocketAddr, backlog: i32, congestion: Option<&str>) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if let Some(congestion) = congestion {
        socket.set_tcp_congestion(congestion.as_bytes())?;
    }
    socket.bind(&address.into()).with_context(|| format!("listening on {address}"))?;
    socket.listen(backlog)?;
    Ok(socket)
}

/// Listeners that share one address and port (`SO_REUSEPORT`).
///
/// # Errors
/// What the kernel refused.
pub fn reuseport_listeners(address: SocketAddr, count: usize) -> Result<Vec<Socket>> {
    let mut listeners: Vec<Socket> = Vec::new();
    for _ in 0..count {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_port(true)?;
        let address = listeners.first().map_or(Ok(address), local)?;
        socket.bind(&address.into()).with_context(|| format!("listening on {address}"))?;
        socket.listen(1)?;
        listeners.push(socket);
    }
    Ok(listeners)
}

/// The local address of a socket.
///
/// # Errors
/// It has none.
pub fn local(socket: &Socket) -> Result<SocketAddr> {
    socket.local_addr()?.as_socket().context("no internet address")
}

/// A socket that has sent its SYN and waits no longer.
pub(crate) fn connecting(target: SocketAddr) -> Result<Socket> {
    let client = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    client.set_nonblocking(true)?;
    match client.connect(&target.into()) {
        Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => Ok(client),
        Ok(()) => bail!("{target} answered, and was not to"),
        Err(error) => Err(error).with_context(|| format!("connecting to {target}")),
    }
}

pub(crate) fn connected(
    listener: Socket,
    target: SocketAddr,
    congestion: Option<&str>,
) -> Result<Pair> {
    let client = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    if let Some(congestion) = congestion {
        client.set_tcp_congestion(congestion.as_bytes())?;
    }
    client
        .connect_timeout(&target.into(), PATIENCE)
        .with_context(|| format!("connecting to {target}"))?;
    let (server, _) = listener.accept()?;
    Ok(Pair { listener, client, server })
}

fn expect_end(mut socket: &Socket) -> Result<()> {
    socket.set_read_timeout(Some(PATIENCE))?;
    match socket.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => bail!("data where the end was expected"),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            bail!("no end within {PATIENCE:?}")
        }
        Err(error) => Err(error.into()),
    }
}

const FIN_WAIT2: u8 = 5;
const PATIENCE: Duration = Duration::from_secs(5);
