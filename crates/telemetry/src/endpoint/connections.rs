//! Connections that are open: how many there may be, and which of them makes room for another.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

/// The connections that are open. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    open: Arc<Mutex<BTreeMap<u64, Open>>>,
    most: usize,
    /// One whose request has not come for so long may be closed for another.
    patience: Duration,
}

/// A place among them; given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    connections: Connections,
    number: u64,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    /// The header of its request has come.
    asked: bool,
    task: Option<AbortHandle>,
}

impl Connections {
    pub(super) fn new(most: usize, patience: Duration) -> Self {
        Self { open: Arc::default(), most, patience }
    }

    /// A place for the connection with this number; numbers ascend. `None` when all are in use.
    pub(super) fn enter(&self, number: u64, now: Instant) -> Option<Slot> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= self.most {
            let stale =
                |open: &Open| !open.asked && now.duration_since(open.since) >= self.patience;
            let stale = open.iter().find(|(_, open)| stale(open)).map(|(number, _)| *number)?;
            if let Some(task) = open.remove(&stale).and_then(|open| open.task) {
                task.abort();
            }
        }
        open.insert(number, Open { since: now, asked: false, task: None });
        Some(Slot { connections: self.clone(), number })
    }

    /// How to end a connection, once that is known.
    pub(super) fn serves(&self, number: u64, task: AbortHandle) {
        self.change(number, |open| open.task = Some(task));
    }

    fn change(&self, number: u64, change: impl FnOnce(&mut Open)) {
        // It may have ended already.
        if let Some(open) =
            self.open.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&number)
        {
            change(open);
        }
    }
}

impl Slot {
    /// The header of its request has come: it is answered whoever comes.
    pub(super) fn asked(&self) {
        self.connections.change(self.number, |open| open.asked = true);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_has_not_asked_makes_room_and_never_one_that_has() {
        let connections = Connections::new(2, Duration::from_secs(1));
        let began = Instant::now();
        let first = connections.enter(1, began).unwrap();
        let second = connections.enter(2, began).unwrap();
        assert!(connections.enter(3, began).is_none(), "nobody is late");
        first.asked();
        let later = began + Duration::from_secs(1);
        let third = connections.enter(3, later).unwrap();
        assert!(connections.open.lock().unwrap().keys().eq(&[1, 3]));
        // Its task has been aborted; that it leaves changes nothing.
        drop(second);
        third.asked();
        assert!(connections.enter(4, later + Duration::from_secs(9)).is_none());
        drop(first);
        assert_eq!(connections.open.lock().unwrap().len(), 1);
    }
}
