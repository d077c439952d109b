//! Replies that are kept back until it is certain whether they are everything.

use sockeye_wire::netlink::HEADER_BYTES;
use sockeye_wire::tcp_state::{CLOSE, FIN_WAIT2, LISTEN, TIME_WAIT};
use sockeye_wire::{InetDiag, Layouts, Messages};

/// Payloads of replies, one behind the other. Its bytes are used again by the next one who keeps something.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    bytes: Vec<u8>,
    /// Something was not kept, for want of room.
    is_over: bool,
}

impl Kept {
    /// Uses the bytes of an earlier one.
    pub(crate) fn with_bytes(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        Self { bytes, is_over: false }
    }

    /// Gives the bytes back.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        // What one namespace needed once is not held for the others.
        if self.bytes.capacity() > MOST_BYTES_BETWEEN { Vec::new() } else { self.bytes }
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.is_over = false;
    }

    /// Whether there was more than may be kept: no counter limits how many sockets are bound and do nothing.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Keeps the payload of a reply, framed as the kernel framed it.
    pub(crate) fn keep(&mut self, payload: &[u8]) {
        self.is_over |= self.bytes.len() > MOST_BYTES;
        if self.is_over {
            return;
        }
        let len =
            u32::try_from(HEADER_BYTES + payload.len()).expect("a payload is part of a chunk");
        self.bytes.extend_from_slice(&len.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; HEADER_BYTES - 4]);
        self.bytes.extend_from_slice(payload);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Every socket that was kept.
    pub(crate) fn for_each(&self, layouts: &mut Layouts, mut socket: impl FnMut(&InetDiag<'_>)) {
        for message in Messages::new(&self.bytes).flatten() {
            if let Ok(diag) = layouts.parse(message.payload) {
                socket(&diag);
            }
        }
    }
}

/// Whether `sockstat` counts the socket as in use: it is neither merely bound nor a mini-socket.
pub(crate) fn in_use(diag: &InetDiag<'_>) -> bool {
    diag.state() != CLOSE && !is_mini(diag)
}

/// Whether it is a connection, or what is left of one.
pub(crate) fn is_connection(diag: &InetDiag<'_>) -> bool {
    !matches!(diag.state(), CLOSE | LISTEN)
}

/// A mini-socket has the timer of its kind, which no other socket has (`inet_twsk_diag_fill`).
pub(crate) fn is_mini(diag: &InetDiag<'_>) -> bool {
    matches!(diag.state(), FIN_WAIT2 | TIME_WAIT) && diag.timer() == TIMER_TIME_WAIT
}

const TIMER_TIME_WAIT: u8 = 3;
/// Some 8,000 sockets: four times as many as a namespace may have in use to be planned.
const MOST_BYTES: usize = 4 << 20;
const MOST_BYTES_BETWEEN: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use sockeye_wire::AttrSet;

    use super::*;

    fn payload(state: u8, timer: u8) -> Vec<u8> {
        let mut payload = vec![0; 72];
        (payload[0], payload[1], payload[2]) = (2, state, timer);
        payload
    }

    #[test]
    fn what_was_kept_comes_back_whatever_its_length() {
        let mut kept = Kept::with_bytes(vec![1; 7]);
        for extra in 0..5u8 {
            let mut payload = payload(extra, 0);
            // An attribute of the length that is needed: TOS, and as many bytes as it says.
            payload.extend([4 + extra, 0, 5, 0]);
            payload.extend(vec![9; usize::from(extra)]);
            kept.keep(&payload);
        }
        let mut states = Vec::new();
        kept.for_each(&mut Layouts::new(AttrSet::ALL), |diag| {
            states.push((diag.state(), diag.tos()));
        });
        assert_eq!(states, [(0, None), (1, Some(9)), (2, Some(9)), (3, Some(9)), (4, Some(9))]);
        kept.clear();
        kept.for_each(&mut Layouts::new(AttrSet::ALL), |_| panic!("nothing is kept"));
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for_and_it_is_not_held() {
        let mut kept = Kept::default();
        while !kept.is_over() {
            kept.keep(&[0; 1000]);
        }
        assert!(kept.bytes.len() <= MOST_BYTES + 1024);
        kept.clear();
        assert!(!kept.is_over());
        assert_eq!(kept.into_bytes().capacity(), 0);
        assert_eq!(Kept::with_bytes(Vec::with_capacity(100)).into_bytes().capacity(), 100);
    }

    #[test]
    fn mini_sockets_and_bound_ones_are_not_in_use() {
        let is = |state, timer| {
            let payload = payload(state, timer);
            let diag = InetDiag::parse(&payload, AttrSet::NONE).unwrap();
            (in_use(&diag), is_connection(&diag))
        };
        assert_eq!(
            (is(1, 0), is(LISTEN, 0), is(CLOSE, 0)),
            ((true, true), (true, false), (false, false))
        );
        assert_eq!(
            (is(FIN_WAIT2, 2), is(FIN_WAIT2, 3), is(TIME_WAIT, 3)),
            ((true, true), (false, true), (false, true))
        );
    }
}
