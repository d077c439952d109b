//! Mini-sockets of connections that no poll has seen: looked up by what the kernel told of their end.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use sockeye_source::sockdiag::{Modulus, PlanMode, Settings};
use sockeye_testkit::netns::{Netns as _, TestNetns};
use sockeye_testkit::states;
use sockeye_testkit::veth::{VethEnd, veth_pair};
use sockeye_wire::StateSet;

use crate::ear::{Ear, closed_settings, short_lived, tracking};
use crate::eye::{Eye, alone, connections, loopback, settings, within};
use crate::plans::{eye, sockets_of};

/// Plan of the next poll, and its rows, once no socket of the poll before is left that could be a bound one.
fn poll(eye: &mut Eye, netns: &TestNetns) -> (&'static str, Vec<(u64, u32, u32, u32)>) {
    thread::sleep(Duration::from_millis(200));
    let poll = eye.unchecked_poll(netns);
    (poll.part(netns.name()).plan, sockets_of(&poll, netns).into_iter().collect())
}

fn walked(netns: &TestNetns) -> Vec<(u64, u32, u32, u32)> {
    sockets_of(&eye(PlanMode::Full, StateSet::DEFAULT).poll(), netns).into_iter().collect()
}

/// A connection from `here` to `there`, closed by the end that connected: `FIN_WAIT2` is left of it until the other end, which is
/// given back, closes as well.
fn half_closed(here: &TestNetns, there: &TestNetns, address: &str) -> (TcpListener, TcpStream) {
    let listen = || TcpListener::bind(address.parse::<SocketAddr>().unwrap()).unwrap();
    let listener = there.enter(listen).unwrap();
    let to = listener.local_addr().unwrap();
    let client = here.enter(|| TcpStream::connect(to).unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    drop(client);
    (listener, server)
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn what_is_left_of_connections_that_nobody_saw_is_looked_up_where_their_end_is_told_of() {
    let _alone = alone();
    // More than eight listeners are listed and not looked up.
    for listeners in [0, 8] {
        is_looked_up(listeners);
    }
}

/// Beside a connection, its listener, and so many more. So few sockets that to look each of them up takes little of a walk, also
/// where tables are small.
fn is_looked_up(listeners: usize) {
    let [here, there] = &["ends", "peer"].map(|label| TestNetns::new(label).unwrap());
    let near = VethEnd { interface: "near", addresses: &["10.77.0.1/24", "fd77::1/64"] };
    let far = VethEnd { interface: "far", addresses: &["10.77.0.2/24", "fd77::2/64"] };
    veth_pair(here, near, there, far).unwrap();
    let _stays = connections(here, 1);
    let listen = || (0..listeners).map(|_| states::listener(loopback(), 1, None).unwrap());
    let _listeners: Vec<_> = here.enter(|| listen().collect()).unwrap();
    let stay = 3 + listeners;
    let mut ear = Ear::new(tracking(), closed_settings());
    let settled = |eye: &mut Eye| {
        within(Duration::from_secs(20), "it is looked up", || poll(eye, here).0 == "lookups");
    };
    settled(&mut ear.eye);
    let mut deaf = Eye::new(settings());
    settled(&mut deaf);

    // TIME_WAIT, which is no row, beside what was there.
    for host in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
        short_lived(here, host, 1, 10, 10);
        assert_eq!(poll(&mut ear.eye, here), ("lookups", walked(here)), "{host}");
        assert_eq!(poll(&mut deaf, here), ("walk", walked(here)), "nobody has told it");
        assert_eq!(poll(&mut deaf, here), ("lookups", walked(here)), "it has seen them");
    }
    // FIN_WAIT2, which is one.
    let mut open = Vec::new();
    for (address, rows) in [("10.77.0.2:0", 1), ("[fd77::2]:0", 2)] {
        open.push(half_closed(here, there, address));
        let (plan, found) = poll(&mut ear.eye, here);
        assert_eq!((plan, &found), ("lookups", &walked(here)), "{address}");
        let port = u32::from(open.last().unwrap().0.local_addr().unwrap().port());
        let is_left = |&&(_, state, _, to): &&(u64, u32, u32, u32)| state == 5 && to == port;
        assert_eq!((found.len(), found.iter().filter(is_left).count()), (stay + rows, 1));
        assert_eq!(poll(&mut ear.eye, here), ("lookups", found), "and the next time");
    }
    // Which is none any more when the other end has closed as well.
    drop(open);
    let (plan, found) = poll(&mut ear.eye, here);
    assert_eq!((plan, found.len(), &found), ("lookups", stay, &walked(here)));
    assert_eq!(ear.eye.source.counters().totals().check_differences, 0);
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn keys_of_connections_that_ended_are_kept_for_small_namespaces_that_polls_may_look_them_up_in() {
    let _alone = alone();
    let netns = TestNetns::new("kept").unwrap();
    let taken = |settings: Settings| {
        let mut ear = Ear::new(settings, closed_settings());
        ear.eye.poll();
        let before = ear.eye.source.track_totals().unwrap().bytes;
        short_lived(&netns, "127.0.0.1", 50, 10, 10);
        ear.rows();
        let kept = ear.eye.source.track_totals().unwrap().bytes - before;
        ear.eye.poll();
        (kept, ear.eye.source.track_totals().unwrap().bytes)
    };
    // 100 ends, in steps of powers of two, of 49 bytes each.
    let (kept, after) = taken(tracking());
    assert_eq!(kept, 128 * 49, "{after}");
    // Whatever sample the rows are.
    assert_eq!(taken(Settings { modulus: Modulus::one_in(1 << 20), ..tracking() }).0, 128 * 49);
    let full = Settings { plan: PlanMode::Full, ..tracking() };
    let states = Settings { states: "established".parse().unwrap(), ..tracking() };
    assert_eq!([full, states].map(|settings| taken(settings).0), [0, 0]);
    let _many = connections(&netns, 700);
    assert_eq!(taken(tracking()).0, 0);
}
