//! Where rows come from: polls of `sock_diag`, and its events of closed sockets. Later siblings: conntrack, flows.

#![forbid(unsafe_code)]

pub mod closed;
pub mod sockdiag;
pub mod track;
