//! Keys of the connections whose end the kernel has told of since they were last taken. What some of them have left behind, a
//! mini-socket, is looked up by its key, where nobody has seen the connection while it lived.

use std::sync::Arc;

use sockeye_wire::SocketKey;

use super::budget::Budget;

/// Of one namespace.
#[derive(Debug)]
pub(crate) struct Ends {
    keys: Vec<SocketKey>,
    wanted: bool,
    /// Bytes that the budget knows of.
    charged: usize,
    budget: Arc<Budget>,
}

impl Ends {
    /// Nobody wants any yet.
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self { keys: Vec::new(), wanted: false, charged: 0, budget }
    }

    /// Whether keys are kept from now on.
    pub(crate) fn want(&mut self, wanted: bool) {
        self.wanted = wanted;
        if !wanted {
            self.take();
        }
    }

    /// A connection has ended. Its key is not kept if there are many, or no room: whoever counts then finds fewer
    /// mini-sockets than there are.
    pub(crate) fn add(&mut self, key: SocketKey) {
        if !self.wanted || self.keys.len() >= MOST {
            return;
        }
        let capacity = self.keys.capacity();
        if self.keys.len() == capacity {
            let more = capacity.clamp(LEAST, MOST);
            let bytes = more * size_of::<SocketKey>();
            if !self.budget.take_for_ends(bytes) {
                return;
            }
            self.charged += bytes;
            self.keys.reserve_exact(more);
        }
        self.keys.push(key);
    }

    /// What was kept, oldest first.
    pub(crate) fn take(&mut self) -> Vec<SocketKey> {
        self.budget.give_back_of_ends(std::mem::take(&mut self.charged));
        std::mem::take(&mut self.keys)
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.take();
    }
}

/// To look up each of more takes longer than most walks.
const MOST: usize = 2048;
const LEAST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(bytes: usize) -> Ends {
        let mut ends = Ends::new(Arc::new(Budget::new(bytes)));
        ends.want(true);
        ends
    }

    fn add(ends: &mut Ends, count: usize) {
        (0..count).for_each(|_| ends.add(SocketKey::of(&[7; 72]).unwrap()));
    }

    #[test]
    fn keys_are_kept_until_they_are_taken_and_while_they_are_wanted() {
        let mut ends = ends(usize::MAX);
        add(&mut ends, 3);
        assert_eq!(ends.budget.taken(), 8 * size_of::<SocketKey>());
        assert_eq!((ends.take().len(), ends.take().len(), ends.budget.taken()), (3, 0, 0));
        add(&mut ends, 3);
        ends.want(false);
        assert_eq!((ends.keys.len(), ends.budget.taken()), (0, 0));
        add(&mut ends, 3);
        assert_eq!(ends.keys.len(), 0);
    }

    #[test]
    fn no_more_are_kept_than_may_be_looked_up_and_than_there_is_room_for() {
        let mut all = ends(usize::MAX);
        add(&mut all, 5000);
        assert_eq!((all.keys.len(), all.keys.capacity()), (2048, 2048));
        assert_eq!(all.budget.taken(), 2048 * size_of::<SocketKey>());
        let mut few = ends(16 * 30 * size_of::<SocketKey>());
        add(&mut few, 50);
        assert_eq!(few.keys.len(), 16);
        let budget = Arc::clone(&few.budget);
        drop(few);
        assert_eq!(budget.taken(), 0);
    }
}
