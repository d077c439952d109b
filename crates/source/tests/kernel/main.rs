//! The source against the real kernel, through its contract: polls, a queue, and what is decoded from it. As root.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "what is not there is to fail the test")]

mod closed;
mod closed_deltas;
mod ear;
mod ends;
mod eye;
mod labels;
mod leaving;
mod parts;
mod plans;
mod ring;
mod sampling;
mod sharing;
mod sinks;
mod threads;
mod unprivileged;
