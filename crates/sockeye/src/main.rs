//! Sockeye: an eye on every socket.

#![forbid(unsafe_code)]

mod cli;
mod cli_kafka;
mod cli_service;
mod commands;
mod config;
mod confine;
mod exit;
mod fault;
mod footprint;
mod observe;
mod panic;
mod poll_log;
mod privileges;
mod record_filter;
mod reload;
mod renewed;
mod signals;
mod systemd;
mod wire_up;

use std::process::ExitCode;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: sockeye_telemetry::Jemalloc = sockeye_telemetry::Jemalloc;

fn main() -> ExitCode {
    panic::end_the_process();
    exit::code(run())
}

fn run() -> Result<exit::Status, exit::Failure> {
    let invocation = config::load(&std::env::args_os().collect::<Vec<_>>())?;
    if invocation.print_default_config() {
        return commands::print_default_config(&invocation);
    }
    if invocation.print_config() {
        return commands::print_config(&invocation);
    }
    commands::run(&invocation)
}
