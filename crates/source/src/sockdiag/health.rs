//! The health of connections in a few numbers, for those who have no table of rows: counted by each reader for itself.

use std::sync::Arc;

use sockeye_wire::{InetDiag, tcp_state};

/// What the sockets of one namespace are like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpHealth {
    /// Sockets by the number of their state.
    pub states: [u64; TcpHealth::STATES],
    /// Connections by [`PortClass`].
    pub classes: [Connections; PortClass::ALL.len()],
}

/// What the connections of one class are like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connections {
    /// Smoothed round-trip times, in microseconds.
    pub rtt_us: Spread<13>,
    /// Segments retransmitted, of a million sent with data, over the life of the connection.
    pub retransmits_ppm: Spread<10>,
    /// The most recent estimates of the rate, in bytes per second.
    pub delivery_rate: Spread<8>,
}

/// Values counted by their size; `N` is the number of bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spread<const N: usize> {
    /// How many were at most as large as each bound, each bucket alone.
    pub counts: [u64; N],
    /// How many were larger than all bounds.
    pub over: u64,
    /// Sum of all.
    pub sum: u64,
}

/// The kind of service, by the lower one of a connection's ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortClass {
    /// Below 1024.
    System,
    /// Below 32768, where Linux begins with ports that it chooses itself.
    User,
    /// From there on.
    Dynamic,
}

/// Namespaces with what was counted of them.
pub type HealthOf = Vec<(Arc<str>, Box<TcpHealth>)>;

impl PortClass {
    /// Every class, in the order of [`TcpHealth::classes`].
    pub const ALL: [Self; 3] = [Self::System, Self::User, Self::Dynamic];

    /// The class as a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Dynamic => "dynamic",
        }
    }

    fn of(port: u16) -> Self {
        match port {
            0..1024 => Self::System,
            1024..32_768 => Self::User,
            _ => Self::Dynamic,
        }
    }
}

impl Connections {
    /// Upper bounds of round-trip times, in microseconds.
    pub const RTT_US: [u64; 13] = [
        100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
        1_000_000,
    ];
    /// Upper bounds of retransmitted segments of a million.
    pub const RETRANSMITS_PPM: [u64; 10] =
        [0, 100, 1_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000];
    /// Upper bounds of rates, in bytes per second.
    pub const DELIVERY_RATE: [u64; 8] =
        [1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000];

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.rtt_us.add(&other.rtt_us);
        self.retransmits_ppm.add(&other.retransmits_ppm);
        self.delivery_rate.add(&other.delivery_rate);
    }
}

impl Default for TcpHealth {
    fn default() -> Self {
        Self { states: [0; Self::STATES], classes: std::array::from_fn(|_| Connections::default()) }
    }
}

impl TcpHealth {
    /// Numbers of states; 0 is none.
    pub const STATES: usize = 14;

    /// Adds a socket.
    #[inline]
    pub(crate) fn see(&mut self, diag: &InetDiag<'_>) {
        let state = diag.state();
        if let Some(count) = self.states.get_mut(usize::from(state)) {
            *count += 1;
        }
        let Some(info) = diag.info().filter(|_| state != tcp_state::LISTEN) else { return };
        let class = PortClass::of(diag.source_port().min(diag.destination_port()));
        let Some(class) = self.classes.get_mut(class as usize) else { return };
        // Zero is what the kernel says before it knows.
        if let Some(rtt) = info.rtt_us().filter(|rtt| *rtt > 0) {
            class.rtt_us.see(rtt.into(), &Connections::RTT_US);
        }
        if let Some(rate) = info.delivery_rate().filter(|rate| *rate > 0) {
            class.delivery_rate.see(rate, &Connections::DELIVERY_RATE);
        }
        let sent = info.data_segs_out().filter(|sent| *sent > 0);
        if let (Some(sent), Some(again)) = (sent, info.total_retrans()) {
            let share = u64::from(again) * 1_000_000 / u64::from(sent);
            class.retransmits_ppm.see(share, &Connections::RETRANSMITS_PPM);
        }
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.states.iter_mut().zip(other.states).for_each(|(mine, theirs)| *mine += theirs);
        self.classes.iter_mut().zip(&other.classes).for_each(|(mine, theirs)| mine.add(theirs));
    }

    /// Sockets of all states.
    pub fn sockets(&self) -> u64 {
        self.states.iter().sum()
    }
}

impl<const N: usize> Default for Spread<N> {
    fn default() -> Self {
        Self { counts: [0; N], over: 0, sum: 0 }
    }
}

impl<const N: usize> Spread<N> {
    #[inline]
    fn see(&mut self, value: u64, bounds: &[u64; N]) {
        match self.counts.get_mut(bounds.partition_point(|bound| *bound < value)) {
            Some(count) => *count += 1,
            None => self.over += 1,
        }
        self.sum = self.sum.saturating_add(value);
    }

    fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.over += other.over;
        self.sum = self.sum.saturating_add(other.sum);
    }
}

#[cfg(test)]
mod tests {
    use sockeye_wire::AttrSet;

    use super::*;

    /// A socket with a `tcp_info` of 168 bytes, as the kernel sends it.
    fn socket(
        state: u8,
        ports: (u16, u16),
        rtt_us: u32,
        segments: (u32, u32),
        rate: u64,
    ) -> Vec<u8> {
        let mut bytes = vec![0; 72];
        (bytes[0], bytes[1]) = (2, state);
        bytes[4..6].copy_from_slice(&ports.0.to_be_bytes());
        bytes[6..8].copy_from_slice(&ports.1.to_be_bytes());
        let mut info = vec![0; 168];
        info[68..72].copy_from_slice(&rtt_us.to_ne_bytes());
        info[100..104].copy_from_slice(&segments.1.to_ne_bytes());
        info[156..160].copy_from_slice(&segments.0.to_ne_bytes());
        info[160..168].copy_from_slice(&rate.to_ne_bytes());
        bytes.extend(172u16.to_ne_bytes());
        bytes.extend(2u16.to_ne_bytes());
        bytes.extend(info);
        bytes
    }

    fn seen(sockets: &[Vec<u8>]) -> TcpHealth {
        let mut health = TcpHealth::default();
        for socket in sockets {
            health.see(&InetDiag::parse(socket, AttrSet::ALL).unwrap());
        }
        health
    }

    #[test]
    fn a_connection_counts_in_the_class_of_its_lower_port() {
        let health = seen(&[
            socket(1, (443, 50_000), 100, (1000, 1), 999),
            socket(1, (50_000, 5432), 101, (0, 0), 0),
            socket(1, (40_000, 50_000), 2_000_000, (10, 10), 20_000_000_000),
        ]);
        let [system, user, dynamic] = &health.classes;
        assert_eq!((system.rtt_us.counts[0], system.rtt_us.sum), (1, 100));
        assert_eq!((system.retransmits_ppm.counts[2], system.retransmits_ppm.sum), (1, 1000));
        assert_eq!((system.delivery_rate.counts[0], system.delivery_rate.sum), (1, 999));
        assert_eq!((user.rtt_us.counts[0], user.rtt_us.counts[1]), (0, 1));
        assert_eq!(user.retransmits_ppm, Spread::default(), "nothing was sent");
        assert_eq!(user.delivery_rate, Spread::default(), "nothing is known");
        assert_eq!((dynamic.rtt_us.over, dynamic.delivery_rate.over), (1, 1));
        assert_eq!((dynamic.retransmits_ppm.over, dynamic.retransmits_ppm.sum), (1, 1_000_000));
        assert_eq!(health.states[1], 3);
    }

    #[test]
    fn a_listener_has_a_state_and_nothing_else() {
        let health = seen(&[socket(tcp_state::LISTEN, (443, 0), 100, (5, 5), 5)]);
        assert_eq!((health.states[10], health.sockets()), (1, 1));
        assert_eq!(health.classes, TcpHealth::default().classes);
    }

    #[test]
    fn what_two_readers_counted_is_what_one_would_have() {
        let sockets: Vec<Vec<u8>> = (0..40u32)
            .map(|i| socket(1, (443, 50_000), i * 10_000, (100, i), u64::from(i) * 1_000_000))
            .collect();
        let mut parts = seen(&sockets[..13]);
        parts.add(&seen(&sockets[13..]));
        assert_eq!(parts, seen(&sockets));
    }
}
