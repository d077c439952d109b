//! A destination as it is shown: a short label, its queue, and what its client library counts.

use sockeye_pipeline::Queue;

/// A destination.
pub(crate) struct SinkView {
    /// Its kind, with a number where there are several: `kafka`, `file`, `file-2`. No address.
    pub(crate) label: String,
    pub(crate) queue: Queue,
    /// What else it counts.
    pub(crate) client: Option<Box<dyn Fn() -> ClientFigures + Send + Sync>>,
}

/// What a sink with a client library, or a spool, counts besides its ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ClientFigures {
    pub(crate) acknowledged: u64,
    pub(crate) spooled: u64,
    pub(crate) spool_failures: u64,
    pub(crate) spool_damaged_bytes: u64,
    pub(crate) producers: u64,
    /// By kind.
    pub(crate) troubles: Vec<(&'static str, u64)>,
}

/// Labels for destinations of these kinds.
pub(crate) fn labels<'a>(kinds: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut seen: Vec<&str> = Vec::new();
    kinds
        .map(|kind| {
            let before = seen.iter().filter(|seen| **seen == kind).count();
            seen.push(kind);
            if before == 0 { kind.to_owned() } else { format!("{kind}-{}", before + 1) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_destination_of_a_kind_has_a_number() {
        let kinds = ["file", "kafka", "file", "file"];
        assert_eq!(labels(kinds.into_iter()), ["file", "kafka", "file-2", "file-3"]);
    }
}
