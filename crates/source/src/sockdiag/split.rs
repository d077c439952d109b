//! Cutting a large namespace into parts of about the same size, by what the last poll saw of its ports.

use sockeye_wire::request::Part;

/// Source and destination ports of evenly spread sockets.
#[derive(Debug, Default)]
pub struct Sample {
    pairs: Vec<(u16, u16)>,
    /// Every so many sockets one is kept; 0 while there are none.
    stride: u32,
    skip: u32,
}

impl Sample {
    /// Sees one socket.
    #[inline]
    pub fn see(&mut self, ports: impl FnOnce() -> (u16, u16)) {
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        self.keep(ports());
    }

    /// Adds the sample of another part of the same namespace. A smaller part was sampled more densely, and would count for more
    /// than it is: both are made as sparse as the sparser one.
    pub(crate) fn add(&mut self, mut other: Self) {
        while self.stride > 0 && self.stride < other.stride {
            self.thin();
        }
        while other.stride > 0 && other.stride < self.stride {
            other.thin();
        }
        self.stride = self.stride.max(other.stride);
        self.pairs.append(&mut other.pairs);
        while self.pairs.len() > MOST_PAIRS {
            self.thin();
        }
    }

    fn keep(&mut self, pair: (u16, u16)) {
        if self.pairs.len() >= MOST_PAIRS {
            self.thin();
        }
        self.stride = self.stride.max(FIRST_STRIDE);
        self.skip = self.stride - 1;
        self.pairs.push(pair);
    }

    /// Keeps half of them, twice as far apart.
    fn thin(&mut self) {
        let mut keep = false;
        self.pairs.retain(|_| {
            keep = !keep;
            keep
        });
        self.stride = self.stride.saturating_mul(2);
    }

    /// At most `count` parts that together are every pair of ports, each pair in exactly one of them: pairs are put in
    /// order, by source port and then by destination port, and the order is cut where it gives each part its share of the
    /// sample; without a sample, its share of the source ports. Sockets with the same pair of ports can't be told apart.
    ///
    /// A part is at most three rectangles: the end of one source port, whole source ports, the beginning of one.
    pub fn parts(&self, count: u16) -> Vec<Vec<Part>> {
        let mut pairs = self.pairs.clone();
        pairs.sort_unstable();
        let mut firsts: Vec<(u16, u16)> = (1..count).filter_map(|i| at(&pairs, i, count)).collect();
        firsts.retain(|first| *first > (0, 0));
        firsts.dedup();
        let lasts = firsts.iter().map(|first| before(*first)).chain([(u16::MAX, u16::MAX)]);
        let firsts = [(0, 0)].into_iter().chain(firsts.iter().copied());
        firsts.zip(lasts).map(|(first, last)| rectangles(first, last)).collect()
    }
}

/// Where part `i` of `count` begins.
fn at(pairs: &[(u16, u16)], i: u16, count: u16) -> Option<(u16, u16)> {
    if pairs.is_empty() {
        let port = 0x1_0000 * u32::from(i) / u32::from(count);
        return Some((u16::try_from(port).ok()?, 0));
    }
    pairs.get(pairs.len() * usize::from(i) / usize::from(count)).copied()
}

/// The pair before this one, which is not the first.
fn before((source, destination): (u16, u16)) -> (u16, u16) {
    match destination.checked_sub(1) {
        Some(destination) => (source, destination),
        None => (source.saturating_sub(1), u16::MAX),
    }
}

/// Every pair from the first to the last.
fn rectangles(first: (u16, u16), last: (u16, u16)) -> Vec<Part> {
    if first.0 == last.0 {
        return vec![Part { source: (first.0, first.0), destination: (first.1, last.1) }];
    }
    let mut parts = Vec::new();
    let (mut low, mut high) = (u32::from(first.0), u32::from(last.0));
    if first.1 > 0 {
        parts.push(Part { source: (first.0, first.0), destination: (first.1, u16::MAX) });
        low += 1;
    }
    if last.1 < u16::MAX {
        parts.push(Part { source: (last.0, last.0), destination: (0, last.1) });
        high -= 1;
    }
    if let (Ok(low), Ok(high)) = (u16::try_from(low), u16::try_from(high))
        && low <= high
    {
        parts.push(Part { source: (low, high), destination: (0, u16::MAX) });
    }
    parts
}

/// 16 KiB.
const MOST_PAIRS: usize = 4096;
const FIRST_STRIDE: u32 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(pairs: impl IntoIterator<Item = (u16, u16)>) -> Sample {
        Sample { pairs: pairs.into_iter().collect(), ..Sample::default() }
    }

    fn holds(parts: &[Part], pair: (u16, u16)) -> bool {
        parts.iter().any(|part| part.contains(pair.0, pair.1))
    }

    fn sizes(sample: &Sample, count: u16) -> Vec<usize> {
        let parts = sample.parts(count);
        let size =
            |part: &Vec<Part>| sample.pairs.iter().filter(|pair| holds(part, **pair)).count();
        parts.iter().map(size).collect()
    }

    #[test]
    fn without_a_sample_the_source_ports_are_cut_evenly() {
        let parts = Sample::default().parts(4);
        let sources: Vec<_> = parts.iter().flatten().map(|part| part.source).collect();
        assert_eq!(sources, [(0, 16383), (16384, 32767), (32768, 49151), (49152, 65535)]);
        assert!(parts.iter().flatten().all(|part| part.destination == (0, 65535)));
    }

    #[test]
    fn both_ends_of_loopback_connections_are_cut_into_equal_parts() {
        let ends = (0..2000u16).flat_map(|i| [(20000 + i, 443), (443, 20000 + i)]);
        for count in [2, 3, 4, 8] {
            let sizes = sizes(&sample(ends.clone()), count);
            let share = 4000 / usize::from(count);
            assert!(sizes.iter().all(|size| size.abs_diff(share) <= 1), "{sizes:?}");
        }
    }

    #[test]
    fn a_server_with_one_port_is_cut_by_the_ports_of_its_clients() {
        let sizes = sizes(&sample((0..4000u16).map(|i| (443, 1024 + i * 7))), 4);
        assert_eq!(sizes, [1000; 4]);
    }

    #[test]
    fn a_server_in_the_midst_of_its_clients_ports_is_cut_evenly_wherever_it_stands() {
        for server in (32_768..61_000u16).step_by(97) {
            let clients = (0..2000u16).map(|i| 32_768 + i * 14 + 1).filter(|port| *port != server);
            let ends = clients.flat_map(|port| [(port, server), (server, port)]);
            for count in [2, 3, 4] {
                let sizes = sizes(&sample(ends.clone()), count);
                let share = 4000 / usize::from(count);
                let even = sizes.iter().all(|size| size.abs_diff(share) <= 1);
                assert!(even && sizes.len() == usize::from(count), "{server}: {sizes:?}");
            }
        }
    }

    #[test]
    fn one_pair_of_ports_is_left_in_one_part() {
        let sample = sample(vec![(443, 5000); 100]);
        let sizes = sizes(&sample, 4);
        assert_eq!(sizes.iter().sum::<usize>(), 100);
        assert_eq!(sizes.iter().max(), Some(&100));
    }

    #[test]
    fn parts_of_different_size_are_cut_evenly_at_the_next_poll_and_stay_so() {
        // Most ports lie in the upper half: without a sample, the first part is small.
        let ends = (0..50_000u32).flat_map(|i| {
            let client = u16::try_from(20_000 + i % 30_000).unwrap();
            [(client, 443), (443, client), (client, 8443)]
        });
        let ends: Vec<(u16, u16)> = ends.collect();
        let mut sample = Sample::default();
        for poll in 0..4 {
            let parts = sample.parts(2);
            let mut of_parts = parts.iter().map(|part| {
                let mut sample = Sample::default();
                let mine = ends.iter().filter(|pair| holds(part, **pair));
                let size = mine.inspect(|pair| sample.see(|| **pair)).count();
                (sample, size)
            });
            let (mut next, first) = of_parts.next().unwrap();
            let (other, second) = of_parts.next().unwrap();
            next.add(other);
            assert!(next.pairs.len() <= MOST_PAIRS);
            if poll > 0 {
                assert!(first.abs_diff(second) < ends.len() / 50, "{poll}: {first} and {second}");
            } else {
                assert!(first > 2 * second, "{first} and {second}");
            }
            sample = next;
        }
    }

    #[test]
    fn a_sample_of_many_sockets_stays_small_and_spread() {
        let mut sample = Sample::default();
        for i in 0..1_000_000u32 {
            sample.see(|| (u16::try_from(i / 16).unwrap(), 0));
        }
        assert!((MOST_PAIRS / 2..=MOST_PAIRS).contains(&sample.pairs.len()));
        let low = sample.pairs.iter().filter(|pair| pair.0 < 31_250).count();
        assert!(low.abs_diff(sample.pairs.len() / 2) <= 16, "{low} of {}", sample.pairs.len());
    }

    proptest! {
        #[test]
        fn every_pair_of_ports_is_in_exactly_one_part(
            pairs in proptest::collection::vec((any::<u16>(), 0..2000u16), 0..60),
            probes in proptest::collection::vec(any::<(u16, u16)>(), 50),
            count in 1..17u16,
        ) {
            let parts = sample(pairs.clone()).parts(count);
            prop_assert!(!parts.is_empty() && parts.len() <= usize::from(count));
            let corners = parts.iter().flatten().flat_map(|part| {
                [part.source.0, part.source.1].map(|source| (source, part.destination.1))
            });
            for pair in pairs.into_iter().chain(probes).chain(corners.collect::<Vec<_>>()) {
                prop_assert_eq!(parts.iter().filter(|part| holds(part, pair)).count(), 1, "{:?}", pair);
            }
        }
    }
}
