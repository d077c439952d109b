//! Entries by cookie: a slab that grows by chunks, and an index of slot numbers with open addressing.

use std::sync::Arc;

use super::budget::Budget;
use super::entry::Entry;

/// Entries of one namespace. What it takes is taken from a budget first.
#[derive(Debug)]
#[expect(
    clippy::vec_box,
    reason = "a vector of arrays would be moved to grow, and need twice the memory meanwhile"
)]
pub(super) struct Slab {
    chunks: Vec<Box<[Entry; CHUNK]>>,
    /// 0, or 8 bits of the cookie's hash above a slot number that begins at 1.
    index: Vec<u32>,
    /// Free slots: each has the number of the next in place of its cookie.
    free: Option<u32>,
    live: usize,
    charged: usize,
    budget: Arc<Budget>,
}

impl Slab {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self { chunks: Vec::new(), index: Vec::new(), free: None, live: 0, charged: 0, budget }
    }

    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// Slots, taken or not.
    pub(super) fn slots(&self) -> u32 {
        u32::try_from(self.chunks.len() * CHUNK).unwrap_or(u32::MAX)
    }

    /// The slot of a cookie.
    #[inline]
    pub(super) fn find(&self, cookie: u64) -> Option<u32> {
        self.position(cookie).map(|(_, slot)| slot)
    }

    #[inline]
    pub(super) fn get(&self, slot: u32) -> Option<&Entry> {
        let slot = slot as usize;
        self.chunks.get(slot / CHUNK)?.get(slot % CHUNK).filter(|entry| !entry.is_free())
    }

    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.raw_mut(slot).filter(|entry| !entry.is_free())
    }

    /// Puts an entry whose cookie it has not got; `None` when there is no room.
    pub(super) fn insert(&mut self, entry: Entry) -> Option<u32> {
        if (self.live + 1) * 8 > self.index.len() * 7 {
            self.grow_index()?;
        }
        let slot = match self.free {
            Some(slot) => slot,
            None => self.grow()?,
        };
        let place = self.raw_mut(slot)?;
        let next = next_free(place);
        *place = entry;
        self.free = next;
        self.live += 1;
        self.place(entry.cookie(), slot);
        Some(slot)
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, cookie: u64) -> Option<Entry> {
        let (position, slot) = self.position(cookie)?;
        let next = self.free;
        let place = self.raw_mut(slot)?;
        let entry = std::mem::replace(place, free_entry(next));
        self.free = Some(slot);
        self.live -= 1;
        self.close_gap(position);
        Some(entry)
    }

    /// Whether most of its memory is of sockets that have gone.
    pub(super) fn is_wasteful(&self) -> bool {
        let slots = self.chunks.len() * CHUNK;
        slots >= LEAST_TO_SHRINK && self.live < slots / 4
    }

    /// Moves what there is to memory of its size; stays as it is when there is no room for both meanwhile.
    pub(super) fn shrink(&mut self) {
        let mut smaller = Self::new(Arc::clone(&self.budget));
        let live =
            self.chunks.iter().flat_map(|chunk| chunk.iter()).filter(|entry| !entry.is_free());
        for entry in live {
            if smaller.insert(*entry).is_none() {
                return;
            }
        }
        *self = smaller;
    }

    #[inline]
    fn position(&self, cookie: u64) -> Option<(usize, u32)> {
        let mask = self.index.len().checked_sub(1)?;
        let (mut position, tag) = self.home(cookie);
        loop {
            let word = *self.index.get(position)?;
            if word == 0 {
                return None;
            }
            let slot = slot_of(word);
            if word & TAG == tag && self.get(slot).is_some_and(|entry| entry.cookie() == cookie) {
                return Some((position, slot));
            }
            position = (position + 1) & mask;
        }
    }

    /// Where a cookie's search begins, and its tag.
    #[inline]
    fn home(&self, cookie: u64) -> (usize, u32) {
        let hash = cookie.wrapping_mul(FIBONACCI);
        let hash = hash ^ hash >> 32;
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
        let (position, tag) =
            (hash as usize & self.index.len().wrapping_sub(1), (hash >> 32) as u32);
        (position, tag & TAG)
    }

    fn place(&mut self, cookie: u64, slot: u32) {
        let mask = self.index.len().wrapping_sub(1);
        let (mut position, tag) = self.home(cookie);
        // An eighth of the index is free.
        while let Some(word) = self.index.get_mut(position) {
            if *word == 0 {
                *word = tag | (slot + 1);
                return;
            }
            position = (position + 1) & mask;
        }
    }

    /// Moves back what would not be found behind an empty place.
    fn close_gap(&mut self, mut gap: usize) {
        let mask = self.index.len().wrapping_sub(1);
        let mut position = gap;
        loop {
            position = (position + 1) & mask;
            let word = self.index.get(position).copied().unwrap_or(0);
            if word == 0 {
                break;
            }
            let Some(entry) = self.get(slot_of(word)) else { break };
            let (home, _) = self.home(entry.cookie());
            // It may move if its search passes the gap.
            if position.wrapping_sub(home) & mask >= position.wrapping_sub(gap) & mask {
                self.set_index(gap, word);
                gap = position;
            }
        }
        self.set_index(gap, 0);
    }

    fn set_index(&mut self, position: usize, word: u32) {
        if let Some(place) = self.index.get_mut(position) {
            *place = word;
        }
    }

    fn grow_index(&mut self) -> Option<()> {
        let len = (self.index.len() * 2).max(LEAST_INDEX);
        self.charge(len * size_of::<u32>())?;
        let before = std::mem::replace(&mut self.index, vec![0; len]);
        for slot in 0..self.slots() {
            if let Some(cookie) = self.get(slot).map(Entry::cookie) {
                self.place(cookie, slot);
            }
        }
        self.discharge(before.len() * size_of::<u32>());
        Some(())
    }

    /// One chunk more; its first slot.
    fn grow(&mut self) -> Option<u32> {
        let first = self.slots();
        let end = first + u32::try_from(CHUNK).ok()?;
        if end >= MOST_SLOTS {
            return None;
        }
        let capacity = self.chunks.capacity();
        if self.chunks.len() == capacity {
            let more = capacity / 4 + 4;
            self.charge(more * size_of::<Box<[Entry; CHUNK]>>())?;
            self.chunks.reserve_exact(more);
        }
        self.charge(CHUNK_BYTES)?;
        self.chunks.push(Box::new([Entry::FREE; CHUNK]));
        for slot in (first..end).rev() {
            let next = self.free;
            if let Some(entry) = self.raw_mut(slot) {
                *entry = free_entry(next);
            }
            self.free = Some(slot);
        }
        Some(first)
    }

    fn raw_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        let slot = slot as usize;
        self.chunks.get_mut(slot / CHUNK)?.get_mut(slot % CHUNK)
    }

    fn charge(&mut self, bytes: usize) -> Option<()> {
        self.budget.take(bytes).then(|| self.charged += bytes)
    }

    fn discharge(&mut self, bytes: usize) {
        self.charged -= bytes;
        self.budget.give_back(bytes);
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        self.budget.give_back(self.charged);
    }
}

#[inline]
fn slot_of(word: u32) -> u32 {
    (word & !TAG).wrapping_sub(1)
}

fn free_entry(next: Option<u32>) -> Entry {
    Entry::free(next.map_or(0, |slot| u64::from(slot) + 1))
}

fn next_free(entry: &Entry) -> Option<u32> {
    u32::try_from(entry.cookie().checked_sub(1)?).ok()
}

/// So many that a pointer to them weighs little, and so few that a namespace with three sockets takes little.
const CHUNK: usize = 32;
/// With what an allocator adds.
const CHUNK_BYTES: usize = size_of::<[Entry; CHUNK]>() + 16;
const LEAST_INDEX: usize = 16;
const TAG: u32 = 0xff00_0000;
const MOST_SLOTS: u32 = 0x00ff_fffe;
const LEAST_TO_SHRINK: usize = 1024;
const FIBONACCI: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn slab(bytes: usize) -> Slab {
        Slab::new(Arc::new(Budget::new(bytes)))
    }

    fn entry(cookie: u64, dump: u16) -> Entry {
        Entry::new(cookie, 0, dump)
    }

    fn fill(slab: &mut Slab, sockets: u64) {
        assert!((1..=sockets).all(|cookie| slab.insert(entry(cookie, 0)).is_some()));
    }

    proptest! {
        #[test]
        fn it_does_what_a_map_does(steps in proptest::collection::vec((any::<bool>(), 0u64..400, any::<u16>()), 0..3000)) {
            let (mut slab, mut map) = (slab(usize::MAX), HashMap::new());
            for (insert, cookie, dump) in steps {
                // Cookies count up from 1 and, some of them, down from 2^64.
                let cookie = if cookie % 3 == 0 { u64::MAX - cookie } else { cookie };
                match (insert, slab.find(cookie)) {
                    (true, None) => {
                        slab.insert(entry(cookie, dump)).unwrap();
                        prop_assert_eq!(map.insert(cookie, dump), None);
                    }
                    (true, Some(slot)) => {
                        slab.get_mut(slot).unwrap().set_last_seen(dump);
                        prop_assert!(map.insert(cookie, dump).is_some());
                    }
                    (false, _) => {
                        let removed = slab.remove(cookie).map(|entry| entry.last_seen());
                        prop_assert_eq!(removed, map.remove(&cookie));
                    }
                }
                prop_assert_eq!(slab.len(), map.len());
            }
            for cookie in (0..400).flat_map(|cookie| [cookie, u64::MAX - cookie]) {
                let found = slab.find(cookie).and_then(|slot| slab.get(slot));
                prop_assert_eq!(found.map(Entry::last_seen), map.get(&cookie).copied());
            }
            slab.shrink();
            for (cookie, dump) in &map {
                let found = slab.find(*cookie).and_then(|slot| slab.get(slot));
                prop_assert_eq!(found.map(Entry::last_seen), Some(*dump));
            }
        }
    }

    #[test]
    fn a_socket_takes_less_than_96_bytes() {
        for sockets in [10_000u32, 30_000, 100_000] {
            let mut slab = slab(usize::MAX);
            fill(&mut slab, sockets.into());
            let each = slab.budget.taken() / sockets as usize;
            println!("{each} bytes for each of {sockets}");
            assert!(slab.budget.taken() <= 96 * sockets as usize, "{each} at {sockets}");
        }
    }

    #[test]
    fn memory_is_bounded_and_comes_back() {
        let budget = Arc::new(Budget::new(100_000));
        let mut slab = Slab::new(Arc::clone(&budget));
        let room = (1..2000).find(|cookie| slab.insert(entry(*cookie, 0)).is_none()).unwrap() - 1;
        assert!((900..1100).contains(&room), "{room}");
        assert!(budget.taken() <= 100_000);
        slab.remove(5).unwrap();
        assert!(
            slab.insert(entry(u64::MAX, 0)).is_some(),
            "a slot that is free again is no growth"
        );
        drop(slab);
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn what_a_burst_took_is_given_back() {
        let mut slab = slab(usize::MAX);
        fill(&mut slab, 10_000);
        let most = slab.budget.taken();
        assert!((101..=10_000).all(|cookie| slab.remove(cookie).is_some()));
        assert!(slab.is_wasteful());
        slab.shrink();
        assert!(slab.budget.taken() < most / 50 && slab.len() == 100 && !slab.is_wasteful());
    }
}
