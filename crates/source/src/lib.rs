//! Where rows come from: the `sock_diag` readers. Later siblings: closed sockets, conntrack, flows.

#![forbid(unsafe_code)]

pub mod sockdiag;
