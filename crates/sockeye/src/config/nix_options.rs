//! `nix/options.json`, what the NixOS module makes its options of, is what `sockeye run` reads from a file.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use clap::{Arg, Command as ClapCommand};
use serde_json::{Map, Value, json};

use super::changes::LIVE;
use super::file::SINK_KEYS;
use super::{definition, is_repeatable, is_setting, kafka, key_of};

/// The keys that `run` reads, by name.
fn options() -> Value {
    let definition = definition();
    let run = definition.find_subcommand("run").unwrap();
    let mut options: Vec<(String, Value)> = run
        .get_arguments()
        .filter(|option| is_setting(option))
        .map(|option| (key_of(option), of(&definition, option)))
        .collect();
    options.sort_by(|one, other| one.0.cmp(&other.0));
    Value::Object(options.into_iter().collect())
}

fn of(definition: &ClapCommand, option: &Arg) -> Value {
    let mut entry = Map::new();
    let name = option.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    let allowed = allowed(definition, &key_of(option));
    entry.extend(kind(name.as_deref().unwrap_or_default(), allowed.as_deref()));
    if is_repeatable(option) {
        entry.insert("repeatable".into(), true.into());
    }
    if sink_keys().contains(&key_of(option)) {
        entry.insert("sink".into(), true.into());
    }
    if LIVE.contains(&key_of(option).as_str()) {
        entry.insert("live".into(), true.into());
    }
    let default =
        option.get_default_values().first().filter(|_| !option.is_hide_default_value_set());
    if let Some(default) = default.and_then(|default| default.to_str()) {
        entry.insert("default".into(), default.into());
    }
    let help = option.get_long_help().or(option.get_help()).unwrap();
    entry.insert("description".into(), help.to_string().into());
    Value::Object(entry)
}

/// What a value may be, by what the value is called in `--help` and by what its parser says of a wrong one.
fn kind(name: &str, allowed: Option<&str>) -> Map<String, Value> {
    let kind = match name {
        "DURATION" => json!({ "kind": "duration" }),
        "BYTES" => json!({ "kind": "bytes" }),
        "BOOL" => json!({ "kind": "boolean" }),
        "LIST" => json!({ "kind": "list" }),
        "FILE" | "DIR" => json!({ "kind": "path" }),
        "N" | "PERCENT" | "NICE" => number(allowed.unwrap()),
        _ => match allowed.map(|allowed| allowed.split(", ").collect::<Vec<_>>()) {
            Some(words) if words.len() > 1 && words.iter().all(|word| is_word(word)) => {
                json!({ "kind": "one-of", "values": words })
            }
            _ => json!({ "kind": "text" }),
        },
    };
    kind.as_object().unwrap().clone()
}

/// `a whole number from 0 to 100`, `a whole number from 1 up`, `auto, or a whole number from 1 to 64`
fn number(allowed: &str) -> Value {
    let (words, bounds) = allowed.split_once("a whole number from ").unwrap();
    let mut bounds = bounds.split(" to ").map(|bound| bound.trim_end_matches(" up").parse::<i64>());
    let mut kind = json!({ "kind": "integer", "minimum": bounds.next().unwrap().unwrap() });
    if let Some(maximum) = bounds.next() {
        kind["maximum"] = maximum.unwrap().into();
    }
    if let Some(word) = words.strip_suffix(", or ") {
        kind["values"] = json!([word]);
    }
    kind
}

/// What a refused value could have been; `None` where every text will do.
fn allowed(definition: &ClapCommand, key: &str) -> Option<String> {
    let wrong = ["sockeye".into(), "run".into(), OsString::from(format!("--{key}=?"))];
    let error = definition.clone().try_get_matches_from(wrong).err()?;
    let line = super::one_line(&error.to_string());
    line.split_once("allowed: ").map(|(_, allowed)| allowed.to_owned())
}

fn is_word(word: &str) -> bool {
    word.chars().all(|char| char.is_ascii_alphanumeric() || char == '-')
}

fn sink_keys() -> Vec<String> {
    SINK_KEYS.map(str::to_owned).into_iter().chain(kafka::keys()).collect()
}

#[test]
fn the_options_of_the_nixos_module_are_the_keys_of_the_file() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../nix/options.json");
    let fresh = serde_json::to_string_pretty(&options()).unwrap() + "\n";
    if std::env::var_os("SOCKEYE_BLESS").is_some_and(|bless| bless == "1") {
        fs::write(&path, fresh).unwrap();
        return;
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    let differs = fresh.lines().zip(stored.lines()).find(|(fresh, stored)| fresh != stored);
    assert!(
        fresh == stored,
        "nix/options.json is stale; make it again with: SOCKEYE_BLESS=1 cargo test -p sockeye --bin sockeye nix_options\n\
         the first line that differs: {differs:?}"
    );
}

#[test]
fn kinds_come_from_what_parsers_say() {
    let options = options();
    let kind = |key: &str| {
        let mut entry = options[key].as_object().unwrap().clone();
        entry.remove("description");
        Value::Object(entry)
    };
    assert_eq!(
        kind("jitter"),
        json!({ "kind": "integer", "minimum": 0, "maximum": 100, "live": true, "default": "20" })
    );
    assert_eq!(kind("frequency"), json!({ "kind": "duration", "live": true, "default": "10s" }));
    assert_eq!(
        kind("netlinkers"),
        json!({ "kind": "integer", "minimum": 1, "maximum": 64, "values": ["auto"], "default": "auto" })
    );
    assert_eq!(
        kind("plan"),
        json!({ "kind": "one-of", "values": ["auto", "full"], "live": true, "default": "auto" })
    );
    assert_eq!(
        kind("dest"),
        json!({ "kind": "text", "repeatable": true, "sink": true, "default": "stdout" })
    );
    assert_eq!(kind("hostname"), json!({ "kind": "text", "live": true }));
}
