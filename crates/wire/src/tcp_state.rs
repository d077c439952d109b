//! TCP states: numbers, names as `ss` prints them, and the sets that people ask for (`include/net/tcp_states.h`).

use std::fmt;

/// `TCP_TIME_WAIT`: its rows carry no attributes but MARK.
pub const TIME_WAIT: u8 = 6;
/// `TCP_FIN_WAIT2`: a socket, or a mini-socket that it left behind.
pub const FIN_WAIT2: u8 = 5;
/// `TCP_CLOSE`: what sockets that are bound and neither listen nor connect are shown as.
pub const CLOSE: u8 = 7;
/// `TCP_LISTEN`: rqueue and wqueue are the accept backlog and its limit.
pub const LISTEN: u8 = 10;

/// The name that `ss` prints for a state number, or `None` for a number it does not know.
pub fn name(state: u8) -> Option<&'static str> {
    NAMES.get(usize::from(state)).copied().filter(|name| !name.is_empty())
}

/// A set of TCP states, as bits of `idiag_states`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct StateSet(u32);

impl StateSet {
    /// No state.
    pub const NONE: Self = Self(0);
    /// All but `time-wait` and `syn-recv`, which can be many and carry no `tcp_info`.
    pub const DEFAULT: Self = Self(ALL & !BUCKET);

    /// Every state.
    pub const ALL: Self = Self(ALL);

    /// Only listeners.
    pub const LISTENING: Self = Self(LISTENING);

    /// Listeners, and sockets that are bound and neither listen nor connect: what lies in tables of its own, so that
    /// asking for it alone walks no connections.
    pub const UNCONNECTED: Self = Self(LISTENING | BOUND_INACTIVE);

    /// Every state that a socket is in which `sockstat` counts as in use, `TCP_CLOSE` left out.
    pub const IN_USE: Self = Self(0xffe & !BUCKET & !bit(7));

    /// Every state of a connection that has a socket of its own: what it passes through between two polls.
    pub const CONNECTIONS: Self = Self(CONNECTED & !BUCKET);

    /// States of mini-sockets, which `sockstat` counts as `tw`: `TIME_WAIT`, and `FIN_WAIT2` of sockets that were closed.
    pub const TIME_WAITERS: Self = Self(bit(5) | bit(6));

    /// Only sockets that are bound and neither listen nor connect. They are shown as `TCP_CLOSE`.
    pub const BOUND_INACTIVE: Self = Self(BOUND_INACTIVE);

    /// Connections that a listener has not made yet; no counter knows of them.
    pub const REQUESTS: Self = Self(bit(3));

    /// What is in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is something in both.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether `other` holds all that is in this one.
    pub const fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// The bits for `idiag_states`.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Whether rows of this state number belong to the set.
    pub fn contains(self, state: u8) -> bool {
        1u32.checked_shl(u32::from(state)).is_some_and(|bit| self.0 & bit != 0)
    }
}

impl std::str::FromStr for StateSet {
    type Err = UnknownState;

    /// Reads a list of names and groups, separated by commas or spaces, as `ss state` knows them.
    fn from_str(text: &str) -> Result<Self, UnknownState> {
        let mut bits = 0;
        for word in text.split([',', ' ']).filter(|word| !word.is_empty()) {
            let known = WORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
            bits |= known.ok_or_else(|| UnknownState(word.into()))?.1;
        }
        if bits == 0 { Err(UnknownState(String::new())) } else { Ok(Self(bits)) }
    }
}

/// A word that names no state and no group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownState(String);

impl fmt::Display for UnknownState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("no state named; allowed: ")?;
        } else {
            write!(f, "unknown state {:?}; allowed: ", self.0)?;
        }
        for (i, (name, _)) in WORDS.iter().filter(|(name, _)| !ALIASES.contains(name)).enumerate() {
            write!(f, "{}{name}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownState {}

const fn bit(state: u32) -> u32 {
    1 << state
}

/// Where each state's name stands at its number; 12 is the kernel's own `TCP_NEW_SYN_RECV`, shown to users as 3.
const NAMES: [&str; 14] = [
    "",
    "ESTAB",
    "SYN-SENT",
    "SYN-RECV",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "TIME-WAIT",
    "UNCONN",
    "CLOSE-WAIT",
    "LAST-ACK",
    "LISTEN",
    "CLOSING",
    "SYN-RECV",
    "BOUND-INACTIVE",
];

/// 1 to 11, and `TCP_BOUND_INACTIVE` (6.8+; older kernels ignore the bit).
const ALL: u32 = 0xffe | bit(13);
const BUCKET: u32 = bit(3) | bit(6);
const LISTENING: u32 = bit(10);
const BOUND_INACTIVE: u32 = bit(13);
const CONNECTED: u32 = ALL & !(bit(7) | bit(10) | bit(13));

const WORDS: [(&str, u32); 24] = [
    ("established", bit(1)),
    ("syn-sent", bit(2)),
    ("syn-recv", bit(3)),
    ("fin-wait-1", bit(4)),
    ("fin-wait-2", bit(5)),
    ("time-wait", bit(6)),
    ("closed", bit(7)),
    ("close-wait", bit(8)),
    ("last-ack", bit(9)),
    ("listening", bit(10)),
    ("closing", bit(11)),
    ("bound-inactive", bit(13)),
    ("all", ALL),
    ("connected", CONNECTED),
    ("synchronized", CONNECTED & !bit(2)),
    ("bucket", BUCKET),
    ("big", ALL & !BUCKET),
    ("estab", bit(1)),
    ("listen", bit(10)),
    ("unconnected", bit(7)),
    ("unconn", bit(7)),
    ("fin-wait1", bit(4)),
    ("fin-wait2", bit(5)),
    ("timewait", bit(6)),
];

const ALIASES: [&str; 7] =
    ["estab", "listen", "unconnected", "unconn", "fin-wait1", "fin-wait2", "timewait"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_all_but_time_wait_and_syn_recv() {
        assert_eq!(StateSet::DEFAULT, "big".parse().unwrap());
        assert!(!StateSet::DEFAULT.contains(TIME_WAIT) && !StateSet::DEFAULT.contains(3));
        assert!(
            (1..=11).filter(|s| StateSet::DEFAULT.contains(*s)).eq([1, 2, 4, 5, 7, 8, 9, 10, 11])
        );
    }

    #[test]
    fn groups_mean_what_they_mean_to_ss() {
        let bits = |text: &str| text.parse::<StateSet>().unwrap().bits();
        assert_eq!(bits("bucket"), 1 << 3 | 1 << 6);
        assert_eq!(bits("connected") & (1 << 7 | 1 << 10 | 1 << 13), 0);
        assert_eq!(bits("connected") & !bits("synchronized"), 1 << 2);
        assert_eq!(bits("all"), bits("connected,closed,listening,bound-inactive"));
        assert_eq!(bits("ESTAB,listen"), 1 << 1 | 1 << 10);
    }

    #[test]
    fn an_unknown_word_is_named_with_what_is_allowed() {
        let error = "established,open".parse::<StateSet>().unwrap_err().to_string();
        assert!(
            error.starts_with("unknown state \"open\"; allowed: established, syn-sent, "),
            "{error}"
        );
        assert!(error.ends_with("bucket, big"), "{error}");
        assert!(",".parse::<StateSet>().unwrap_err().to_string().starts_with("no state named"));
    }

    #[test]
    fn numbers_have_the_names_that_ss_prints() {
        assert_eq!(
            (1..=11).filter_map(name).collect::<Vec<_>>().join(" "),
            "ESTAB SYN-SENT SYN-RECV FIN-WAIT-1 FIN-WAIT-2 TIME-WAIT UNCONN CLOSE-WAIT LAST-ACK LISTEN CLOSING"
        );
        assert_eq!((name(0), name(14), name(255)), (None, None, None));
    }
}
