//! Sockeye: an eye on every socket.

#![forbid(unsafe_code)]

mod cli;
mod cli_kafka;
mod commands;
mod config;
mod exit;
mod fault;
mod panic;
mod poll_log;
mod privileges;
mod record_filter;
mod signals;
mod wire_up;

use std::process::ExitCode;

fn main() -> ExitCode {
    panic::end_the_process();
    exit::code(run())
}

fn run() -> Result<exit::Status, exit::Failure> {
    let invocation = config::load(&std::env::args_os().collect::<Vec<_>>())?;
    if invocation.print_config() {
        return commands::print_config(&invocation);
    }
    commands::run(&invocation)
}
