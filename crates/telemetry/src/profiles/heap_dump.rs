//! The text that jemalloc dumps: for each stack, what was sampled of its allocations.

/// A dump.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct HeapDump {
    /// One allocation in so many bytes is sampled.
    pub(super) rate: u64,
    pub(super) sites: Vec<Site>,
}

/// A stack that memory was allocated from, with the number of allocations and their bytes, as estimated from the samples.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Site {
    /// Return addresses, innermost first.
    pub(super) stack: Vec<usize>,
    /// What is still in use.
    pub(super) left: (u64, u64),
    /// All that was allocated.
    pub(super) made: (u64, u64),
}

impl HeapDump {
    /// Reads `heap_v2/RATE`, and after each `@ ADDRESS …` its line `t*: COUNT: BYTES [COUNT: BYTES]`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        let rate = lines.next().and_then(|line| line.strip_prefix("heap_v2/")?.parse().ok());
        let rate = rate.ok_or("jemalloc's dump has no heading")?;
        let mut dump = Self { rate, sites: Vec::new() };
        let mut stack = None;
        for line in lines.take_while(|line| !line.starts_with("MAPPED_LIBRARIES")) {
            if let Some(addresses) = line.strip_prefix("@ ") {
                let address =
                    |word: &str| usize::from_str_radix(word.trim_start_matches("0x"), 16).ok();
                stack = Some(addresses.split_ascii_whitespace().filter_map(address).collect());
            } else if let Some(counts) = line.trim_start().strip_prefix("t*:")
                && let Some(stack) = stack.take()
                && let Some((left, made)) = four(counts)
            {
                let estimate = |sampled| estimate(sampled, rate);
                dump.sites.push(Site { stack, left: estimate(left), made: estimate(made) });
            }
        }
        Ok(dump)
    }
}

/// `1: 2 [3: 4]`
fn four(counts: &str) -> Option<((u64, u64), (u64, u64))> {
    let words = counts.split(|char: char| !char.is_ascii_digit()).filter(|word| !word.is_empty());
    let mut numbers = words.map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some(((next()?, next()?), (next()?, next()?)))
}

/// An allocation of `size` bytes is sampled with a probability of 1 - exp(-size / rate).
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is an estimate"
)]
fn estimate((count, bytes): (u64, u64), rate: u64) -> (u64, u64) {
    if count == 0 {
        return (0, 0);
    }
    let size = bytes as f64 / count as f64;
    let scale = 1.0 / (1.0 - (-size / rate.max(1) as f64).exp());
    ((count as f64 * scale).round() as u64, (bytes as f64 * scale).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_read_by_its_stacks_and_estimated_from_its_samples() {
        let text = "heap_v2/1024\n  t*: 3: 30 [4: 40]\n@ 0x10 0x2f\n  t*: 2: 2048000 [3: 3072000]\n  t0: 2: 9 [0: 0]\n\
                    @ 0x30\n  t*: 0: 0 [1: 1024]\nMAPPED_LIBRARIES:\n@ 0x1\n  t*: 1: 1 [1: 1]\n";
        let dump = HeapDump::parse(text).unwrap();
        assert_eq!(dump.rate, 1024);
        let large = Site { stack: vec![0x10, 0x2f], left: (2, 2_048_000), made: (3, 3_072_000) };
        let small = Site { stack: vec![0x30], left: (0, 0), made: (2, 1620) };
        assert_eq!(dump.sites, [large, small]);
        assert!(HeapDump::parse("nonsense").is_err());
    }
}
