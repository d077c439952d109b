//! Logging now; metrics, HTTP and profiles later.
