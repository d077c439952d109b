//! What the daemon says about itself: logs, metrics, an HTTP endpoint, profiles. It knows neither sources nor sinks.

#![forbid(unsafe_code)]

pub mod endpoint;
pub mod logging;
pub mod metrics;
pub mod process;
pub mod profiles;
pub mod threads;

/// What allocates memory where profiles of it are wanted.
#[cfg(feature = "jemalloc")]
pub use tikv_jemallocator::Jemalloc;
