//! Cutting a large namespace into parts of about the same size, by what the last poll saw of its ports.

use sockeye_wire::request::Part;

/// Source and destination ports of evenly spread sockets.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    pairs: Vec<(u16, u16)>,
    /// Every so many sockets one is kept; 0 while there are none.
    stride: u32,
    skip: u32,
}

impl Sample {
    /// Sees one socket.
    #[inline]
    pub(crate) fn see(&mut self, ports: impl FnOnce() -> (u16, u16)) {
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        self.keep(ports());
    }

    /// Adds the sample of another part of the same namespace.
    pub(crate) fn add(&mut self, other: &Self) {
        self.pairs.extend(&other.pairs);
    }

    fn keep(&mut self, pair: (u16, u16)) {
        if self.pairs.len() >= MOST_PAIRS {
            // Half of them, twice as far apart.
            let mut keep = false;
            self.pairs.retain(|_| {
                keep = !keep;
                keep
            });
            self.stride = self.stride.saturating_mul(2);
        }
        self.stride = self.stride.max(FIRST_STRIDE);
        self.skip = self.stride - 1;
        self.pairs.push(pair);
    }

    /// `count` parts that together are every port, each pair of ports in exactly one of them; sockets that are
    /// distributed as the sample is fill them evenly, as far as ports can tell them apart.
    pub(crate) fn parts(&self, count: u16) -> Vec<Part> {
        cut(Part::ALL, &mut self.pairs.clone(), count.max(1)).parts
    }
}

/// Parts, and how many of the sample the largest of them has.
struct Parted {
    parts: Vec<Part>,
    largest: usize,
}

fn cut(part: Part, pairs: &mut [(u16, u16)], count: u16) -> Parted {
    let mut cuts: Vec<Cut> = Vec::new();
    for side in [Side::Source, Side::Destination] {
        side.sort(pairs);
        cuts.extend((1..count).filter_map(|low| Cut::of(part, side, pairs, low, count)));
    }
    // Whichever is most even; then closest to the middle.
    cuts.sort_by_key(|cut| (cut.off, (2 * cut.low).abs_diff(count)));
    // An even cut may leave halves that can't be cut evenly: with few parts there is time to try others.
    let tries = if count <= FEW { TRIES } else { 1 };
    let tried = cuts.into_iter().take(tries).map(|Cut { side, first, before, low, .. }| {
        side.sort(pairs);
        let (lower, upper) = pairs.split_at_mut(before);
        let (below, above) = side.halves(part, first);
        let mut parted = cut(below, lower, low);
        let rest = cut(above, upper, count - low);
        parted.parts.extend(rest.parts);
        parted.largest = parted.largest.max(rest.largest);
        parted
    });
    // None: a single part, or a single pair of ports, which can't be cut any more.
    let best = tried.min_by_key(|parted| parted.largest);
    best.unwrap_or(Parted { parts: vec![part], largest: pairs.len() })
}

/// Which ports a cut goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

impl Side {
    fn port(self, pair: (u16, u16)) -> u16 {
        if self == Self::Source { pair.0 } else { pair.1 }
    }

    fn sort(self, pairs: &mut [(u16, u16)]) {
        pairs.sort_unstable_by_key(|pair| self.port(*pair));
    }

    fn range(self, part: Part) -> (u16, u16) {
        if self == Self::Source { part.source } else { part.destination }
    }

    /// The part below the port `first`, and the part from it on.
    fn halves(self, part: Part, first: u16) -> (Part, Part) {
        let (low, high) = self.range(part);
        let with = |range| match self {
            Self::Source => Part { source: range, ..part },
            Self::Destination => Part { destination: range, ..part },
        };
        (with((low, first.saturating_sub(1))), with((first, high)))
    }
}

/// A way to cut a part in two.
#[derive(Debug, Clone, Copy)]
struct Cut {
    side: Side,
    /// First port of the upper half.
    first: u16,
    /// Sockets of the sample in the lower half.
    before: usize,
    /// How many more or fewer than were wanted.
    off: usize,
    /// How many parts the lower half is to make.
    low: u16,
}

impl Cut {
    /// The cut that leaves closest to `low / count` of the sample, which is in order, in the lower half; without a
    /// sample, of the ports. `None` where there is no place for one.
    fn of(part: Part, side: Side, pairs: &[(u16, u16)], low: u16, count: u16) -> Option<Self> {
        let (lowest, highest) = side.range(part);
        let share = pairs.len() * usize::from(low) / usize::from(count);
        let at = |first: u16| {
            let before = pairs.partition_point(|pair| side.port(*pair) < first);
            Self { side, first, before, off: before.abs_diff(share), low }
        };
        if pairs.is_empty() {
            let ports = u32::from(highest - lowest) + 1;
            let first = u32::from(lowest) + ports * u32::from(low) / u32::from(count);
            return u16::try_from(first).ok().filter(|first| *first > lowest).map(at);
        }
        let near = [pairs.get(share.saturating_sub(1)), pairs.get(share)];
        // Below the port that stands at the wanted place, or behind it.
        let ports = near.into_iter().flatten().map(|pair| side.port(*pair));
        let firsts = ports.flat_map(|port| [Some(port), port.checked_add(1)]).flatten();
        let inside = firsts.filter(|first| *first > lowest && *first <= highest);
        inside.map(at).min_by_key(|cut| cut.off)
    }
}

const FEW: u16 = 4;
const TRIES: usize = 4;
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

    fn sizes(sample: &Sample, count: u16) -> Vec<usize> {
        let parts = sample.parts(count);
        let size =
            |part: &Part| sample.pairs.iter().filter(|pair| part.contains(pair.0, pair.1)).count();
        parts.iter().map(size).collect()
    }

    #[test]
    fn without_a_sample_the_source_ports_are_cut_evenly() {
        let parts = Sample::default().parts(4);
        let sources: Vec<_> = parts.iter().map(|part| part.source).collect();
        assert_eq!(sources, [(0, 16383), (16384, 32767), (32768, 49151), (49152, 65535)]);
        assert!(parts.iter().all(|part| part.destination == (0, 65535)));
    }

    #[test]
    fn both_ends_of_loopback_connections_are_cut_into_equal_parts() {
        let ends = (0..2000u16).flat_map(|i| [(20000 + i, 443), (443, 20000 + i)]);
        for count in [2, 3, 4, 8] {
            let sizes = sizes(&sample(ends.clone()), count);
            let share = 4000 / usize::from(count);
            assert!(sizes.iter().all(|size| size.abs_diff(share) <= share / 20), "{sizes:?}");
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
                // The largest part is what a dump waits for.
                let even = sizes.iter().all(|size| *size <= share + share / 4);
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
            let corners = parts.iter().flat_map(|part| [part.source.0, part.source.1].map(|source| (source, part.destination.1)));
            for pair in pairs.into_iter().chain(probes).chain(corners.collect::<Vec<_>>()) {
                prop_assert_eq!(parts.iter().filter(|part| part.contains(pair.0, pair.1)).count(), 1, "{:?}", pair);
            }
        }
    }
}
