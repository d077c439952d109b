//! Rectangles of ports: together they are everything, and no two of them overlap.

use proptest::prelude::*;
use sockeye_filter::{Filter, Support, bytecode};
use sockeye_wire::request::Part;

use crate::socket::{PORTS, Socket, sockets};
use crate::{Netns, accepts, kernel};

/// Cuts one of the parts in two, as often as there are cuts.
fn cut(cuts: &[(prop::sample::Index, bool, u16)]) -> Vec<Part> {
    let mut parts = vec![Part::ALL];
    for (which, source, at) in cuts {
        let which = which.index(parts.len());
        let part = parts[which];
        let (low, high) = if *source { part.source } else { part.destination };
        if *at < low || *at >= high {
            continue;
        }
        let mut above = part;
        let below = &mut parts[which];
        if *source {
            (below.source, above.source) = ((low, *at), (*at + 1, high));
        } else {
            (below.destination, above.destination) = ((low, *at), (*at + 1, high));
        }
        parts.push(above);
    }
    parts
}

fn cuts() -> impl Strategy<Value = Vec<(prop::sample::Index, bool, u16)>> {
    let at = prop_oneof![any::<u16>(), prop::sample::select(&PORTS[..])];
    prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), at), 0..12)
}

proptest! {
    #[test]
    fn every_socket_is_in_exactly_one_part(
        cuts in cuts(), mut socket in sockets(), sport: u16, dport: u16, anywhere: bool,
    ) {
        if anywhere {
            (socket.source.1, socket.destination.1) = (sport, dport);
        }
        let mut found = 0;
        for part in cut(&cuts) {
            let program = bytecode(None, &[part], Support::LEAST);
            prop_assert_eq!(program.is_none(), part == Part::ALL);
            if let Some(program) = &program {
                prop_assert_eq!(kernel::audit(program, false), Ok(()));
            }
            let sent = accepts(program.as_deref(), &socket);
            prop_assert_eq!(sent, part.contains(socket.source.1, socket.destination.1));
            found += usize::from(sent);
        }
        prop_assert_eq!(found, 1);
    }

    #[test]
    fn a_filter_and_a_part_are_both_asked_for(cuts in cuts(), socket in sockets()) {
        let filter: Filter = "sport < 1000 or not dport :443 or dev eth0".parse().unwrap();
        let filter = filter.resolve(Netns);
        for part in cut(&cuts) {
            let program = bytecode(Some(&filter), &[part], Support::ALL).unwrap();
            prop_assert_eq!(kernel::audit(&program, false), Ok(()));
            let inside = part.contains(socket.source.1, socket.destination.1);
            prop_assert_eq!(kernel::run(&program, &socket), inside && socket.matches(&filter));
        }
    }
}

#[test]
fn equal_parts_are_parts_too() {
    let at = |port| Socket {
        source: (std::net::Ipv4Addr::LOCALHOST.into(), port),
        destination: (std::net::Ipv4Addr::LOCALHOST.into(), 443),
        interface: 0,
        mark: None,
        cgroup: None,
        autobound: true,
    };
    for count in [1, 2, 3, 7] {
        for port in PORTS {
            let sent = (0..count).filter(|index| {
                let part = Part::equal(*index, count);
                accepts(bytecode(None, &[part], Support::LEAST).as_deref(), &at(port))
            });
            assert_eq!(sent.count(), 1, "{port} of {count}");
        }
    }
}
