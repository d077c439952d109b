//! `sockeye completions`: what a shell needs to complete commands, options and their values.

use crate::cli::CompletionsArgs;
use crate::exit::{Failure, Status};

/// Prints the script of one shell.
pub(crate) fn run(arguments: &CompletionsArgs) -> Result<Status, Failure> {
    let mut definition = crate::config::definition();
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut definition, "sockeye", &mut script);
    super::print(&script)?;
    Ok(Status::Done)
}
