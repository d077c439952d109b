//! A namespace with one of each: IPv4, IPv6, mapped, listeners, bound to devices, marked, in TIME-WAIT, in a cgroup.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Mutex;

use socket2::{Domain, Socket, Type};
use sockeye_testkit::netns::{Netns as _, TestNetns};
use sockeye_testkit::states::{self, Pair, TimeWait, local};

/// `ip_local_port_range` of every [`World`].
pub(crate) const CHOSEN: (u16, u16) = (40_000, 50_000);

pub(crate) struct World {
    pub(crate) netns: TestNetns,
    _sockets: Sockets,
}

#[derive(Default)]
struct Sockets {
    pairs: Vec<Pair>,
    single: Vec<Socket>,
    time_wait: Vec<TimeWait>,
}

impl World {
    pub(crate) fn new(label: &str) -> Self {
        let netns = TestNetns::new(label).unwrap();
        netns.exec("ip", &["link", "add", "d0", "type", "veth", "peer", "name", "d1"]).unwrap();
        netns.exec("ip", &["addr", "add", "10.9.0.1/24", "dev", "d0"]).unwrap();
        netns.exec("ip", &["link", "set", "d0", "up"]).unwrap();
        netns.set_sysctl("ipv4/ip_local_port_range", "40000 50000").unwrap();
        let sockets = netns.enter(sockets).unwrap();
        Self { netns, _sockets: sockets }
    }
}

fn v4(octets: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::from(octets).into(), port)
}

fn v6(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port)
}

fn sockets() -> Sockets {
    let mut all = Sockets::default();
    for address in [
        v4([127, 0, 0, 1], 443),
        v4([127, 0, 0, 2], 443),
        v4([127, 0, 0, 2], 80),
        v4([127, 0, 0, 1], 22),
        v4([127, 0, 0, 1], 1000),
        v4([127, 0, 0, 9], 2000),
        v4([10, 9, 0, 1], 443),
        v4([10, 9, 0, 1], 8080),
        v6(443),
        v6(22),
    ] {
        all.pairs.push(states::established(address, None).unwrap());
    }
    all.pairs.push(states::mapped().unwrap());
    for (pair, mark) in all.pairs.iter().zip([5, 6, 1]) {
        pair.client.set_mark(mark).unwrap();
        pair.listener.set_mark(mark).unwrap();
    }
    all.single.push(states::listener(v4([0, 0, 0, 0], 1500), 5, None).unwrap());
    all.single.push(states::listener(v4([127, 0, 0, 1], 45_000), 5, None).unwrap());
    for (address, device) in
        [(v4([10, 9, 0, 1], 9443), "d0"), (v4([127, 0, 0, 1], 9444), "lo"), (v6(9445), "lo")]
    {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.bind_device(Some(device.as_bytes())).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(5).unwrap();
        all.single.push(socket);
    }
    // A client that names its port and is bound to a device.
    let server = states::listener(v4([127, 0, 0, 3], 443), 5, None).unwrap();
    let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    client.bind_device(Some(b"lo")).unwrap();
    client.set_mark(7).unwrap();
    client.bind(&v4([127, 0, 0, 1], 41_000).into()).unwrap();
    client.connect(&local(&server).unwrap().into()).unwrap();
    let (accepted, _) = server.accept().unwrap();
    all.single.extend([server, client, accepted]);
    all.time_wait.push(states::time_wait(v4([127, 0, 0, 1], 80)).unwrap());
    all
}

/// A cgroup with one socket.
pub(crate) struct InCgroup {
    /// Its path below the hierarchy.
    pub(crate) path: String,
    /// Where the hierarchy is.
    pub(crate) mount: PathBuf,
    folder: PathBuf,
    _socket: Socket,
}

/// Makes a cgroup and in it one listener of the world; `None` where there is no hierarchy that can be written.
///
/// A socket keeps the cgroup that its process had, and the test runs in the one that it had before.
pub(crate) fn in_cgroup(world: &World) -> Option<InCgroup> {
    static MOVING: Mutex<()> = Mutex::new(());
    let _alone = MOVING.lock().unwrap();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
    let mount = Path::new(mount.split(' ').nth(1)?);
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap().to_owned();
    let path = format!("/skt-filter-{}", process::id());
    let folder = mount.join(&path[1..]);
    fs::create_dir(&folder).ok()?;
    let enter = |folder: &Path| fs::write(folder.join("cgroup.procs"), process::id().to_string());
    let entered = enter(&folder);
    let socket = entered.is_ok().then(|| {
        let listener = || states::listener(v4([127, 0, 0, 4], 9600), 5, None).unwrap();
        world.netns.enter(listener).unwrap()
    });
    enter(&mount.join(own)).unwrap();
    let Some(socket) = socket else {
        fs::remove_dir(&folder).unwrap();
        return None;
    };
    Some(InCgroup { path, mount: mount.to_owned(), folder, _socket: socket })
}

impl Drop for InCgroup {
    fn drop(&mut self) {
        // The socket does not hold the directory, only the id.
        let _ = fs::remove_dir(&self.folder);
    }
}
