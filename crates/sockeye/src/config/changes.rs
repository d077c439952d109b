//! What is different between two configurations: what can change while the daemon runs, and what can't.

use std::collections::BTreeSet;
use std::ffi::OsString;

use super::settings::SinkSpec;
use super::{Invocation, SinkTable, is_setting, kafka, key_of};
use crate::exit::Failure;

/// Names of what is different.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Options that hold from the next poll on.
    pub(crate) live: BTreeSet<String>,
    /// Options that are read at start alone.
    pub(crate) at_start: BTreeSet<String>,
}

impl Changes {
    /// Compares what both say, whether by flag, environment, file or default.
    pub(crate) fn between(old: &Invocation, new: &Invocation) -> Self {
        let mut changes = Self::default();
        for option in new.definition.get_arguments().filter(|option| is_setting(option)) {
            if raw(old, option.get_id().as_str()) != raw(new, option.get_id().as_str()) {
                changes.add(&key_of(option), String::new());
            }
        }
        if old.sinks.len() != new.sinks.len() {
            changes.at_start.insert("[[sink]]".into());
            return changes;
        }
        for (number, (old, new)) in old.sinks.iter().zip(&new.sinks).enumerate() {
            for key in different(old, new) {
                changes.add(key, format!("[[sink]] {}: ", number + 1));
            }
        }
        changes
    }

    fn add(&mut self, key: &str, place: String) {
        let set = if LIVE.contains(&key) { &mut self.live } else { &mut self.at_start };
        set.insert(place + key);
    }
}

/// The destinations that run, with what may change of them; one that is not named any more is as it was.
///
/// # Errors
/// The columns do not fit what a destination was started with.
pub(crate) fn merge(running: &[SinkSpec], wanted: &[SinkSpec]) -> Result<Vec<SinkSpec>, Failure> {
    let merged = running.iter().map(|spec| {
        let mut spec = spec.clone();
        let same = |other: &&SinkSpec| {
            other.name() == spec.name() && other.encoding.format == spec.encoding.format
        };
        if let Some(wanted) = wanted.iter().find(same) {
            spec.encoding = wanted.encoding.clone();
        }
        if let Some(kafka) = &spec.kafka {
            kafka::check_key(&kafka.options, &spec.encoding)?;
        }
        Ok(spec)
    });
    merged.collect()
}

fn raw(invocation: &Invocation, id: &str) -> Vec<OsString> {
    let values = invocation.matches.get_raw(id);
    values.map(|values| values.map(OsString::from).collect()).unwrap_or_default()
}

/// Keys that two tables do not have the same of.
fn different<'a>(old: &'a SinkTable, new: &'a SinkTable) -> BTreeSet<&'a str> {
    let [old, new] = [old, new].map(|table| table.entries().collect::<BTreeSet<_>>());
    old.symmetric_difference(&new).map(|(key, _)| *key).collect()
}

/// What SIGHUP changes.
pub(crate) const LIVE: [&str; 15] = [
    "columns",
    "deserializers",
    "filter",
    "frequency",
    "hostname",
    "humanize",
    "jitter",
    "label",
    "location",
    "log-level",
    "modulus",
    "plan",
    "states",
    "tag",
    "timeout",
];
