//! What is remembered of one socket: 85 bytes without padding, since there may be millions.

use sockeye_record::Deltas;
use sockeye_wire::InetDiag;
use sockeye_wire::companions::SkMemInfo;
use sockeye_wire::tcp_state::LISTEN;

/// One socket. Integers are bytes, so that nothing is aligned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    cookie: [u8; 8],
    skmeminfo: [u8; SkMemInfo::BYTES],
    inode: [u8; 4],
    /// The low bits of the counters; differences are modular.
    sent: [u8; 6],
    received: [u8; 6],
    retrans: [u8; 5],
    segs_out: [u8; 4],
    segs_in: [u8; 4],
    kind: [u8; 2],
    /// Low 56 bits; the others are above the flags.
    first_seen: [u8; 7],
    last_seen: [u8; 2],
    flags: u8,
}

/// The counters of a connection that rows say the differences of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    sent: u64,
    received: u64,
    retrans: u64,
    segs_out: u32,
    segs_in: u32,
}

impl Entry {
    /// Of no socket.
    pub(super) const FREE: Self = Self {
        cookie: [0; 8],
        skmeminfo: [0; SkMemInfo::BYTES],
        inode: [0; 4],
        sent: [0; 6],
        received: [0; 6],
        retrans: [0; 5],
        segs_out: [0; 4],
        segs_in: [0; 4],
        kind: [0; 2],
        first_seen: [0; 7],
        last_seen: [0; 2],
        flags: 0,
    };

    /// A socket that nothing is known of but that it is there.
    pub(super) fn new(cookie: u64, first_seen_ns: i64, dump: u16) -> Self {
        let since = u64::try_from(first_seen_ns.saturating_sub(FIRST_SEEN_FROM)).unwrap_or(0);
        let [low @ .., high] = since.min(MOST_FIRST_SEEN).to_le_bytes();
        let flags = OCCUPIED | high << HIGH_SHIFT;
        let cookie = cookie.to_ne_bytes();
        Self { cookie, first_seen: low, last_seen: dump.to_ne_bytes(), flags, ..Self::FREE }
    }

    /// Of no socket, with something else in place of the cookie.
    pub(super) fn free(link: u64) -> Self {
        Self { cookie: link.to_ne_bytes(), ..Self::FREE }
    }

    pub(super) fn cookie(&self) -> u64 {
        u64::from_ne_bytes(self.cookie)
    }

    pub(super) fn is_free(&self) -> bool {
        self.flags & OCCUPIED == 0
    }

    /// Its end was told of while a dump was under way, which may show it yet.
    pub(super) fn is_closed(&self) -> bool {
        self.flags & CLOSED != 0
    }

    pub(super) fn set_closed(&mut self) {
        self.flags |= CLOSED;
    }

    /// It is counted among those that vanished.
    pub(super) fn has_vanished(&self) -> bool {
        self.flags & VANISHED != 0
    }

    pub(super) fn set_vanished(&mut self, vanished: bool) {
        self.flags = if vanished { self.flags | VANISHED } else { self.flags & !VANISHED };
    }

    /// Number of the last dump that showed it.
    pub(super) fn last_seen(&self) -> u16 {
        u16::from_ne_bytes(self.last_seen)
    }

    pub(super) fn set_last_seen(&mut self, dump: u16) {
        self.last_seen = dump.to_ne_bytes();
    }

    pub(super) fn kind(&self) -> u16 {
        u16::from_ne_bytes(self.kind)
    }

    pub(super) fn set_kind(&mut self, kind: u16) {
        self.kind = kind.to_ne_bytes();
    }

    pub(super) fn inode(&self) -> u32 {
        u32::from_ne_bytes(self.inode)
    }

    /// `SK_MEMINFO_*` if they came whole.
    pub(super) fn skmeminfo(&self) -> Option<[u8; SkMemInfo::BYTES]> {
        (self.flags & HAS_SKMEMINFO != 0).then_some(self.skmeminfo)
    }

    /// Wall clock of the first poll that saw it; `None` where that was no time to speak of.
    pub(super) fn first_seen_ns(&self) -> Option<i64> {
        let [a, b, c, d, e, f, g] = self.first_seen;
        let since = u64::from_le_bytes([a, b, c, d, e, f, g, self.flags >> HIGH_SHIFT]);
        let since = i64::try_from(since).ok().filter(|since| *since > 0)?;
        FIRST_SEEN_FROM.checked_add(since)
    }

    /// What is known by the row that is being made.
    #[inline]
    pub(super) fn update(&mut self, diag: &InetDiag<'_>, counts: &Counts) {
        self.inode = diag.inode().to_ne_bytes();
        self.set_counts(counts);
        if let Some(whole) = diag.skmeminfo().and_then(|skmeminfo| skmeminfo.whole().copied()) {
            self.skmeminfo = whole;
            self.flags |= HAS_SKMEMINFO;
        }
    }

    fn set_counts(&mut self, counts: &Counts) {
        let [a, b, c, d, e, f, ..] = counts.sent.to_le_bytes();
        self.sent = [a, b, c, d, e, f];
        let [a, b, c, d, e, f, ..] = counts.received.to_le_bytes();
        self.received = [a, b, c, d, e, f];
        let [a, b, c, d, e, ..] = counts.retrans.to_le_bytes();
        self.retrans = [a, b, c, d, e];
        self.segs_out = counts.segs_out.to_le_bytes();
        self.segs_in = counts.segs_in.to_le_bytes();
    }

    /// What came since, up to `now`; all of it where a counter went backwards.
    #[inline]
    pub(super) fn since(&self, now: &Counts) -> Deltas {
        let sent = difference(now.sent, wide(self.sent), 48);
        let received = difference(now.received, wide(self.received), 48);
        let retrans = difference(now.retrans, wide(self.retrans), 40);
        let out = now.segs_out.wrapping_sub(u32::from_le_bytes(self.segs_out));
        let segs_in = now.segs_in.wrapping_sub(u32::from_le_bytes(self.segs_in));
        match (sent, received, retrans) {
            (Some(bytes_sent), Some(bytes_received), Some(bytes_retrans))
                if out < SEGS_BACKWARDS && segs_in < SEGS_BACKWARDS =>
            {
                let segs_out = out;
                Deltas { flags: 0, bytes_sent, bytes_received, bytes_retrans, segs_out, segs_in }
            }
            _ => now.all(Deltas::RESET),
        }
    }
}

impl Counts {
    /// The counters of this connection; what its kernel does not count stays 0. `None` when it has no `tcp_info`, or is
    /// a listener.
    #[inline]
    pub(super) fn of(diag: &InetDiag<'_>) -> Option<Self> {
        let info = diag.info().filter(|_| diag.state() != LISTEN)?;
        Some(Self {
            sent: info.bytes_sent().unwrap_or(0),
            received: info.bytes_received().unwrap_or(0),
            retrans: info.bytes_retrans().unwrap_or(0),
            segs_out: info.segs_out().unwrap_or(0),
            segs_in: info.segs_in().unwrap_or(0),
        })
    }

    /// Everything, as the difference to nothing.
    pub(super) fn all(&self, flags: u32) -> Deltas {
        Deltas {
            flags,
            bytes_sent: self.sent,
            bytes_received: self.received,
            bytes_retrans: self.retrans,
            segs_out: self.segs_out,
            segs_in: self.segs_in,
        }
    }
}

fn wide<const N: usize>(low: [u8; N]) -> u64 {
    low.iter().rev().fold(0, |wide, byte| wide << 8 | u64::from(*byte))
}

/// What was added to a counter of which the low bits are known; `None`: it went backwards.
fn difference(now: u64, before: u64, bits: u32) -> Option<u64> {
    let difference = now.wrapping_sub(before) & ((1 << bits) - 1);
    (difference < 1 << (bits - 1)).then_some(difference)
}

/// 2020-01-01, and 36 years from there.
const FIRST_SEEN_FROM: i64 = 1_577_836_800_000_000_000;
const MOST_FIRST_SEEN: u64 = (1 << 60) - 1;
const SEGS_BACKWARDS: u32 = 1 << 31;

const OCCUPIED: u8 = 1;
const CLOSED: u8 = 2;
const VANISHED: u8 = 4;
const HAS_SKMEMINFO: u8 = 8;
const HIGH_SHIFT: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_85_bytes() {
        assert_eq!((size_of::<Entry>(), align_of::<Entry>()), (85, 1));
    }

    #[test]
    fn what_goes_in_comes_out() {
        let time = FIRST_SEEN_FROM + 0x0abc_def0_1234_5678;
        let mut entry = Entry::new(u64::MAX - 3, time, 40_000);
        entry.set_kind(50_000);
        assert_eq!((entry.cookie(), entry.last_seen()), (u64::MAX - 3, 40_000));
        assert_eq!((entry.first_seen_ns(), entry.kind()), (Some(time), 50_000));
        assert!(!entry.is_free() && !entry.is_closed() && !entry.has_vanished());
        entry.set_vanished(true);
        entry.set_closed();
        assert!(entry.is_closed() && entry.has_vanished());
        entry.set_vanished(false);
        assert!(entry.is_closed() && !entry.has_vanished());
        assert_eq!(entry.first_seen_ns(), Some(time), "flags leave the time alone");
        assert_eq!(Entry::new(1, 5, 0).first_seen_ns(), None, "a clock that was never set");
    }

    fn counts(sent: u64, received: u64, retrans: u64, segs_out: u32, segs_in: u32) -> Counts {
        Counts { sent, received, retrans, segs_out, segs_in }
    }

    #[test]
    fn differences_are_exact_beyond_the_bits_that_are_kept() {
        let mut entry = Entry::new(1, 0, 0);
        let before = counts((7 << 48) - 5, 1 << 60, (1 << 40) - 1, u32::MAX, 3);
        entry.set_counts(&before);
        let now = counts((7 << 48) + 5, (1 << 60) + (1 << 47) - 1, 1 << 40, 1, 3);
        let expected = Deltas {
            flags: 0,
            bytes_sent: 10,
            bytes_received: (1 << 47) - 1,
            bytes_retrans: 1,
            segs_out: 2,
            segs_in: 0,
        };
        assert_eq!(entry.since(&now), expected);
    }

    #[test]
    fn any_counter_that_goes_backwards_makes_the_difference_everything() {
        let mut entry = Entry::new(1, 0, 0);
        entry.set_counts(&counts(10, 10, 10, 10, 10));
        let less = [
            counts(9, 10, 10, 10, 10),
            counts(10, 9, 10, 10, 10),
            counts(10, 10, 9, 10, 10),
            counts(10, 10, 10, 9, 10),
            counts(10, 10, 10, 10, 9),
        ];
        for now in less {
            assert_eq!(entry.since(&now), now.all(Deltas::RESET), "{now:?}");
        }
        assert_eq!(entry.since(&counts(10, 10, 10, 10, 10)), Deltas::default());
    }
}
