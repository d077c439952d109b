//! System calls: enter a network namespace, open a diag socket, hear of closed sockets, serve many through a ring, pin
//! threads, read clocks and limits, give up privileges and memory; and instructions that only some processors have. The only
//! unsafe code.

#![allow(unsafe_code, reason = "this is the crate that may")]

pub mod affinity;
pub mod avx512;
pub mod capabilities;
pub mod clock;
pub mod code;
mod datagram;
pub mod diag_socket;
pub mod event_socket;
pub mod landlock;
pub mod limits;
pub mod netns;
pub mod ring;
mod ring_memory;
mod ring_setup;
mod ring_slots;
pub mod route_socket;
pub mod seccomp;
mod task_dir;

pub use affinity::CpuList;
pub use diag_socket::{DiagSocket, Received};
pub use event_socket::{Event, EventBatch, EventSocket};
pub use ring::{Completion, Ring, RingFull};
pub use ring_setup::RingError;
pub use route_socket::RouteSocket;
pub use task_dir::with_task_dir;
