//! Development only: what the benchmarks of rows, the instruction counts and the drain have in common.
//!
//! * Over what: [`recorded`], messages that a kernel sent.
//! * What is done with them: [`work`], one case for each thing that has a cost.
//! * The dump that all are held against: [`request`], and [`parts`] where several readers share it.

#![forbid(unsafe_code)]

pub mod parts;
pub mod recorded;
pub mod request;
pub mod work;
