//! The health of connections by namespace: the largest ones each for itself, all others together.

use std::collections::BTreeMap;
use std::sync::Arc;

use sockeye_source::sockdiag::{HealthOf, TcpHealth};

/// Health by namespace. States are those of the last poll; everything else adds up from poll to poll.
#[derive(Debug, Clone)]
pub(super) struct Health {
    most: usize,
    by_netns: BTreeMap<Arc<str>, Box<TcpHealth>>,
}

impl Health {
    /// At most so many namespaces have figures of their own.
    pub(super) fn new(most: usize) -> Self {
        Self { most, by_netns: BTreeMap::new() }
    }

    /// Takes what a poll has counted. A namespace that is no longer among the largest begins anew when it is again.
    pub(super) fn polled(&mut self, counted: HealthOf) {
        if counted.is_empty() && self.by_netns.is_empty() {
            return;
        }
        let mut now: BTreeMap<Arc<str>, Box<TcpHealth>> = BTreeMap::new();
        for (name, health) in counted {
            match now.get_mut(&name) {
                Some(sum) => sum.add(&health),
                None => drop(now.insert(name, health)),
            }
        }
        let mut order: Vec<(u64, Arc<str>)> =
            now.iter().map(|(name, health)| (health.sockets(), Arc::clone(name))).collect();
        order.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
        for (_, name) in order.into_iter().skip(self.most) {
            if let Some(health) = now.remove(&name) {
                now.entry(OTHER.into()).or_default().add(&health);
            }
        }
        // What the rest has seen so far stays, even while there is no rest.
        if self.by_netns.contains_key(OTHER) {
            now.entry(OTHER.into()).or_default();
        }
        let before = std::mem::take(&mut self.by_netns);
        for (name, mut health) in now {
            if let Some(before) = before.get(&name) {
                for (mine, theirs) in health.classes.iter_mut().zip(&before.classes) {
                    mine.add(theirs);
                }
            }
            self.by_netns.insert(name, health);
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &TcpHealth)> {
        self.by_netns.iter().map(|(name, health)| (&**name, &**health))
    }
}

/// The name of what is added up.
pub(super) const OTHER: &str = "other";

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(name: &str, sockets: u64, rtts: u64) -> (Arc<str>, Box<TcpHealth>) {
        let mut health = TcpHealth::default();
        health.states[1] = sockets;
        health.classes[0].rtt_us.counts[0] = rtts;
        (name.into(), Box::new(health))
    }

    fn shown(health: &Health) -> Vec<(&str, u64, u64)> {
        let figures = |(name, health): (_, &TcpHealth)| {
            (name, health.states[1], health.classes[0].rtt_us.counts[0])
        };
        health.all().map(figures).collect::<Vec<(&str, u64, u64)>>()
    }

    #[test]
    fn the_largest_have_figures_of_their_own_and_the_others_are_added_up() {
        let mut health = Health::new(2);
        health.polled(vec![
            counted("a", 5, 1),
            counted("b", 9, 2),
            counted("c", 2, 4),
            counted("d", 3, 8),
        ]);
        assert_eq!(shown(&health), [("a", 5, 1), ("b", 9, 2), ("other", 5, 12)]);
        // Parts of one namespace; b has gone, d is large now and begins anew.
        health.polled(vec![counted("a", 1, 1), counted("a", 3, 1), counted("d", 9, 8)]);
        assert_eq!(shown(&health), [("a", 4, 3), ("d", 9, 8), ("other", 0, 12)]);
    }

    #[test]
    fn a_namespace_that_is_called_other_is_shown_once() {
        let mut health = Health::new(1);
        health.polled(vec![counted("other", 5, 1), counted("b", 4, 1)]);
        assert_eq!(shown(&health), [("other", 9, 2)]);
    }
}
