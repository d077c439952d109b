//! Sockets of `ss` and rows brought together by cookie, the one identity that both have.

use std::collections::HashMap;

use crate::Row;
use crate::ss::SsSocket;
use crate::ss_expect::number;

/// What [`join`] found: every socket and every row is in exactly one of these.
#[derive(Debug, Default)]
pub struct Joined<'a> {
    /// The sockets that both have, in the order of `ss`.
    pub pairs: Vec<(&'a SsSocket, &'a Row)>,
    /// Sockets that no row tells of, those without a cookie among them.
    pub only_in_ss: Vec<&'a SsSocket>,
    /// Rows that `ss` has no socket for, those without a cookie among them.
    pub only_in_rows: Vec<&'a Row>,
    /// Sockets whose cookie `ss` printed before: a dump is no snapshot.
    pub duplicates_in_ss: Vec<&'a SsSocket>,
    /// Rows whose cookie an earlier row had.
    pub duplicates_in_rows: Vec<&'a Row>,
}

impl Joined<'_> {
    /// Whether each socket has its row and each row its socket, once.
    pub fn is_one_to_one(&self) -> bool {
        self.only_in_ss.is_empty()
            && self.only_in_rows.is_empty()
            && self.duplicates_in_ss.is_empty()
            && self.duplicates_in_rows.is_empty()
    }
}

/// Matches the `sk:` of `ss` with `inet_diag_msg_socket_cookie` of the rows.
pub fn join<'a>(ss: &'a [SsSocket], rows: &'a [Row]) -> Joined<'a> {
    let mut joined = Joined::default();
    let mut by_cookie: HashMap<u64, (&Row, bool)> = HashMap::new();
    for row in rows {
        match number(row, COOKIE) {
            None => joined.only_in_rows.push(row),
            Some(cookie) if by_cookie.contains_key(&cookie) => joined.duplicates_in_rows.push(row),
            Some(cookie) => {
                by_cookie.insert(cookie, (row, false));
            }
        }
    }
    for socket in ss {
        match socket.cookie().and_then(|cookie| by_cookie.get_mut(&cookie)) {
            Some((_, true)) => joined.duplicates_in_ss.push(socket),
            Some((row, matched)) => {
                *matched = true;
                joined.pairs.push((socket, row));
            }
            None => joined.only_in_ss.push(socket),
        }
    }
    for row in rows {
        let entry = number(row, COOKIE).and_then(|cookie| by_cookie.get(&cookie));
        // The pointer tells the first row of a cookie from its duplicates.
        if entry.is_some_and(|(first, matched)| std::ptr::eq(*first, row) && !matched) {
            joined.only_in_rows.push(row);
        }
    }
    joined
}

const COOKIE: &str = "inet_diag_msg_socket_cookie";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ss::parse;

    fn row(cookie: u64) -> Row {
        json!({ COOKIE: cookie }).as_object().unwrap().clone()
    }

    #[test]
    fn sockets_and_rows_meet_by_their_cookie() {
        let ss = parse(
            "ESTAB 0 0 127.0.0.1:1 127.0.0.1:2 ino:1 sk:a\n\
             TIME-WAIT 0 0 127.0.0.1:3 127.0.0.1:2 ino:0 sk:b\n\
             ESTAB 0 0 127.0.0.1:4 127.0.0.1:2 ino:2 sk:c\n\
             ESTAB 0 0 127.0.0.1:1 127.0.0.1:2 ino:1 sk:a\n",
        )
        .unwrap();
        let rows = [row(11), row(10), row(13), row(11)];
        let joined = join(&ss, &rows);
        let pairs: Vec<u64> =
            joined.pairs.iter().filter_map(|(_, row)| number(row, COOKIE)).collect();
        assert_eq!(pairs, [10, 11]);
        assert_eq!(joined.only_in_ss, [&ss[2]]);
        assert_eq!(joined.duplicates_in_ss, [&ss[3]]);
        assert_eq!(joined.only_in_rows, [&rows[2]]);
        assert_eq!(joined.duplicates_in_rows, [&rows[3]]);
        assert!(!joined.is_one_to_one());
        assert!(join(&ss[..1], &rows[1..2]).is_one_to_one());
    }
}
