//! How a command ends: exit codes, and one line on stderr for what went wrong.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

/// A command that ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Everything was done: 0.
    Done,
    /// It went to its end, but not everything was there; that has been said: 1.
    Incomplete,
}

/// Why a command could not go on.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Options, the environment, the file or something they name is wrong; nothing was started: 2.
    Usage(String),
    /// A filter is wrong; shown with the place below the message: 2.
    Expression(String),
    /// Help or a version was asked for, and is the output: 0.
    Help(clap::Error),
    /// Anything later: 1.
    Runtime(anyhow::Error),
}

impl Failure {
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::Usage(message.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Expression(message) => f.write_str(message),
            Self::Help(help) => help.fmt(f),
            Self::Runtime(error) => write!(f, "{error:#}"),
        }
    }
}

impl Failure {
    /// The same with the place where it is wrong.
    pub(crate) fn at(self, place: &str) -> Self {
        match self {
            Self::Usage(message) => Self::Usage(format!("{place}: {message}")),
            other => other,
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Runtime(error)
    }
}

/// Prints what is to be said and turns the result into an exit code.
pub(crate) fn code(result: Result<Status, Failure>) -> ExitCode {
    match result {
        Ok(Status::Done) => ExitCode::SUCCESS,
        Ok(Status::Incomplete) => ExitCode::from(1),
        Err(Failure::Usage(message)) => {
            complain(&message);
            ExitCode::from(2)
        }
        Err(Failure::Expression(message)) => {
            let (first, rest) = message.split_once('\n').unwrap_or((&message, ""));
            complain(first);
            for line in rest.lines() {
                put_line(line);
            }
            ExitCode::from(2)
        }
        Err(Failure::Help(help)) => {
            // A reader that has seen enough of the help is no error.
            let _ = help.print();
            ExitCode::from(u8::from(help.use_stderr()) * 2)
        }
        Err(Failure::Runtime(error)) => {
            complain(&format!("{error:#}"));
            ExitCode::from(1)
        }
    }
}

/// One line on stderr, whatever the message contains.
pub(crate) fn complain(message: &str) {
    put_line(&format!("sockeye: {message}"));
}

fn put_line(line: &str) {
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // In one write, which nothing of another thread can tear. Without a stderr there is nobody to tell.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
