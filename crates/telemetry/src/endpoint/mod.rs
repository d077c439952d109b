//! The HTTP endpoint: one thread that answers those who look after the daemon, and that no client can keep busy.
//!
//! Every connection carries one request. Its header has [`Limits::header`] to come, its answer [`Limits::write`] to be
//! taken; what lasts longer is cut off. There are at most [`Limits::connections`]: when all are in use, the oldest one
//! whose request has not come makes room, and without such a one the new one is refused at once.

mod answer;
mod connections;
mod listen;
mod routes;
mod serve;

pub use answer::Answer;
pub use listen::{Bound, Listen, ListenError};
pub use serve::{Endpoint, Limits, Traffic};

use crate::metrics::Format;

/// What the endpoint tells of. Asked on its thread: nothing here may wait.
pub trait Subject: Send + Sync + 'static {
    /// The text of `/metrics`.
    fn metrics(&self, format: Format) -> String;

    /// `/healthz`: whether polls go on; what it says stands in the answer either way.
    fn healthy(&self) -> (bool, String);

    /// `/readyz`: why not, one reason a line; ready without any.
    fn unready(&self) -> Vec<String>;

    /// `/debug/polls`, as JSON.
    fn polls(&self) -> String;

    /// The body of the page at `/`, as HTML.
    fn index(&self) -> String;
}
