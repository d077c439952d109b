//! Which namespace an id stands for, and whether that is certain.
//!
//! The kernel gives the id of a namespace that is gone to the next one at once. News of ids and events come through
//! two sockets, so what is known is this: events of a namespace come before the news of its end, and the news of a new
//! owner before the new owner's events. Whoever reads a batch of events and then all news knows for every id in it
//! either one namespace, or that it may be one of two. After the next time that no event was left, it is the new one.

use std::collections::BTreeMap;
use std::sync::Arc;

use sockeye_netns::NetnsId;

use super::label::Label;
use crate::track::Tracked;

/// Namespaces by id. `None` is our own, of which events have no id.
#[derive(Debug, Default)]
pub(super) struct Ids {
    owners: BTreeMap<Option<u32>, Owner>,
    /// Number of the batch that was begun last.
    batch: u64,
}

#[derive(Debug, Default)]
struct Owner {
    label: Option<Arc<Label>>,
    /// News of the end of the owner, or of one before, came when this batch had begun.
    ended: Option<u64>,
    /// Events that are not read yet may be of an owner before this one.
    doubtful: bool,
}

/// What the kernel says of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It was given to a namespace.
    Given(u32),
    /// Its namespace is gone.
    Ended(u32),
    /// Nobody knows what else was said.
    Lost,
}

impl Ids {
    /// The namespace that has the id: its file descriptor was held when it was asked for, and is held still, and all
    /// news were read since.
    pub(super) fn bind(&mut self, label: Arc<Label>) {
        let owner = self.owners.entry(label.nsid).or_default();
        let other = owner.label.as_ref().is_some_and(|before| before.id != label.id);
        if other {
            owner.let_go();
            // The news of its end may be lost.
            owner.ended = owner.ended.or(Some(self.batch));
        }
        owner.doubtful |= owner.ended.is_some();
        label.listen();
        owner.label = Some(label);
    }

    /// The namespace of an id, if it is known for certain.
    pub(super) fn owner(&self, nsid: Option<u32>) -> Option<&Arc<Label>> {
        let owner = self.owners.get(&nsid).filter(|owner| !owner.doubtful)?;
        owner.label.as_ref()
    }

    /// Whether the namespace has an id here, and this table.
    pub(super) fn is_bound(&self, id: NetnsId, table: Option<&Arc<Tracked>>) -> bool {
        self.owners.values().any(|owner| owner.is(id, table))
    }

    /// Whether it has this id, and this table.
    pub(super) fn is_bound_to(
        &self,
        nsid: Option<u32>,
        id: NetnsId,
        table: Option<&Arc<Tracked>>,
    ) -> bool {
        self.owners.get(&nsid).is_some_and(|owner| owner.is(id, table))
    }

    /// A batch of events is about to be read.
    pub(super) fn batch_begins(&mut self) {
        self.batch += 1;
    }

    /// Takes a piece of news.
    pub(super) fn hear(&mut self, news: News) {
        match news {
            News::Ended(nsid) => {
                let owner = self.owners.entry(Some(nsid)).or_default();
                owner.ended = Some(self.batch);
                if owner.doubtful {
                    owner.let_go();
                }
            }
            News::Given(nsid) => {
                let Some(owner) = self.owners.get_mut(&Some(nsid)) else { return };
                if owner.ended.is_some() {
                    owner.doubtful = true;
                    owner.let_go();
                }
            }
            News::Lost => {
                for (_, owner) in self.owners.iter_mut().filter(|(nsid, _)| nsid.is_some()) {
                    owner.ended = Some(self.batch);
                    owner.doubtful = true;
                    owner.let_go();
                }
            }
        }
    }

    /// The last batch left no event behind: what was said before it has come to its end.
    pub(super) fn nothing_left(&mut self) {
        let batch = self.batch;
        self.owners.retain(|_, owner| match owner.ended {
            Some(ended) if ended < batch => {
                // Who is bound behind doubt is the new owner; who is without doubt has ended.
                if !std::mem::take(&mut owner.doubtful) {
                    // All that was told of it was read: what its table has left went without an event.
                    owner.label = None;
                }
                owner.ended = None;
                owner.label.is_some()
            }
            _ => true,
        });
    }
}

impl Owner {
    fn is(&self, id: NetnsId, table: Option<&Arc<Tracked>>) -> bool {
        let label = self.label.as_ref().filter(|label| label.id == id);
        label.is_some_and(|label| label.table.as_ref().map(Arc::as_ptr) == table.map(Arc::as_ptr))
    }

    fn let_go(&mut self) {
        if let Some(label) = self.label.take() {
            label.unlisten();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::{Track, TrackSettings};

    fn label(inode: u64, nsid: u32) -> Arc<Label> {
        Arc::new(Label::bare(NetnsId { device: 4, inode }, Some(nsid)))
    }

    fn inode(ids: &Ids, nsid: u32) -> Option<u64> {
        ids.owner(Some(nsid)).map(|label| label.id.inode)
    }

    #[test]
    fn the_last_events_of_a_namespace_are_its_own() {
        let mut ids = Ids::default();
        ids.bind(label(10, 3));
        ids.batch_begins();
        ids.hear(News::Ended(3));
        assert_eq!(inode(&ids, 3), Some(10), "all that was read is before the news");
        ids.nothing_left();
        assert_eq!(inode(&ids, 3), Some(10), "what was left came before the news");
        ids.batch_begins();
        assert_eq!(inode(&ids, 3), Some(10));
        ids.nothing_left();
        assert_eq!(inode(&ids, 3), None);
        assert!(ids.owners.is_empty());
    }

    #[test]
    fn an_id_that_was_given_again_is_nobodys_until_no_event_is_left() {
        let mut ids = Ids::default();
        ids.bind(label(10, 3));
        ids.batch_begins();
        ids.hear(News::Ended(3));
        ids.hear(News::Given(3));
        assert_eq!(inode(&ids, 3), None, "it may be of either");
        ids.bind(label(11, 3));
        assert_eq!(inode(&ids, 3), None);
        ids.nothing_left();
        assert_eq!(inode(&ids, 3), None, "that batch was read before the news");
        ids.batch_begins();
        assert_eq!(inode(&ids, 3), None, "this one may begin with the old one's");
        ids.nothing_left();
        assert_eq!(inode(&ids, 3), Some(11));
    }

    #[test]
    fn one_that_is_bound_late_is_certain_when_no_event_was_left_before() {
        let mut ids = Ids::default();
        ids.bind(label(10, 3));
        ids.hear(News::Ended(3));
        ids.hear(News::Given(3));
        ids.batch_begins();
        ids.nothing_left();
        ids.bind(label(11, 3));
        assert_eq!(inode(&ids, 3), Some(11));
    }

    #[test]
    fn one_that_is_bound_for_the_first_time_is_certain_at_once() {
        let mut ids = Ids::default();
        ids.hear(News::Given(3));
        ids.bind(label(10, 3));
        assert_eq!((inode(&ids, 3), inode(&ids, 4)), (Some(10), None));
        ids.bind(label(10, 3));
        assert_eq!(inode(&ids, 3), Some(10), "again");
    }

    #[test]
    fn another_owner_without_news_is_doubtful() {
        let mut ids = Ids::default();
        ids.bind(label(10, 3));
        ids.batch_begins();
        ids.bind(label(11, 3));
        assert_eq!(inode(&ids, 3), None);
        ids.batch_begins();
        ids.nothing_left();
        assert_eq!(inode(&ids, 3), Some(11));
    }

    #[test]
    fn a_second_end_before_the_first_one_is_over_makes_nobody_the_owner() {
        let mut ids = Ids::default();
        ids.bind(label(10, 3));
        ids.hear(News::Ended(3));
        ids.hear(News::Given(3));
        ids.bind(label(11, 3));
        ids.batch_begins();
        ids.hear(News::Ended(3));
        ids.hear(News::Given(3));
        ids.batch_begins();
        ids.nothing_left();
        assert_eq!(inode(&ids, 3), None);
        ids.bind(label(12, 3));
        assert_eq!(inode(&ids, 3), Some(12));
    }

    #[test]
    fn one_that_ends_while_it_is_doubtful_is_let_go_of() {
        let mut ids = Ids::default();
        ids.bind(label(10, 3));
        ids.hear(News::Ended(3));
        ids.hear(News::Given(3));
        ids.bind(label(11, 3));
        ids.batch_begins();
        ids.hear(News::Ended(3));
        ids.batch_begins();
        ids.nothing_left();
        assert_eq!(inode(&ids, 3), None, "the end was told of: no event can be of it");
    }

    #[test]
    fn lost_news_make_all_but_our_own_unknown() {
        let mut ids = Ids::default();
        ids.bind(label(10, 3));
        ids.bind(Arc::new(Label::bare(NetnsId { device: 4, inode: 1 }, None)));
        ids.hear(News::Lost);
        assert_eq!((inode(&ids, 3), ids.owner(None).is_some()), (None, true));
        ids.bind(label(10, 3));
        assert_eq!(inode(&ids, 3), None);
        ids.batch_begins();
        ids.nothing_left();
        assert_eq!(inode(&ids, 3), Some(10));
    }

    #[test]
    fn our_own_is_bound_to_none_and_to_the_id_that_it_has_for_itself() {
        let (mut ids, home) = (Ids::default(), NetnsId { device: 4, inode: 1 });
        ids.bind(Arc::new(Label::bare(home, None)));
        let bound = |ids: &Ids| [None, Some(3)].map(|nsid| ids.is_bound_to(nsid, home, None));
        assert_eq!(bound(&ids), [true, false]);
        ids.bind(label(1, 3));
        assert_eq!(bound(&ids), [true, true]);
        ids.hear(News::Lost);
        assert_eq!(bound(&ids), [true, false]);
        assert!(ids.is_bound(home, None));
    }

    /// What is counted as gone with its namespace when that has ended after this news, of two sockets of which so many
    /// were told of.
    fn gone_without_event(told: u64, news: News) -> u64 {
        let (id, track) = (NetnsId { device: 4, inode: 10 }, tracking());
        let table = track.table(id);
        table.see(&[5, 6]);
        let mut ids = Ids::default();
        let bare = Label::bare(id, Some(3));
        ids.bind(Arc::new(Label { table: Some(Arc::clone(&table)), ..bare }));
        ids.batch_begins();
        ids.hear(news);
        (5..5 + told).for_each(|cookie| table.lock().ended(cookie));
        ids.batch_begins();
        ids.nothing_left();
        drop((ids, table));
        track.gone(id);
        assert_eq!(track.totals().entries, 0);
        track.totals().netns_gone
    }

    fn tracking() -> Track {
        Track::new(TrackSettings { bytes: 1 << 20, deltas: true })
    }

    #[test]
    fn what_is_left_at_the_certain_end_of_a_namespace_went_with_it() {
        let ended = [0, 1, 2].map(|told| gone_without_event(told, News::Ended(3)));
        assert_eq!(ended, [2, 1, 0]);
        assert_eq!(gone_without_event(0, News::Lost), 0, "nobody knows");
    }
}
