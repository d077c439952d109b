//! Opens the connections of the load generator, moves a known number of bytes over each, and says what is true.
//!
//! One thread and blocking sockets: on loopback the kernel completes a handshake inside `connect`, so connecting and
//! accepting in turn needs no event loop, and no accept queue ever fills. Entering a namespace and changing the user
//! are for the whole process, so this is for a process of its own, `sockeye-load`.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, setns};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::fstat;
use nix::unistd::{Gid, Uid, setfsuid, setresgid, setresuid};
use socket2::{Domain, Socket, Type};

use crate::load::{Role, TruthSocket};
use crate::load_options::LoadOptions;
use crate::proc_net_tcp::wait_until;

/// Open sockets and what is true of them. Dropping it closes them.
#[derive(Debug)]
pub struct GeneratedLoad {
    truth: Vec<TruthSocket>,
    _sockets: Vec<Socket>,
}

impl GeneratedLoad {
    /// What is true of each socket, listeners first, then client and server of each connection.
    pub fn truth(&self) -> &[TruthSocket] {
        &self.truth
    }
}

/// Opens all connections, and returns when every byte on them has been read and acknowledged.
///
/// Changes the process: its namespace, its user, its limit of file descriptors.
///
/// # Errors
/// What the kernel refused: the namespace, the user, an address, a port, the number of descriptors.
pub fn generate(options: &LoadOptions) -> Result<GeneratedLoad> {
    prepare_process(options)?;
    let listeners = listeners(options)?;
    let targets: Vec<(&Socket, SocketAddr)> = listeners
        .iter()
        .flat_map(|(socket, targets)| targets.iter().map(move |target| (socket, *target)))
        .collect();

    let mut connections = Vec::with_capacity(options.connections);
    for (number, (listener, target)) in targets.iter().cycle().take(options.connections).enumerate()
    {
        let connection = connect(options, listener, *target, number).with_context(|| {
            format!("connection {number} of {} to {target}", options.connections)
        })?;
        connections.push(connection);
    }

    let range = (options.bytes.end() - options.bytes.start()).saturating_add(1);
    let size = |number: usize| options.bytes.start() + number as u64 % range;
    let mut truth = Vec::new();
    for (listener, _) in &listeners {
        truth.push(truth_of(listener, Role::Listener, 0, 0)?);
    }
    for (number, (client, server)) in connections.iter().enumerate() {
        let (up, down) = (size(2 * number), size(2 * number + 1));
        transfer(client, server, up)?;
        transfer(server, client, down)?;
        truth.push(truth_of(client, Role::Client, up, down)?);
        truth.push(truth_of(server, Role::Server, down, up)?);
    }
    wait_until_quiet(&truth)?;
    become_owner(options)?;

    let mut sockets: Vec<Socket> = listeners.into_iter().map(|(socket, _)| socket).collect();
    sockets.extend(connections.into_iter().flat_map(<[Socket; 2]>::from));
    Ok(GeneratedLoad { truth, _sockets: sockets })
}

fn prepare_process(options: &LoadOptions) -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
        .context("raising the limit of file descriptors")?;
    let needed = options.connections as u64 * 2 + 100;
    ensure!(
        needed <= hard,
        "{} connections need {needed} descriptors and the limit is {hard}",
        options.connections
    );

    if let Some(path) = options.netns_path() {
        let netns = File::open(&path).with_context(|| format!("namespace {}", path.display()))?;
        setns(netns.as_fd(), CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("entering {}", path.display()))?;
        // Only in a namespace that was named: that of the host is not ours to change.
        for (name, value) in
            [("ipv4/ip_local_port_range", "10000 65535"), ("core/somaxconn", "65535")]
        {
            fs::write(format!("/proc/sys/net/{name}"), value)
                .with_context(|| format!("{name} = {value}"))?;
        }
    }
    if let Some(uid) = options.uid {
        // A socket belongs to the file system user. That alone is changed first, because choosing a congestion control
        // that is not open to all needs the capabilities of root.
        setfsuid(Uid::from_raw(uid));
    }
    Ok(())
}

fn become_owner(options: &LoadOptions) -> Result<()> {
    let Some(uid) = options.uid else { return Ok(()) };
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(uid));
    setresgid(gid, gid, gid).context("changing the group")?;
    setresuid(uid, uid, uid).context("changing the user")
}

/// All listeners, each with the addresses that clients reach it by.
fn listeners(options: &LoadOptions) -> Result<Vec<(Socket, Vec<SocketAddr>)>> {
    let mut listeners = Vec::new();
    for &port in &options.ports {
        for &ip in &options.listen {
            let listener = listen(options, SocketAddr::new(ip, port), false)?;
            let address = address_of(listener.local_addr()?)?;
            listeners.push((listener, vec![address]));
        }
        if options.dual_stack {
            let listener =
                listen(options, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), true)?;
            let port = address_of(listener.local_addr()?)?.port();
            let loopbacks = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            listeners.push((listener, loopbacks.map(|ip| SocketAddr::new(ip, port)).to_vec()));
        }
    }
    Ok(listeners)
}

fn listen(options: &LoadOptions, address: SocketAddr, dual_stack: bool) -> Result<Socket> {
    let socket = socket_for(options, address)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual_stack && !is_mapped(address.ip()))?;
    }
    socket.bind(&address.into()).with_context(|| format!("listening on {address}"))?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn connect(
    options: &LoadOptions,
    listener: &Socket,
    target: SocketAddr,
    number: usize,
) -> Result<(Socket, Socket)> {
    let client = socket_for(options, target)?;
    let kind = |ip: IpAddr| (ip.is_ipv6(), is_mapped(ip));
    let sources: Vec<&IpAddr> = options
        .client_addresses
        .iter()
        .filter(|source| kind(**source) == kind(target.ip()))
        .collect();
    if let Some(source) = number.checked_rem(sources.len()).and_then(|index| sources.get(index)) {
        client
            .bind(&SocketAddr::new(**source, 0).into())
            .with_context(|| format!("binding to {source}"))?;
    }
    client.connect_timeout(&target.into(), PATIENCE)?;
    let (server, from) = listener.accept()?;
    let (from, expected) = (address_of(Some(from))?, address_of(client.local_addr()?)?);
    // An IPv4 client of a dual-stack listener is accepted as ::ffff:a.b.c.d.
    let same =
        from.ip().to_canonical() == expected.ip().to_canonical() && from.port() == expected.port();
    ensure!(same, "a stranger connected: {from} instead of {expected}");
    Ok((client, server))
}

fn socket_for(options: &LoadOptions, address: SocketAddr) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if let Some(congestion) = &options.congestion {
        socket
            .set_tcp_congestion(congestion.as_bytes())
            .with_context(|| format!("congestion control {congestion}"))?;
    }
    if let Some(tos) = options.tos {
        socket.set_tos_v4(tos).with_context(|| format!("type of service {tos}"))?;
        if address.is_ipv6() {
            socket.set_tclass_v6(tos).with_context(|| format!("traffic class {tos}"))?;
        }
    }
    Ok(socket)
}

/// Sends `bytes` and reads them, in pieces that fit the smallest buffers: nothing here can block for good.
fn transfer(mut from: &Socket, mut to: &Socket, bytes: u64) -> Result<()> {
    let mut buffer = [0x5a; PIECE];
    let mut left = bytes;
    while left > 0 {
        let piece = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        let piece = buffer.get_mut(..piece).context("a piece is at most the buffer")?;
        from.write_all(piece)?;
        to.read_exact(piece)?;
        left -= piece.len() as u64;
    }
    Ok(())
}

/// Waits until no socket has anything unacknowledged or unread.
fn wait_until_quiet(truth: &[TruthSocket]) -> Result<()> {
    wait_until("all bytes acknowledged", PATIENCE, |entries| {
        truth.iter().all(|socket| entries.get(&socket.inode).is_some_and(|entry| !entry.busy))
    })
}

fn truth_of(
    socket: &Socket,
    role: Role,
    bytes_sent: u64,
    bytes_received: u64,
) -> Result<TruthSocket> {
    let local = address_of(socket.local_addr()?)?;
    let (peer, state) = if role == Role::Listener {
        let unspecified: IpAddr = if local.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        (SocketAddr::new(unspecified, 0), "LISTEN")
    } else {
        (address_of(socket.peer_addr()?)?, "ESTAB")
    };
    let stat = fstat(socket.as_fd())?;
    Ok(TruthSocket {
        role,
        family: if local.is_ipv4() { 2 } else { 10 },
        local: local.ip().to_string(),
        local_port: local.port(),
        peer: peer.ip().to_string(),
        peer_port: peer.port(),
        inode: stat.st_ino,
        cookie: socket.cookie()?,
        uid: stat.st_uid,
        state: state.to_owned(),
        bytes_sent,
        bytes_received,
    })
}

/// Takes both a `SockAddr` and the result of calls that give one.
fn address_of(address: impl Into<Option<socket2::SockAddr>>) -> Result<SocketAddr> {
    address.into().and_then(|address| address.as_socket()).context("no internet address")
}

fn is_mapped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some())
}

/// Of each listener; the kernel cuts it to somaxconn.
const BACKLOG: i32 = 4096;
/// Below the smallest send buffer, 16 KiB.
const PIECE: usize = 8192;
const PATIENCE: Duration = Duration::from_secs(30);
