//! The environment: `SOCKEYE_<OPTION>` for every option; an empty variable counts as not set.

use std::ffi::OsString;

use clap::Arg;

use super::{is_repeatable, key_of};
use crate::exit::Failure;

/// The name of an option's variable.
pub(crate) fn variable_of(key: &str) -> String {
    format!("SOCKEYE_{}", key.replace('-', "_").to_uppercase())
}

/// What the variable of an option says, when it says something.
pub(crate) fn value(key: &str) -> Option<OsString> {
    std::env::var_os(variable_of(key)).filter(|value| !value.is_empty())
}

/// The flags that say the same as the variable of an option; those of a repeatable one stand between blanks.
pub(crate) fn flags(option: &Arg) -> Result<Option<Vec<OsString>>, Failure> {
    let key = key_of(option);
    let Some(value) = value(&key) else { return Ok(None) };
    let Some(text) = value.to_str() else {
        let (variable, text) = (variable_of(&key), value.to_string_lossy());
        return Err(Failure::usage(format!(
            "{variable}: invalid UTF-8 in '{text}'; allowed: UTF-8"
        )));
    };
    let flag = |value: &str| OsString::from(format!("--{key}={value}"));
    Ok(match is_repeatable(option) {
        true if text.trim().is_empty() => None,
        true => Some(text.split_whitespace().map(flag).collect()),
        false => Some(vec![flag(text)]),
    })
}
