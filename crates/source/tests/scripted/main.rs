//! A dump with a scripted kernel at the other end of its socket.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "what is not there is to fail the test")]

mod outcomes;
mod random;
mod request;
mod script;
