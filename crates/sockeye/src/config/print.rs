//! `--print-config`: every value and where it came from, as a TOML file that gives the same.

use std::fmt::Write;

use toml::Value;

use super::{Invocation, Origin, is_repeatable, is_setting, key_of};

/// The text.
pub(crate) fn print(invocation: &Invocation) -> String {
    let mut lines = String::new();
    for option in invocation.definition.get_arguments().filter(|argument| is_setting(argument)) {
        let key = key_of(option);
        if key == "dest" && !invocation.sinks.is_empty() {
            continue;
        }
        let raw = invocation.matches.get_raw(option.get_id().as_str());
        let values: Vec<String> = raw
            .map(|values| values.map(|value| value.to_string_lossy().into_owned()).collect())
            .unwrap_or_default();
        let value = match values.as_slice() {
            [] => {
                // A String takes every write, here and below.
                let _ = writeln!(lines, "# {key} = (not set)");
                continue;
            }
            [value] if !is_repeatable(option) => toml_value(value),
            values => Value::Array(values.iter().cloned().map(Value::String).collect()),
        };
        let origin = invocation.origin(&key);
        // The file may be made for many hosts: only a name that somebody chose belongs in it.
        let mark = if key == "hostname" && *origin == Origin::Default { "# " } else { "" };
        let place = without_controls(&origin.of(&key));
        let _ = writeln!(lines, "{:<44} # {place}", format!("{mark}{key} = {value}"));
    }
    for sink in &invocation.sinks {
        let _ = writeln!(lines, "\n[[sink]] # {}", without_controls(&sink.place));
        // What a flag or the environment says goes before a table.
        let own = |key: &str| {
            key == "dest"
                || !matches!(invocation.origins.get(key), Some(Origin::Flag | Origin::Environment))
        };
        for (key, value) in sink.entries().filter(|(key, _)| own(key)) {
            let _ = writeln!(lines, "{key} = {}", toml_value(value));
        }
    }
    lines
}

/// A value as TOML has it: a number, a truth or text.
pub(super) fn toml_value(text: &str) -> Value {
    match (text.parse::<i64>(), text.parse::<bool>()) {
        (Ok(number), _) if number.to_string() == text => Value::Integer(number),
        (_, Ok(flag)) => Value::Boolean(flag),
        _ => Value::String(text.into()),
    }
}

/// A comment ends with its line, and a path may hold a line's end.
fn without_controls(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}
