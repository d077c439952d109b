//! What a reading of a small namespace has found: how many sockets, to compare with the counters, and their keys, to look
//! them up at the next poll.

use sockeye_wire::{InetDiag, SocketKey};

use super::kept::{in_use, is_connection};

/// Of one exchange, or of several that are one plan.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Sockets in use, as `sockstat` counts them.
    pub(crate) in_use: u64,
    pub(crate) connections: Vec<SocketKey>,
    /// The first of them.
    pub(crate) listeners: Vec<SocketKey>,
}

impl Found {
    /// Forgets everything: another plan begins.
    pub(crate) fn clear(&mut self) {
        self.in_use = 0;
        self.connections.clear();
        self.listeners.clear();
    }

    /// Counts a socket and keeps its key.
    #[inline]
    pub(crate) fn see(&mut self, diag: &InetDiag<'_>, payload: &[u8]) {
        self.in_use += u64::from(in_use(diag));
        if is_connection(diag) {
            self.connections.extend(SocketKey::of(payload));
        } else if in_use(diag) && self.listeners.len() <= FEW_LISTENERS {
            self.listeners.extend(SocketKey::of(payload));
        }
    }

    /// The key of every connection, each once.
    pub(crate) fn take_connections(&mut self) -> Vec<SocketKey> {
        each_once(std::mem::take(&mut self.connections))
    }

    /// The key of every listener, each once, if there are few and not just those that did not answer to theirs before.
    pub(crate) fn take_listeners(&mut self, unanswering: &[SocketKey]) -> Option<Vec<SocketKey>> {
        let listeners = each_once(std::mem::take(&mut self.listeners));
        (listeners.len() <= FEW_LISTENERS && listeners != unanswering).then_some(listeners)
    }
}

/// A walk can see what moves meanwhile twice.
fn each_once(mut keys: Vec<SocketKey>) -> Vec<SocketKey> {
    keys.sort_unstable();
    keys.dedup();
    keys
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
        found.see(&InetDiag::parse(&payload, AttrSet::NONE).unwrap(), &payload);
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
        ]);
        assert_eq!(found.in_use, 5);
        assert_eq!(found.take_connections().len(), 2);
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
        let mut found = found(&[(ESTABLISHED, 1), (LISTEN, 2)]);
        found.clear();
        assert_eq!((found.in_use, found.connections.len(), found.listeners.len()), (0, 0, 0));
    }
}
