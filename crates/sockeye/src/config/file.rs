//! The TOML file: keys are the options' names; destinations with settings of their own are `[[sink]]` tables.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Arg, Command as ClapCommand};
use toml::{Table, Value};

use crate::exit::Failure;

use super::values::ALLOWED_DEST;
use super::{has_commas, is_repeatable, is_setting, kafka, key_of};

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
        let at = path.display().to_string();
        let unreadable = |error| Failure::usage(format!("{at}: {error}; allowed: a TOML file"));
        let text = fs::read_to_string(path).map_err(unreadable)?;
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            Failure::usage(format!("{at}: line {line}: {}; allowed: TOML", error.message()))
        })?;
        let allowed = keys(definition);
        let mut file = Self { path: path.into(), values: BTreeMap::new(), sinks: Vec::new() };
        for (key, value) in table {
            if key == "sink" {
                file.sinks = sinks(path, &value)?;
            } else if allowed.contains(&key) {
                let values = match value {
                    Value::Array(values) => {
                        values.iter().map(|value| scalar(&at, &key, value)).collect()
                    }
                    value => scalar(&at, &key, &value).map(|value| vec![value]),
                };
                file.values.insert(key, values?);
            } else {
                let allowed = allowed.join(", ");
                return Err(Failure::usage(format!(
                    "{at}: unknown key {key:?}; allowed: {allowed}, [[sink]]"
                )));
            }
        }
        if !file.sinks.is_empty() && file.values.contains_key("dest") {
            return Err(Failure::usage(format!(
                "{at}: both dest and [[sink]]; allowed: one of them"
            )));
        }
        Ok(file)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The flags that say the same as the file does about an option, when it does.
    pub(crate) fn flags(&self, option: &Arg) -> Result<Option<Vec<OsString>>, Failure> {
        let key = key_of(option);
        let Some(values) = self.values.get(&key) else { return Ok(None) };
        let wrong = |text: &str| Failure::usage(format!("{}: {key}: {text}", self.path.display()));
        let flag = |value: &str| OsString::from(format!("--{key}={value}"));
        match values.as_slice() {
            [] if key == "dest" => Err(wrong("an empty array; allowed: at least one destination")),
            [] if is_repeatable(option) => Ok(None),
            values if is_repeatable(option) => Ok(Some(values.iter().map(|it| flag(it)).collect())),
            values if has_commas(option) => Ok(Some(vec![flag(&values.join(","))])),
            [value] => Ok(Some(vec![flag(value)])),
            _ => Err(wrong("an array; allowed: one value")),
        }
    }

    pub(crate) fn into_sinks(self) -> Vec<SinkTable> {
        self.sinks
    }
}

impl SinkTable {
    /// A key's value by its parser, which must be right in any case; `inherited` when the table does not have the key
    /// or it is not the table's to say.
    pub(crate) fn value<T, E: std::fmt::Display>(
        &self,
        key: &str,
        own: bool,
        inherited: T,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, Failure> {
        match self.values.get(key) {
            Some(text) => parse(text)
                .map(|value| if own { value } else { inherited })
                .map_err(|error| Failure::usage(format!("{}: {key}: {error}", self.place))),
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
        return Err(Failure::usage(format!("{at}: sink: no array of tables; allowed: [[sink]]")));
    };
    let allowed: Vec<String> =
        SINK_KEYS.map(str::to_owned).into_iter().chain(kafka::keys()).collect();
    let read = |(number, table): (usize, &Value)| {
        let place = format!("{at}: [[sink]] {}", number + 1);
        let Value::Table(table) = table else {
            return Err(Failure::usage(format!("{place}: no table; allowed: keys and values")));
        };
        let mut values = BTreeMap::new();
        for (key, value) in table {
            if !allowed.contains(key) {
                return Err(Failure::usage(format!(
                    "{place}: unknown key {key:?}; allowed: {}",
                    allowed.join(", ")
                )));
            }
            let value = match value {
                Value::Array(words) if key == "columns" || key == "kafka-set" => {
                    let words: Result<Vec<_>, _> =
                        words.iter().map(|word| scalar(&place, key, word)).collect();
                    words?.join(if key == "columns" { "," } else { " " })
                }
                value => scalar(&place, key, value)?,
            };
            values.insert(key.clone(), value);
        }
        if !values.contains_key("dest") {
            return Err(Failure::usage(format!("{place}: no dest; allowed: {ALLOWED_DEST}")));
        }
        Ok(SinkTable { place, values })
    };
    tables.iter().enumerate().map(read).collect()
}

fn scalar(place: &str, key: &str, value: &Value) -> Result<String, Failure> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Boolean(flag) => Ok(flag.to_string()),
        other => Err(Failure::usage(format!(
            "{place}: {key}: {} is no value of an option; allowed: text, whole numbers, true, false",
            a(other.type_str())
        ))),
    }
}

/// A TOML type with its article.
fn a(kind: &str) -> String {
    format!("{} {kind}", if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" })
}

/// Every option of every command that a file may set.
fn keys(definition: &ClapCommand) -> Vec<String> {
    let all = definition.get_subcommands().flat_map(ClapCommand::get_arguments);
    let mut keys: Vec<String> = all.filter(|argument| is_setting(argument)).map(key_of).collect();
    keys.sort();
    keys.dedup();
    keys
}

pub(super) const SINK_KEYS: [&str; 8] = [
    "dest",
    "marshal",
    "columns",
    "humanize",
    "queue-bytes",
    "file-rotate-bytes",
    "file-rotate-age",
    "file-zstd",
];
