//! The text of `ss -tane…`, parsed into structured sockets.
//!
//! Both layouts are read: one line per socket (`-O`), and the older one with a header and a second line that starts
//! with a tab. Words are kept as they were printed: [`crate::ss_compare`] decides what they mean.

use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};

/// One socket as `ss` printed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsSocket {
    /// The state by the name that `ss` gives it: `ESTAB`, `TIME-WAIT`, `LISTEN`, …
    pub state: String,
    /// The `Recv-Q` column: bytes not yet read; of a listener, connections waiting to be accepted.
    pub recv_q: u32,
    /// The `Send-Q` column: bytes not yet acknowledged; of a listener, the limit of its accept queue.
    pub send_q: u32,
    /// The local end.
    pub local: SsAddress,
    /// The remote end.
    pub peer: SsAddress,
    /// All other words, in the order of printing.
    pub tokens: Vec<SsToken>,
}

/// An end of a socket as `ss` printed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsAddress {
    /// The address; `None` is `*`, the all-zero IPv6 address of a socket that takes IPv4 as well.
    pub ip: Option<IpAddr>,
    /// The port; 0 is `*`.
    pub port: u16,
    /// The interface the socket is bound to, after `%`.
    pub interface: Option<String>,
    /// The index of that interface, where it could be asked (by [`crate::ss_run`]; never for a captured text).
    pub interface_index: Option<u32>,
}

/// One word that `ss` printed after the addresses.
///
/// `key:value` is split at the first colon. `send`, `pacing_rate` and `delivery_rate` take the next word as value, as
/// do words that end with a colon. `<->` has the key `shutdown`; the name of a congestion algorithm, which is printed
/// bare, has the key `congestion`; all other bare words have an empty value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsToken {
    /// What it is about.
    pub key: String,
    /// What it says, with units and brackets as printed.
    pub value: String,
}

impl SsSocket {
    /// The value of the first token with this key.
    pub fn token(&self, key: &str) -> Option<&str> {
        self.tokens.iter().find(|token| token.key == key).map(|token| token.value.as_str())
    }

    /// The socket's cookie (`sk:`, in hexadecimal).
    pub fn cookie(&self) -> Option<u64> {
        u64::from_str_radix(self.token("sk")?, 16).ok()
    }

    /// The socket's inode (`ino:`); 0 for a socket without a file.
    pub fn inode(&self) -> Option<u64> {
        self.token("ino")?.parse().ok()
    }

    /// The owner; `ss` prints nothing for uid 0.
    pub fn uid(&self) -> u32 {
        self.token("uid").and_then(|uid| uid.parse().ok()).unwrap_or(0)
    }

    /// `inet_diag_msg_state` of this state, as the kernel numbers them.
    pub fn state_number(&self) -> Option<u64> {
        STATES.iter().find(|(name, _)| *name == self.state).map(|(_, number)| *number)
    }
}

/// Parses all sockets of a text that `ss` printed.
///
/// # Errors
/// The first line that is no socket, with its text: the parser must learn it.
pub fn parse(text: &str) -> Result<Vec<SsSocket>> {
    let mut sockets: Vec<SsSocket> = Vec::new();
    for line in text.lines() {
        if line.trim().is_empty() || line.starts_with("State ") {
            continue;
        }
        if line.starts_with(char::is_whitespace) {
            let last = sockets
                .last_mut()
                .with_context(|| format!("a second line without a first: {line:?}"))?;
            last.tokens.extend(tokens(&words(line))?);
        } else {
            sockets.push(socket(line).with_context(|| format!("in the line {line:?}"))?);
        }
    }
    Ok(sockets)
}

/// Parses an end of a socket: `127.0.0.1:80`, `[fe80::1]%eth0:80`, `*:*`.
///
/// # Errors
/// The text is not of such a form.
pub fn parse_address(text: &str) -> Result<SsAddress> {
    let (host, port) = text.rsplit_once(':').with_context(|| format!("no port in {text:?}"))?;
    let (host, interface) = match host.split_once('%') {
        Some((host, interface)) => (host, Some(interface.to_owned())),
        None => (host, None),
    };
    let ip = match host.trim_start_matches('[').trim_end_matches(']') {
        "*" => None,
        ip => Some(ip.parse().with_context(|| format!("no address in {text:?}"))?),
    };
    let port = if port == "*" {
        0
    } else {
        port.parse().with_context(|| format!("no port in {text:?}"))?
    };
    Ok(SsAddress { ip, port, interface, interface_index: None })
}

fn socket(line: &str) -> Result<SsSocket> {
    let words = words(line);
    let [state, recv_q, send_q, local, peer, rest @ ..] = words.as_slice() else {
        bail!("fewer than five columns");
    };
    if !STATES.iter().any(|(name, _)| name == state) {
        bail!("no such state: {state:?}");
    }
    Ok(SsSocket {
        state: (*state).to_owned(),
        recv_q: recv_q.parse().context("Recv-Q")?,
        send_q: send_q.parse().context("Send-Q")?,
        local: parse_address(local)?,
        peer: parse_address(peer)?,
        tokens: tokens(rest)?,
    })
}

/// Splits at spaces, but not inside brackets or quotes: the process names in `users:(("a b",pid=1,fd=2))` have some.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let (mut depth, mut quoted) = (0_u32, false);
    let mut start = None;
    for (at, character) in line.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if character.is_whitespace() && depth == 0 && !quoted {
            words.extend(start.take().and_then(|start| line.get(start..at)));
        } else if start.is_none() {
            start = Some(at);
        }
    }
    words.extend(start.and_then(|start| line.get(start..)));
    words
}

fn tokens(words: &[&str]) -> Result<Vec<SsToken>> {
    let mut tokens = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (key, value) = match word.split_once(':') {
            Some((key, "")) if TAKES_NEXT_AFTER_COLON.contains(&key) => {
                (key, next_of(word, words.next())?)
            }
            Some((key, value)) => (key, value),
            None if TAKES_NEXT.contains(word) => (*word, next_of(word, words.next())?),
            None if SHUTDOWNS.contains(word) => ("shutdown", *word),
            None if FLAGS.contains(word) || word.starts_with("tcp-ulp-") => (*word, ""),
            // The only other bare word that `ss` prints. Should it be something new, no row will agree with it.
            None => ("congestion", *word),
        };
        tokens.push(SsToken { key: key.to_owned(), value: value.to_owned() });
    }
    Ok(tokens)
}

fn next_of<'a>(word: &str, next: Option<&&'a str>) -> Result<&'a str> {
    next.copied().with_context(|| format!("the line ends after {word:?}"))
}

/// Names of states (`sstate_namel` of ss.c, 6.1) and the kernel's numbers of them (`net/tcp_states.h`).
const STATES: [(&str, u64); 11] = [
    ("ESTAB", 1),
    ("SYN-SENT", 2),
    ("SYN-RECV", 3),
    ("FIN-WAIT-1", 4),
    ("FIN-WAIT-2", 5),
    ("TIME-WAIT", 6),
    ("UNCONN", 7),
    ("CLOSE-WAIT", 8),
    ("LAST-ACK", 9),
    ("LISTEN", 10),
    ("CLOSING", 11),
];

/// Words whose value is the next word: `send 12bps`.
const TAKES_NEXT: [&str; 3] = ["send", "pacing_rate", "delivery_rate"];

/// The same with a colon, all from the TLS part of the upper layer protocol: `rxconf: sw`.
const TAKES_NEXT_AFTER_COLON: [&str; 4] = ["version", "cipher", "rxconf", "txconf"];

/// What `ss` draws from `INET_DIAG_SHUTDOWN`.
const SHUTDOWNS: [&str; 4] = ["<->", "-->", "<--", "---"];

/// Bare words that are no congestion algorithm.
const FLAGS: [&str; 10] = [
    "ts",
    "sack",
    "ecn",
    "ecnseen",
    "fastopen",
    "usec_ts",
    "tfo_child",
    "app_limited",
    "zc_ro_tx",
    "no_pad_rx",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> (Option<String>, u16, Option<String>) {
        let address = parse_address(text).unwrap();
        (address.ip.map(|ip| ip.to_string()), address.port, address.interface)
    }

    #[test]
    fn every_form_of_address_is_read() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(address("127.0.0.1:80"), (some("127.0.0.1"), 80, None));
        assert_eq!(address("[::1]:80"), (some("::1"), 80, None));
        assert_eq!(address("*:80"), (None, 80, None));
        assert_eq!(address("0.0.0.0:*"), (some("0.0.0.0"), 0, None));
        assert_eq!(address("[fe80::1]%eth0:80"), (some("fe80::1"), 80, some("eth0")));
        assert_eq!(address("127.0.0.1%lo:81"), (some("127.0.0.1"), 81, some("lo")));
        assert_eq!(address("*%lo:81"), (None, 81, some("lo")));
        assert_eq!(address("[::ffff:10.0.0.1]:80"), (some("::ffff:10.0.0.1"), 80, None));
    }

    #[test]
    fn a_process_name_with_spaces_and_brackets_is_one_token() {
        let line = r#"ESTAB 0 0 127.0.0.1:1 127.0.0.1:2 users:(("my (old) proc",pid=1,fd=2)) ino:7 sk:a <->"#;
        let sockets = parse(line).unwrap();
        let keys: Vec<&str> = sockets[0].tokens.iter().map(|token| token.key.as_str()).collect();
        assert_eq!(keys, ["users", "ino", "sk", "shutdown"]);
        assert_eq!(
            (sockets[0].cookie(), sockets[0].inode(), sockets[0].uid()),
            (Some(10), Some(7), 0)
        );
    }

    #[test]
    fn a_rate_takes_the_next_word_as_its_value() {
        let sockets =
            parse("ESTAB 0 0 127.0.0.1:1 127.0.0.1:2 ino:7 cubic send 12bps pacing_rate 1bps/2bps app_limited")
                .unwrap();
        assert_eq!(sockets[0].token("send"), Some("12bps"));
        assert_eq!(sockets[0].token("pacing_rate"), Some("1bps/2bps"));
        assert_eq!(sockets[0].token("congestion"), Some("cubic"));
        assert_eq!(sockets[0].token("app_limited"), Some(""));
    }

    #[test]
    fn a_second_line_belongs_to_the_socket_before_it() {
        let text = "State Recv-Q Send-Q Local Address:Port Peer Address:Port Process\n\
                    TIME-WAIT 0 0 [::1]:1 [::1]:2 timer:(timewait,13sec,0) ino:0 sk:6b4a\n\t\n\
                    LISTEN 0 5 *:3 *:* ino:9 sk:1\n\t skmem:(r0,rb1) cubic cwnd:10\n";
        let sockets = parse(text).unwrap();
        assert_eq!(sockets.len(), 2);
        assert_eq!(sockets[0].token("timer"), Some("(timewait,13sec,0)"));
        assert_eq!(sockets[0].tokens.len(), 3);
        assert_eq!(sockets[1].token("cwnd"), Some("10"));
        assert_eq!((sockets[1].state_number(), sockets[1].send_q), (Some(10), 5));
    }

    #[test]
    fn a_line_that_is_no_socket_is_an_error_that_shows_it() {
        let error = parse("Cannot open netlink socket: no permission").unwrap_err();
        assert!(format!("{error:#}").contains("Cannot open netlink socket"), "{error:#}");
        assert!(parse("\t cubic").is_err());
    }
}
