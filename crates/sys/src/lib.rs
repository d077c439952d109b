//! System calls: enter a network namespace, open a diag socket, read clocks and limits. The only unsafe code.

#![allow(unsafe_code, reason = "this is the crate that may")]

pub mod clock;
pub mod diag_socket;
pub mod limits;
pub mod netns;

pub use diag_socket::{DiagSocket, Received};
