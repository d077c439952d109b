//! What Sockeye says about itself: logging now; metrics, HTTP and profiles later.

#![forbid(unsafe_code)]

pub mod logging;
