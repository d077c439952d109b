//! What the source of closed sockets is told at start, and why it may not be had.

use std::io;
use std::time::Duration;

use sockeye_sys::netns::OpenError;

/// Settings of [`Closed`](super::Closed). All else is as of the polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Which namespaces are listened to.
    pub scope: Scope,
    /// Bytes of the kernel's buffer for events that are not read yet.
    pub buffer_bytes: usize,
    /// How long a row may wait for its envelope to become full.
    pub flush_every: Duration,
}

/// Which namespaces are listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All that are found; our own alone where a capability is missing.
    All,
    /// Our own alone.
    Own,
}

/// Why nothing can be listened to.
#[derive(Debug, thiserror::Error)]
pub enum ClosedError {
    /// The kernel does not tell of closed sockets, or not us: go on without.
    #[error("the kernel does not tell of closed sockets: {0}")]
    Listen(io::Error),
    /// Our own namespace can't be read: is `/proc` mounted?
    #[error("our own network namespace can't be read: {0}")]
    Home(OpenError),
    /// A limit of the process.
    #[error("cannot listen for closed sockets: {0}")]
    Start(io::Error),
}
