//! Which network namespaces exist: /proc scan, bind mounts, inotify, identity and labels.
//!
//! A [`Scanner`] derives the whole set anew before each poll, and [`reconcile`] compares it with what is known.
//! A [`Watcher`] tells when to look earlier. A reader opens a namespace with [`Netns::open`] right before it dumps and
//! drops the descriptor at once: nothing in this crate keeps a namespace alive after a call returns.
//!
//! Refused: a namespace that only a thread other than the group leader is in (a `setns` of one thread) is not searched
//! for, as that would multiply the cost of the scan by the number of threads.

#![forbid(unsafe_code)]

mod census;
mod container;
#[cfg(test)]
mod fake;
mod label;
mod netns;
mod open;
mod process;
mod reconcile;
mod remembered;
mod scan;
mod sockstat;
mod watch;

pub use census::Census;
pub use container::{Container, Runtime};
pub use label::DEFAULT_NAME;
pub use netns::{Netns, Origin};
pub use open::{OpenFailure, Opened};
pub use reconcile::{Changes, reconcile};
pub use scan::{DEFAULT_MOUNT_DIRS, Scan, ScanOptions, ScanStats, Scanner};
pub use sockeye_sys::netns::{NetnsFd, NetnsId};
pub use sockstat::{SockStat, SockStatError, sockstat_of};
pub use watch::{WatchError, Watcher};
