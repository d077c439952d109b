//! `sockeye check-config`: whether `sockeye run` would take a file.

use std::ffi::OsString;
use std::path::PathBuf;

use super::print;
use crate::cli_service::CheckConfigArgs;
use crate::config;
use crate::exit::{Failure, Status};

/// Checks everything that `run` checks before it opens something. The environment counts as it would there.
pub(crate) fn run(arguments: &CheckConfigArgs) -> Result<Status, Failure> {
    let named = arguments.input.clone().or_else(config::file_of_environment);
    let file = named.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    let line = ["sockeye".into(), "run".into(), "--config".into(), OsString::from(&file)];
    config::load(&line)?.checked()?;
    print(format!("{} is right\n", file.display()).as_bytes())?;
    Ok(Status::Done)
}

/// Where the packages put it.
const DEFAULT_FILE: &str = "/etc/sockeye/sockeye.toml";
