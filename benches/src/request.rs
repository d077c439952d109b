//! The dump that polls are held against: the same request, and its bytes thrown away.

use std::io;

use anyhow::{Context as _, Result, ensure};
use sockeye_record::Selection;
use sockeye_sys::DiagSocket;
use sockeye_wire::netlink::{NLMSG_DONE, NLMSG_ERROR};
use sockeye_wire::{AttrSet, Messages, Request, StateSet};

/// What `sockeye run` asks by default: its states, and the attributes that its columns show.
pub fn by_default() -> Request<'static> {
    let attrs = AttrSet::DEFAULT.intersection(Selection::filled().attrs());
    Request { states: StateSet::DEFAULT, attrs, bytecode: &[] }
}

/// Sends the request for what a program of [`sockeye_wire::bytecode`] lets through (an empty one: everything), and gives every
/// chunk to `chunk` until the kernel says that this was everything.
///
/// It looks at no more than the end of a chunk: this is what a dump costs whoever reads it.
///
/// # Errors
/// The kernel refused, or the dump did not end as it should.
pub fn drain(
    socket: &DiagSocket,
    seq: u32,
    bytecode: &[u8],
    buffer: &mut [u8],
    mut chunk: impl FnMut(&[u8]),
) -> Result<()> {
    let request = Request { bytecode, ..by_default() };
    socket.send(request.encode(seq).as_bytes()).context("sending the request")?;
    loop {
        let received = match socket.recv(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            received => received.context("receiving")?,
        };
        let bytes = buffer.get(..received.len).unwrap_or_default();
        chunk(bytes);
        if let Some(errno) = end_of(bytes, seq) {
            ensure!(errno == 0, "the dump ended with errno {errno}");
            return Ok(());
        }
    }
}

/// The errno with which this chunk ends the dump, if it does.
fn end_of(chunk: &[u8], seq: u32) -> Option<i32> {
    let control = |offset: usize| {
        let message = Messages::new(chunk.get(offset..)?).next()?.ok()?;
        let is_control = [NLMSG_DONE, NLMSG_ERROR].contains(&message.kind) && message.seq == seq;
        is_control.then(|| message.errno()).flatten()
    };
    // NLMSG_DONE is the last message of the last chunk, often behind sockets; NLMSG_ERROR stands alone.
    control(chunk.len().checked_sub(DONE_BYTES)?).or_else(|| control(0))
}

/// `NLMSG_DONE` of a dump: a header and an errno.
const DONE_BYTES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, seq: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(16 + payload.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([2, 0]);
        bytes.extend(seq.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn the_end_is_found_behind_sockets_and_an_error_alone() {
        let sockets = [message(18, 7, &[1; 72]), message(18, 7, &[3; 72])].concat();
        assert_eq!(end_of(&sockets, 7), None);
        assert_eq!(end_of(&[sockets.clone(), message(3, 7, &[0; 4])].concat(), 7), Some(0));
        assert_eq!(end_of(&[sockets, message(3, 6, &[0; 4])].concat(), 7), None);
        assert_eq!(end_of(&message(3, 7, &(-16_i32).to_ne_bytes()), 7), Some(16));
        let refusal = [&(-1_i32).to_ne_bytes()[..], &[0; 16]].concat();
        assert_eq!(end_of(&message(2, 7, &refusal), 7), Some(1));
        assert_eq!(end_of(&[], 7), None);
    }
}
