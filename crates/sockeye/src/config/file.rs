//! The TOML file: keys are the options' names; destinations with settings of their own are `[[sink]]` tables.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Command as ClapCommand;
use toml::{Table, Value};

use crate::exit::Failure;

use super::key_of;

/// A file that has been read; its keys are known, its values are still text.
#[derive(Debug, Clone)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    values: BTreeMap<String, Vec<String>>,
    sinks: Vec<SinkTable>,
}

/// One `[[sink]]`: what it does not say is as for the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SinkTable {
    /// For messages: the file, and which of its tables.
    pub(crate) place: String,
    values: BTreeMap<String, String>,
}

impl ConfigFile {
    /// Reads the file; every key must be an option of some command.
    pub(crate) fn read(path: &Path, definition: &ClapCommand) -> Result<Self, Failure> {
        let at = path.display();
        let text = fs::read_to_string(path).map_err(|error| Failure::usage(format!("{at}: {error}")))?;
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| text.get(..span.start).map_or(1, |before| before.lines().count().max(1)));
            Failure::usage(format!("{at}: line {line}: {}", error.message()))
        })?;
        let allowed = keys(definition);
        let mut file = Self { path: path.into(), values: BTreeMap::new(), sinks: Vec::new() };
        for (key, value) in table {
            if key == "sink" {
                file.sinks = sinks(path, &value)?;
            } else if allowed.contains(&key) {
                let values = match value {
                    Value::Array(values) => values.iter().map(|value| scalar(path, &key, value)).collect(),
                    value => scalar(path, &key, &value).map(|value| vec![value]),
                };
                file.values.insert(key, values?);
            } else {
                let allowed = allowed.join(", ");
                return Err(Failure::usage(format!("{at}: unknown key {key:?}; allowed: {allowed}, [[sink]]")));
            }
        }
        if !file.sinks.is_empty() && file.values.contains_key("dest") {
            return Err(Failure::usage(format!("{at}: both dest and [[sink]]; allowed: one of them")));
        }
        Ok(file)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The values of a key, when the file has it.
    pub(crate) fn values(&self, key: &str) -> Option<&[String]> {
        self.values.get(key).map(Vec::as_slice)
    }

    pub(crate) fn sinks(&self) -> &[SinkTable] {
        &self.sinks
    }
}

impl SinkTable {
    /// A key's value by its parser, or `inherited` when the table does not have it.
    pub(crate) fn value<T, E: std::fmt::Display>(
        &self,
        key: &str,
        inherited: T,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, Failure> {
        match self.values.get(key) {
            Some(text) => parse(text).map_err(|error| Failure::usage(format!("{}: {key}: {error}", self.place))),
            None => Ok(inherited),
        }
    }

    /// Key and value, in the order of the keys.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

fn sinks(path: &Path, value: &Value) -> Result<Vec<SinkTable>, Failure> {
    let at = path.display();
    let Value::Array(tables) = value else {
        return Err(Failure::usage(format!("{at}: sink is no table; allowed: [[sink]] tables")));
    };
    let read = |(number, table): (usize, &Value)| {
        let place = format!("{at}: [[sink]] {}", number + 1);
        let Value::Table(table) = table else {
            return Err(Failure::usage(format!("{place}: no table")));
        };
        let mut values = BTreeMap::new();
        for (key, value) in table {
            if !SINK_KEYS.contains(&key.as_str()) {
                return Err(Failure::usage(format!("{place}: unknown key {key:?}; allowed: {}", SINK_KEYS.join(", "))));
            }
            values.insert(key.clone(), scalar(path, key, value)?);
        }
        if !values.contains_key("dest") {
            return Err(Failure::usage(format!("{place}: no dest; allowed: stdout, stderr, null, file:PATH")));
        }
        Ok(SinkTable { place, values })
    };
    tables.iter().enumerate().map(read).collect()
}

fn scalar(path: &Path, key: &str, value: &Value) -> Result<String, Failure> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Boolean(flag) => Ok(flag.to_string()),
        other => Err(Failure::usage(format!(
            "{}: {key}: a {} is no value of an option; allowed: text, whole numbers, true, false",
            path.display(),
            other.type_str()
        ))),
    }
}

/// Every option of every command that a file may set.
fn keys(definition: &ClapCommand) -> Vec<String> {
    let all = definition.get_subcommands().flat_map(ClapCommand::get_arguments).filter(|argument| argument.get_long().is_some());
    let mut keys: Vec<String> = all.map(key_of).filter(|key| !NOT_IN_FILES.contains(&key.as_str())).collect();
    keys.sort();
    keys.dedup();
    keys
}

const NOT_IN_FILES: [&str; 4] = ["config", "print-config", "help", "version"];
const SINK_KEYS: [&str; 8] =
    ["dest", "marshal", "columns", "humanize", "queue-bytes", "file-rotate-bytes", "file-rotate-age", "file-zstd"];
