//! What a reading of a small namespace has found: how many sockets, to compare with the counters, and their keys, to look
//! them up at the next poll.

use sockeye_wire::tcp_state::TIME_WAIT;
use sockeye_wire::{InetDiag, SocketKey};

use super::kept::{in_use, is_connection, is_mini};
use super::memory::each_once;

/// Of one exchange, or of several that are one plan.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Sockets in use, as `sockstat` counts them.
    pub(crate) in_use: u64,
    /// Mini-sockets, as `tw` counts them.
    pub(crate) minis: u64,
    /// Connections, and what is left of some.
    pub(crate) connections: Vec<SocketKey>,
    /// Mini-sockets in `TIME_WAIT`, which are mostly asked for to count them.
    pub(crate) waiting: Vec<SocketKey>,
    /// Of both, in a row, to find one of many.
    cookies: Vec<u64>,
    /// The first listeners: no more than tell that there are many.
    pub(crate) listeners: Vec<SocketKey>,
}

impl Found {
    /// Forgets everything: another plan begins.
    pub(crate) fn clear(&mut self) {
        self.in_use = 0;
        self.minis = 0;
        self.connections.clear();
        self.waiting.clear();
        self.cookies.clear();
        self.listeners.clear();
    }

    /// Counts a socket and keeps its key.
    #[inline]
    pub(crate) fn see(&mut self, diag: &InetDiag<'_>) {
        self.in_use += u64::from(in_use(diag));
        self.minis += u64::from(is_mini(diag));
        if is_connection(diag) {
            // Only mini-sockets are in this state.
            let waits = diag.state() == TIME_WAIT;
            let keys = if waits { &mut self.waiting } else { &mut self.connections };
            keys.push(diag.key());
            self.cookies.push(diag.cookie());
        } else if in_use(diag) && self.listeners.len() <= FEW_LISTENERS {
            self.listeners.push(diag.key());
        }
    }

    /// Whether it was found, as a connection or as what is left of one.
    pub(crate) fn has(&self, diag: &InetDiag<'_>) -> bool {
        self.cookies.contains(&diag.cookie())
    }

    /// Whether there is a connection, or what is left of one.
    pub(crate) fn is_connected(&self) -> bool {
        !self.cookies.is_empty()
    }

    /// The key of every connection, each once, and of those that wait as well.
    pub(crate) fn take_connections(&mut self, and_waiting: bool) -> Vec<SocketKey> {
        let mut keys = std::mem::take(&mut self.connections);
        if and_waiting {
            keys.append(&mut self.waiting);
        }
        each_once(keys)
    }

    /// The key of every listener, each once, if there are few and not just those that did not answer to theirs before.
    pub(crate) fn take_listeners(&mut self, unanswering: &[SocketKey]) -> Option<Vec<SocketKey>> {
        let listeners = each_once(std::mem::take(&mut self.listeners));
        (listeners.len() <= FEW_LISTENERS && listeners != unanswering).then_some(listeners)
    }
}

/// To look up each of more takes longer than to ask for all listeners of the host.
const FEW_LISTENERS: usize = 8;

#[cfg(test)]
mod tests {
    use sockeye_wire::AttrSet;
    use sockeye_wire::tcp_state::{CLOSE, LISTEN};

    use super::*;

    const ESTABLISHED: u8 = 1;

    fn see(found: &mut Found, state: u8, cookie: u8) {
        let mut payload = [0; 72];
        (payload[0], payload[1], payload[44]) = (2, state, cookie);
        // The timer of mini-sockets.
        payload[2] = if state == TIME_WAIT { 3 } else { 0 };
        found.see(&InetDiag::parse(&payload, AttrSet::NONE).unwrap());
    }

    fn found(sockets: &[(u8, u8)]) -> Found {
        let mut found = Found::default();
        for (state, cookie) in sockets {
            see(&mut found, *state, *cookie);
        }
        found
    }

    #[test]
    fn sockets_in_use_are_counted_and_the_key_of_each_is_kept_once() {
        let mut found = found(&[
            (ESTABLISHED, 1),
            (LISTEN, 2),
            (CLOSE, 3),
            (ESTABLISHED, 4),
            (ESTABLISHED, 1),
            (LISTEN, 2),
            (TIME_WAIT, 5),
        ]);
        assert_eq!((found.in_use, found.minis, found.is_connected()), (5, 1, true));
        assert_eq!((found.connections.len(), found.waiting.len()), (3, 1));
        assert_eq!(found.take_connections(true).len(), 3);
        assert_eq!(found.take_listeners(&[]).map(|listeners| listeners.len()), Some(1));
    }

    #[test]
    fn listeners_are_known_if_they_are_few() {
        let listeners = |count: u8| -> Vec<(u8, u8)> { (0..count).map(|i| (LISTEN, i)).collect() };
        assert_eq!(found(&listeners(8)).take_listeners(&[]).map(|all| all.len()), Some(8));
        assert_eq!(found(&listeners(9)).take_listeners(&[]), None);
        assert_eq!(found(&listeners(100)).listeners.len(), 9, "no more are kept than tell so");
        assert_eq!(found(&[]).take_listeners(&[SocketKey::of(&[0; 72]).unwrap()]), Some(vec![]));
    }

    #[test]
    fn listeners_that_did_not_answer_are_not_known_until_there_are_others() {
        let silent = found(&[(LISTEN, 1), (LISTEN, 2)]).take_listeners(&[]).unwrap();
        assert_eq!(found(&[(LISTEN, 2), (LISTEN, 1)]).take_listeners(&silent), None);
        assert!(found(&[(LISTEN, 2), (LISTEN, 3)]).take_listeners(&silent).is_some());
    }

    #[test]
    fn what_was_found_is_forgotten() {
        let mut found = found(&[(ESTABLISHED, 1), (LISTEN, 2), (TIME_WAIT, 3)]);
        assert_eq!((found.minis, found.take_connections(false).len()), (1, 1));
        found.clear();
        assert_eq!((found.in_use, found.connections.len(), found.listeners.len()), (0, 0, 0));
        assert!(found.minis == 0 && found.waiting.is_empty() && !found.is_connected());
    }
}
