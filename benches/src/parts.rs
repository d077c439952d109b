//! Parts of a namespace by its ports, for bare loops that read one each.

use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::{Result, anyhow};
use sockeye_sys::DiagSocket;
use sockeye_wire::bytecode::{Predicate, assemble};
use sockeye_wire::inet_diag::is_socket;
use sockeye_wire::request::Part;
use sockeye_wire::{AttrSet, InetDiag, Messages};

use crate::request::drain;

/// A program for each of so many parts of the calling thread's network namespace, which hold every socket once and are as
/// even as the ports of its sockets are now: pairs of ports are put in order, and the order is cut.
///
/// # Errors
/// The kernel refused, or a program is too long.
pub fn programs(count: NonZeroUsize) -> Result<Vec<Vec<u8>>> {
    let mut pairs = ports(&[])?;
    pairs.sort_unstable();
    let count = count.get();
    let cut = |part: usize| pairs.get(pairs.len() * part / count).copied().unwrap_or_default();
    let program = |part: usize| {
        let from = if part == 0 { Predicate::ALWAYS } else { below(cut(part)).negated() };
        let to = if part + 1 == count { Predicate::ALWAYS } else { below(cut(part + 1)) };
        let mut program = Vec::new();
        assemble(&from.and(to), &mut program).map_err(|_| anyhow!("a program is too long"))?;
        Ok(program)
    };
    (0..count).map(program).collect()
}

/// Source and destination port of each socket that the program lets through.
fn ports(program: &[u8]) -> Result<Vec<(u16, u16)>> {
    let socket = DiagSocket::open(Duration::from_mins(1))?;
    let mut pairs = Vec::new();
    drain(&socket, 1, program, &mut vec![0; 32 * 1024], |chunk| {
        let sockets = Messages::new(chunk).flatten().filter(|message| is_socket(message.kind));
        let views = sockets.flat_map(|socket| InetDiag::parse(socket.payload, AttrSet::NONE));
        pairs.extend(views.map(|socket| (socket.source_port(), socket.destination_port())));
    })?;
    Ok(pairs)
}

/// Every pair in front of this one.
fn below((source, destination): (u16, u16)) -> Predicate {
    let sources = |low, high| Part { source: (low, high), ..Part::ALL };
    let before =
        source.checked_sub(1).map_or(Predicate::NEVER, |high| sources(0, high).predicate());
    let beginning = destination.checked_sub(1).map_or(Predicate::NEVER, |high| {
        Part { destination: (0, high), ..sources(source, source) }.predicate()
    });
    before.or(beginning)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn every_socket_is_in_one_part_and_the_parts_are_even() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = listener.local_addr().unwrap().port();
        // One port has half of them.
        let ends: Vec<_> = (0..200)
            .map(|_| {
                let client = TcpStream::connect(("127.0.0.1", ours)).unwrap();
                (client, listener.accept().unwrap().0)
            })
            .collect();
        let port = |stream: &TcpStream| stream.local_addr().unwrap().port();
        let mut pairs: Vec<_> = ends.iter().map(|(client, _)| (port(client), ours)).collect();
        pairs.extend(ends.iter().map(|(client, _)| (ours, port(client))));
        pairs.sort_unstable();
        for count in [1, 2, 3] {
            let parts = programs(NonZeroUsize::new(count).unwrap()).unwrap();
            assert_eq!(parts.len(), count);
            // Sockets of other tests may come and go, and ours stay.
            let dumps: Vec<_> = parts.iter().map(|program| ports(program).unwrap()).collect();
            let all = dumps.iter().map(Vec::len).sum::<usize>();
            let sizes: Vec<_> = dumps.iter().map(Vec::len).collect();
            assert!(sizes.iter().all(|size| *size >= all / count / 2), "{sizes:?}");
            let ours = dumps.into_iter().flatten().filter(|pair| pairs.binary_search(pair).is_ok());
            let mut seen: Vec<_> = ours.collect();
            seen.sort_unstable();
            assert_eq!(seen, pairs, "{count} parts");
        }
    }
}
