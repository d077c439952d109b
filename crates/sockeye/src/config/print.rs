//! `--print-config`: every value and where it came from, as a TOML file that gives the same.

use std::fmt::Write;

use clap::parser::ValueSource;
use toml::Value;

use super::{Invocation, LISTS, environment_list, key_of, variable_of};

/// The text.
pub(crate) fn print(invocation: &Invocation) -> String {
    let mut lines = String::new();
    for argument in invocation.definition.get_arguments() {
        let (id, key) = (argument.get_id().as_str(), key_of(argument));
        if argument.get_long().is_none() || ["config", "print-config", "help", "version"].contains(&key.as_str()) {
            continue;
        }
        if key == "dest" && !invocation.sinks.is_empty() {
            continue;
        }
        let values: Vec<String> = invocation
            .matches
            .get_raw(id)
            .map(|values| values.map(|value| value.to_string_lossy().into_owned()).collect())
            .unwrap_or_default();
        let source = source(invocation, id, &key);
        let value = match values.as_slice() {
            [] => {
                // A String takes every write, here and below.
                let _ = writeln!(lines, "# {key} = (not set)");
                continue;
            }
            [value] if !LISTS.contains(&key.as_str()) => toml_value(value),
            values => Value::Array(values.iter().cloned().map(Value::String).collect()),
        };
        let _ = writeln!(lines, "{:<44} # {source}", format!("{key} = {value}"));
    }
    for sink in &invocation.sinks {
        let _ = writeln!(lines, "\n[[sink]] # {}", sink.place);
        for (key, value) in sink.entries() {
            let _ = writeln!(lines, "{key} = {}", toml_value(value));
        }
    }
    lines
}

fn source(invocation: &Invocation, id: &str, key: &str) -> String {
    let flagged = invocation.flagged.contains(id);
    match (invocation.matches.value_source(id), &invocation.file) {
        (Some(ValueSource::EnvVariable), _) => variable_of(key),
        (Some(ValueSource::CommandLine), _) if !flagged && LISTS.contains(&key) && environment_list(key).is_some() => {
            variable_of(key)
        }
        (Some(ValueSource::CommandLine), Some(file)) if !flagged => file.path().display().to_string(),
        (Some(ValueSource::CommandLine), _) => format!("--{key}"),
        _ => "default".into(),
    }
}

fn toml_value(text: &str) -> Value {
    match (text.parse::<i64>(), text.parse::<bool>()) {
        (Ok(number), _) if number.to_string() == text => Value::Integer(number),
        (_, Ok(flag)) => Value::Boolean(flag),
        _ => Value::String(text.into()),
    }
}
