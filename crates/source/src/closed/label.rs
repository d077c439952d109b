//! What rows of one namespace say of it, and what it takes to make them. It holds nothing of the kernel's.

use std::sync::Arc;

use sockeye_filter::Resolved;
use sockeye_netns::{Container, NetnsId};
use sockeye_record::{CLOSED, DumpContext};

use crate::sockdiag::{Host, NamedNetns};
use crate::track::Tracked;

/// A namespace whose closed sockets are told of.
#[derive(Debug)]
pub(super) struct Label {
    pub(super) id: NetnsId,
    pub(super) name: Arc<str>,
    pub(super) container: Option<Container>,
    /// Its id as seen from our own namespace; `None`: it is that one.
    pub(super) nsid: Option<u32>,
    /// What of it is wanted.
    pub(super) filter: Option<Arc<Resolved>>,
    /// What polls know of its sockets.
    pub(super) table: Option<Arc<Tracked>>,
}

impl Label {
    /// The kernel tells of its sockets from now on.
    pub(super) fn listen(&self) {
        if let Some(table) = &self.table {
            table.listen(self.nsid);
        }
    }

    /// Or does so no more.
    pub(super) fn unlisten(&self) {
        if let Some(table) = &self.table {
            table.unlisten();
        }
    }

    /// What is the same for all rows of one batch.
    pub(super) fn context<'a>(&'a self, host: &'a Host, now: (i64, i64)) -> DumpContext<'a> {
        let (name, container) = (&*self.name, self.container.as_ref());
        host.context(NamedNetns { id: self.id, name, container, nsid: self.nsid }, now, CLOSED)
    }

    #[cfg(test)]
    pub(super) fn bare(id: NetnsId, nsid: Option<u32>) -> Self {
        Self { id, name: "bare".into(), container: None, nsid, filter: None, table: None }
    }
}
