//! The life of connections that end soon: opened at their time, sent over in parts, and closed.
//!
//! One thread and blocking sockets, as in [`crate::generate`]: on loopback a handshake is done inside `connect`, and what
//! is sent can be read at once. Entering a namespace is for the whole process, so this is for `sockeye-brief`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, setns};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::brief::{Brief, BriefOptions, Done, End};

/// Listeners that nobody has connected to yet.
#[derive(Debug)]
pub struct Ground {
    listeners: Vec<(Socket, SockAddr)>,
}

/// One connection while it lives.
struct Life {
    client: Socket,
    server: Socket,
    truth: Brief,
    /// Bytes that are still to be sent, each way, and in how many parts.
    left: (u64, u64, u32),
    /// When the rest of it happens, and when it ends.
    every: Duration,
    ends: Instant,
}

/// Moves the process into the namespace and listens there.
///
/// # Errors
/// The namespace can't be entered, or has no addresses.
pub fn prepare(options: &BriefOptions) -> Result<Ground> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("the limit of file descriptors")?;
    if let Some(path) = &options.netns {
        let netns = File::open(path).with_context(|| path.display().to_string())?;
        setns(netns.as_fd(), CloneFlags::CLONE_NEWNET)?;
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", "10000 65535")?;
    }
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let addresses = match options.family {
        4 => vec![v4],
        6 => vec![v6],
        _ => vec![v4, v6],
    };
    let listen = |address: SocketAddr| -> Result<(Socket, SockAddr)> {
        let listener = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        listener.bind(&address.into())?;
        listener.listen(128)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    Ok(Ground { listeners: addresses.into_iter().map(listen).collect::<Result<_>>()? })
}

impl Ground {
    /// Opens and ends all connections; `tell` is called with the truth of each when it has ended.
    ///
    /// # Errors
    /// What the kernel refused: there are too many at once, or no port is left.
    pub fn live(self, options: &BriefOptions, mut tell: impl FnMut(&Brief)) -> Result<Done> {
        let mut random = Random(options.seed | 1);
        let mut alive: BinaryHeap<Reverse<(Instant, usize)>> = BinaryHeap::new();
        let mut lives: Vec<Option<Life>> = Vec::new();
        let mut done = Done { connections: 0, up: 0, down: 0, took_us: 0 };
        let began = Instant::now();
        let spacing =
            Duration::from_nanos(1_000_000_000_u64.checked_div(options.rate).unwrap_or(0));
        let mut opened = 0;
        loop {
            let now = Instant::now();
            let opens = began + spacing * u32::try_from(opened).unwrap_or(u32::MAX);
            let due = alive.peek().map(|Reverse((at, _))| *at);
            let is_due = due.is_some_and(|at| at <= now);
            if opened < options.connections && opens <= now && !is_due {
                let turn = opened % self.listeners.len();
                let life = self.open(turn, options, &mut random)?;
                alive.push(Reverse((now + life.every, lives.len())));
                lives.push(Some(life));
                opened += 1;
                continue;
            }
            let Some(at) = due else {
                if opened >= options.connections {
                    break;
                }
                thread::sleep(opens.saturating_duration_since(now));
                continue;
            };
            if !is_due {
                let next = if opened < options.connections { at.min(opens) } else { at };
                thread::sleep(next.saturating_duration_since(now));
                continue;
            }
            let Some(Reverse((_, place))) = alive.pop() else { break };
            let Some(mut life) = lives.get_mut(place).and_then(Option::take) else { continue };
            life.send(life.left.2 <= 1)?;
            if life.left.2 > 0 || now < life.ends {
                let next = if life.left.2 > 0 { now + life.every } else { life.ends };
                alive.push(Reverse((next, place)));
                if let Some(place) = lives.get_mut(place) {
                    *place = Some(life);
                }
                continue;
            }
            let truth = life.truth;
            life.end(options.end)?;
            done.connections += 1;
            done.up += truth.up;
            done.down += truth.down;
            tell(&truth);
        }
        done.took_us = u64::try_from(began.elapsed().as_micros())?;
        Ok(done)
    }

    fn open(&self, turn: usize, options: &BriefOptions, random: &mut Random) -> Result<Life> {
        let (listener, address) = self.listeners.get(turn).context("a listener")?;
        let client = Socket::new(address.domain(), Type::STREAM, None)?;
        client.connect(address).context("connecting")?;
        let (server, _) = listener.accept()?;
        client.set_tcp_nodelay(true)?;
        server.set_tcp_nodelay(true)?;
        let (up, down) = (random.within(&options.bytes), random.within(&options.bytes));
        let parts = 1 + u32::try_from(random.next() % u64::from(options.parts.max(1)))?;
        let life = Duration::from_micros(random.within(&options.life_us));
        Ok(Life {
            truth: Brief {
                client: client.cookie()?,
                server: server.cookie()?,
                up,
                down,
                ipv6: address.is_ipv6(),
            },
            client,
            server,
            left: (
                if options.end == End::Reset { up.saturating_sub(LAST_BYTES as u64) } else { up },
                down,
                parts,
            ),
            every: life / (parts + 1),
            ends: Instant::now() + life,
        })
    }
}

impl Life {
    /// Sends a part, or all that is left, and reads it at the other end.
    fn send(&mut self, all: bool) -> Result<()> {
        let (up, down, parts) = self.left;
        if parts == 0 {
            return Ok(());
        }
        let share = |left: u64| if all { left } else { left / u64::from(parts) };
        move_bytes(&self.client, &self.server, share(up))?;
        move_bytes(&self.server, &self.client, share(down))?;
        self.left = (up - share(up), down - share(down), parts - 1);
        Ok(())
    }

    fn end(self, how: End) -> Result<()> {
        if how == End::Reset {
            (&self.client).write_all(&[0; LAST_BYTES])?;
            drop(self.server);
            return Ok(());
        }
        drop(self.client);
        // Its end is read, as a server would; then it closes as well.
        let read = (&self.server).read(&mut [0])?;
        ensure!(read == 0, "more than was sent");
        Ok(())
    }
}

fn move_bytes(mut from: &Socket, mut to: &Socket, bytes: u64) -> Result<()> {
    let mut chunk = [0x5e; CHUNK_BYTES];
    let mut left = usize::try_from(bytes)?;
    while left > 0 {
        let part = left.min(CHUNK_BYTES);
        let chunk = chunk.get_mut(..part).context("a part of it")?;
        from.write_all(chunk)?;
        to.read_exact(chunk)?;
        left -= part;
    }
    Ok(())
}

/// xorshift64: what is random here must be the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 8
    }

    fn within(&mut self, range: &std::ops::RangeInclusive<u64>) -> u64 {
        range.start() + self.next() % (range.end() - range.start() + 1)
    }
}

/// What a server that resets has not read.
const LAST_BYTES: usize = 1;
/// Less than any socket's buffer: a write never waits for the read behind it.
const CHUNK_BYTES: usize = 8192;
