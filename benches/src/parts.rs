//! Parts of a namespace by its ports, for bare loops that read one each.

use std::num::NonZeroU16;
use std::time::Duration;

use anyhow::Result;
use sockeye_filter::{Support, bytecode};
use sockeye_source::sockdiag::split::Sample;
use sockeye_sys::DiagSocket;
use sockeye_wire::inet_diag::is_socket;
use sockeye_wire::{AttrSet, InetDiag, Messages};

use crate::request::drain;

/// A program for each of so many parts of the calling thread's network namespace, cut as a poll cuts it by what the last one
/// saw of its ports.
///
/// # Errors
/// The kernel refused.
pub fn programs(count: NonZeroU16) -> Result<Vec<Vec<u8>>> {
    let mut sample = Sample::default();
    for pair in ports(&[])? {
        sample.see(|| pair);
    }
    let parts = sample.parts(count.get());
    let program = |part| bytecode(None, part, Support::LEAST).unwrap_or_default();
    Ok(parts.iter().map(|part| program(part)).collect())
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
            let parts = programs(NonZeroU16::new(count).unwrap()).unwrap();
            let count = usize::from(count);
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
