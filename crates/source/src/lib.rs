//! Where rows come from: polls of `sock_diag`, and its events of closed sockets. Later siblings: conntrack, flows.

#![forbid(unsafe_code)]

pub mod closed;
pub mod sockdiag;
pub mod track;

/// Stack of a thread: what is not optimised needs more.
pub(crate) const STACK_BYTES: usize = if cfg!(debug_assertions) { 1 << 20 } else { 256 * 1024 };
