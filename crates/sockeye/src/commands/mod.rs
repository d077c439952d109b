//! The commands, a file each.

mod check_config;
mod closed;
mod closed_line;
mod closed_sink;
mod completions;
mod consume;
mod decode;
mod doctor;
mod doctor_cost;
mod last_words;
mod man;
mod netns;
mod run;
mod snapshot;

use std::io::{self, Write};

use anyhow::Context;

use crate::cli::Command;
use crate::config::Invocation;
use crate::exit::{Failure, Status};

/// Runs the command.
pub(crate) fn run(invocation: &Invocation) -> Result<Status, Failure> {
    match &invocation.command {
        Command::Run(arguments) => run::run(arguments, invocation),
        Command::Snapshot(arguments) => snapshot::run(arguments, invocation),
        Command::Closed(arguments) => closed::run(arguments, invocation),
        Command::Decode(arguments) => decode::run(arguments),
        Command::Consume(arguments) => consume::run(arguments, invocation),
        Command::Netns(arguments) => netns::run(arguments),
        Command::Doctor(arguments) => doctor::run(arguments),
        Command::CheckConfig(arguments) => check_config::run(arguments),
        Command::Completions(arguments) => completions::run(arguments),
        Command::Man(arguments) => man::run(arguments),
    }
}

/// `--print-config`, for any command. Wrong destinations are refused here as well.
pub(crate) fn print_config(invocation: &Invocation) -> Result<Status, Failure> {
    if let Command::Run(arguments) = &invocation.command {
        invocation.sinks(arguments)?;
    }
    invocation.filter()?;
    print(crate::config::print(invocation).as_bytes())?;
    Ok(Status::Done)
}

/// `run --print-default-config`.
pub(crate) fn print_default_config(invocation: &Invocation) -> Result<Status, Failure> {
    print(crate::config::default_file(invocation).as_bytes())?;
    Ok(Status::Done)
}

/// Writes to stdout. A reader that has seen enough is no error.
fn print(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("stdout"),
    }
}
