//! One dump of the calling thread's namespace with a given program, and the sockets of `ss` in the same form.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use sockeye_filter::Resolved;
use sockeye_sys::DiagSocket;
use sockeye_testkit::ss::{SsAddress, parse};
use sockeye_wire::netlink::{NLMSG_DONE, NLMSG_ERROR};
use sockeye_wire::{AttrSet, InetDiag, Messages, Request, StateSet};

/// Addresses and ports: the family is that of the addresses.
pub(crate) type Key = (IpAddr, u16, IpAddr, u16);

/// A socket as the kernel described it.
#[derive(Clone)]
pub(crate) struct Row(Vec<u8>);

impl Row {
    pub(crate) fn key(&self) -> Key {
        let diag = self.diag();
        let (source, destination) = (diag.source().ip(), diag.destination().ip());
        (source, diag.source_port(), destination, diag.destination_port())
    }

    pub(crate) fn matches(&self, filter: &Resolved) -> bool {
        filter.matches(&self.diag())
    }

    /// In SYN-RECV: the kernel has a small socket for it, with little of what others have.
    pub(crate) fn is_half_open(&self) -> bool {
        self.diag().state() == 3
    }

    fn diag(&self) -> InetDiag<'_> {
        InetDiag::parse(&self.0, AttrSet::ALL).unwrap()
    }
}

/// Every socket of the namespace that the program accepts, or the errno of the refusal.
pub(crate) fn dump(bytecode: &[u8]) -> Result<Vec<Row>, i32> {
    let socket = DiagSocket::open(Duration::from_secs(5)).unwrap();
    let request = Request { states: StateSet::ALL, attrs: AttrSet::ALL, bytecode }.encode(1);
    socket.send(request.as_bytes()).unwrap();
    let mut rows = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let received = socket.recv(&mut buffer).unwrap();
        assert!(!received.truncated && received.from_kernel);
        for message in Messages::new(&buffer[..received.len]) {
            let message = message.unwrap();
            match message.kind {
                NLMSG_DONE if message.errno() == Some(0) => return Ok(rows),
                NLMSG_DONE | NLMSG_ERROR => return Err(message.errno().unwrap()),
                _ => rows.push(Row(message.payload.to_vec())),
            }
        }
    }
}

/// What `ss` printed.
pub(crate) fn keys_of_ss(text: &str) -> Vec<Key> {
    let ip = |address: &SsAddress| address.ip.unwrap_or(Ipv6Addr::UNSPECIFIED.into());
    let sockets = parse(text).unwrap();
    let mut keys: Vec<Key> = sockets
        .iter()
        .map(|it| (ip(&it.local), it.local.port, ip(&it.peer), it.peer.port))
        .collect();
    keys.sort();
    keys
}
