//! `sockeye-spread CONNECTIONS CHURN MILLISECONDS ORDERLY NETNS…`: a listener and connections in each namespace, until stdin
//! ends.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, SockAddr, Socket, Type};
use sockeye_testkit::spread::{READY, SpreadOptions};

/// A namespace, its listener and the connections to it.
struct Place {
    netns: File,
    listener: Socket,
    address: SockAddr,
    connections: Vec<(Socket, Socket)>,
}

fn main() -> Result<()> {
    let options = SpreadOptions::from_arguments(std::env::args().skip(1))?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("the limit of file descriptors")?;
    let home = File::open("/proc/thread-self/ns/net")?;
    let mut places = Vec::new();
    for path in &options.netns {
        let netns = File::open(path).with_context(|| path.display().to_string())?;
        places.push(Place::open(netns, options.connections)?);
    }
    setns(home.as_fd(), CloneFlags::CLONE_NEWNET)?;
    let mut out = io::stdout().lock();
    out.write_all(READY.as_bytes())?;
    out.flush()?;

    if options.churn == 0 {
        io::copy(&mut io::stdin().lock(), &mut io::sink())?;
        return Ok(());
    }
    let mut next = Instant::now();
    while !stdin_ended(next.saturating_duration_since(Instant::now()))? {
        // Rounds that a busy host held up are left out: to catch up takes more ports at once than there are.
        next = (next + options.every).max(Instant::now());
        for place in &places {
            setns(place.netns.as_fd(), CloneFlags::CLONE_NEWNET)?;
            for _ in 0..options.churn {
                let (client, server) = place.connect()?;
                if !options.orderly {
                    client.set_linger(Some(Duration::ZERO))?;
                }
                drop(client);
                drop(server);
            }
        }
        setns(home.as_fd(), CloneFlags::CLONE_NEWNET)?;
    }
    Ok(())
}

impl Place {
    /// Moves this thread into the namespace.
    fn open(netns: File, connections: usize) -> Result<Self> {
        setns(netns.as_fd(), CloneFlags::CLONE_NEWNET)?;
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        listener.listen(128)?;
        let address = listener.local_addr()?;
        let mut place = Self { netns, listener, address, connections: Vec::new() };
        place.connections =
            (0..connections).map(|_| place.connect()).collect::<Result<Vec<_>>>()?;
        Ok(place)
    }

    fn connect(&self) -> Result<(Socket, Socket)> {
        let client = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        client
            .connect(&self.address)
            .with_context(|| format!("to {:?}", self.address.as_socket()))?;
        let (server, _) = self.listener.accept()?;
        Ok((client, server))
    }
}

/// Waits so long for the end of stdin, on which nothing is ever written.
fn stdin_ended(wait: Duration) -> Result<bool> {
    let stdin = io::stdin();
    let mut polled = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
    Ok(poll(&mut polled, timeout)? > 0)
}
