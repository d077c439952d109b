//! The options about running for years: logs, privileges, memory.

#![expect(clippy::doc_markdown, reason = "these are the texts of --help, not Markdown")]

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sockeye_telemetry::logging::{self, Level};

use crate::config::values::{bytes, level};

/// What an operator tells a service.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(crate) struct ServiceArgs {
    /// Least level of what is logged: error, warn, info, debug, trace or off.
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = level, help_heading = "Logs")]
    pub(crate) log_level: Level,

    /// How lines on stderr look: text, or json for an object a line. What goes to the journal has fields in any case.
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = "Logs")]
    pub(crate) log_format: LogFormat,

    /// Where the log goes: stderr, journald, or auto: to the journal where stderr leads there, else to stderr.
    #[arg(long, value_name = "TARGET", default_value = "auto", help_heading = "Logs")]
    pub(crate) log_to: LogTo,

    /// Which privileges must be there: available (what is missing is said, and the rest is read) or full (it is refused to
    /// start).
    #[arg(
        long,
        value_name = "PRIVILEGES",
        default_value = "available",
        help_heading = "Privileges"
    )]
    pub(crate) require: Requirement,

    /// Give up every capability that is not needed once everything is open, and the right to gain any.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", help_heading = "Privileges")]
    pub(crate) drop_capabilities: bool,

    /// Let destinations open only the files that they need (Landlock), where the kernel can.
    ///
    /// Readers are left out: Linux lets nobody who is restricted so look for other processes' namespaces. With
    /// --own-netns-only all threads are restricted.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", help_heading = "Privileges")]
    pub(crate) landlock: bool,

    /// Let system calls fail that are never needed (seccomp): to run programs, to mount, to look into processes.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", help_heading = "Privileges")]
    pub(crate) seccomp: bool,

    /// Bytes of memory that the process may take; settings that do not fit are refused. By default no limit.
    ///
    /// Counted are queues, buffers of readers, envelopes, spools and what the program takes itself; not the kernel's share.
    #[arg(long, value_name = "BYTES", value_parser = bytes, help_heading = "Other")]
    pub(crate) memory_limit: Option<u64>,

    /// Print every option with its default and what it does, as a TOML file, and exit.
    #[arg(long, help_heading = "Configuration")]
    pub(crate) print_default_config: bool,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Where the log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogTo {
    Auto,
    Stderr,
    Journald,
}

/// Which privileges must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Requirement {
    Available,
    Full,
}

impl ServiceArgs {
    /// What the log is set up with.
    pub(crate) fn logging(&self) -> logging::Settings {
        logging::Settings {
            level: self.log_level,
            format: match self.log_format {
                LogFormat::Text => logging::Format::Text,
                LogFormat::Json => logging::Format::Json,
            },
            to: match self.log_to {
                LogTo::Auto => logging::Target::Auto,
                LogTo::Stderr => logging::Target::Stderr,
                LogTo::Journald => logging::Target::Journald,
            },
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct CheckConfigArgs {
    /// The file to check; by default that of SOCKEYE_CONFIG, or /etc/sockeye/sockeye.toml.
    #[arg(value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
}
