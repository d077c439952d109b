//! What many sockets have in common: congestion control, cgroup, owner and mark, kept once and counted.

use std::collections::HashMap;

use sockeye_wire::InetDiag;

/// Congestion control, cgroup, owner and mark of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    cong: [u8; CONG_BYTES],
    cong_len: u8,
    pub(crate) cgroup_id: Option<u64>,
    pub(crate) uid: u32,
    pub(crate) mark: Option<u32>,
}

/// Kinds by number. Number 0 is no kind.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    slots: Vec<(Kind, u32)>,
    numbers: HashMap<Kind, u16>,
    free: Vec<u16>,
    last: u16,
}

impl Kind {
    #[inline]
    pub(crate) fn of(diag: &InetDiag<'_>) -> Self {
        let name = diag.cong().unwrap_or_default();
        let mut cong = [0; CONG_BYTES];
        // The kernel's names are shorter (`TCP_CA_NAME_MAX`); one that is not is none.
        let cong_len = match cong.get_mut(..name.len()) {
            Some(room) => {
                room.copy_from_slice(name);
                u8::try_from(name.len()).unwrap_or(0)
            }
            None => 0,
        };
        Self { cong, cong_len, cgroup_id: diag.cgroup_id(), uid: diag.uid(), mark: diag.mark() }
    }

    pub(crate) fn cong(&self) -> Option<&[u8]> {
        self.cong.get(..usize::from(self.cong_len)).filter(|name| !name.is_empty())
    }
}

impl Kinds {
    pub(super) fn get(&self, number: u16) -> Option<&Kind> {
        self.slots.get(usize::from(number).checked_sub(1)?).map(|(kind, _)| kind)
    }

    /// The number of a kind for one socket more, which had the number `before`. 0 when there are too many kinds.
    #[inline]
    pub(super) fn change(&mut self, before: u16, kind: &Kind) -> u16 {
        if self.get(before) == Some(kind) {
            return before;
        }
        self.release(before);
        // Sockets that follow each other are often alike.
        let number = if self.get(self.last) == Some(kind) { self.last } else { self.find(kind) };
        if let Some((_, sockets)) = self.slot(number) {
            *sockets += 1;
        }
        self.last = number;
        number
    }

    /// One socket less.
    pub(super) fn release(&mut self, number: u16) {
        let Some((kind, sockets)) = self.slot(number) else { return };
        *sockets -= 1;
        if *sockets == 0 {
            let kind = *kind;
            self.numbers.remove(&kind);
            self.free.push(number);
            if self.last == number {
                self.last = 0;
            }
        }
    }

    /// Bytes that they take, as far as can be told.
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<(Kind, u32)>()
            + self.numbers.capacity() * (size_of::<(Kind, u16)>() + 1) * 8 / 7
            + self.free.capacity() * size_of::<u16>()
    }

    fn find(&mut self, kind: &Kind) -> u16 {
        if let Some(number) = self.numbers.get(kind) {
            return *number;
        }
        let number = match self.free.pop() {
            Some(number) => number,
            None if self.slots.len() < MOST_KINDS => {
                self.slots.push((*kind, 0));
                u16::try_from(self.slots.len()).expect("MOST_KINDS is u16")
            }
            None => return 0,
        };
        if let Some(slot) = self.slot(number) {
            *slot = (*kind, 0);
        }
        self.numbers.insert(*kind, number);
        number
    }

    fn slot(&mut self, number: u16) -> Option<&mut (Kind, u32)> {
        self.slots.get_mut(usize::from(number).checked_sub(1)?)
    }
}

const CONG_BYTES: usize = 16;
/// Of one namespace. More have no columns joined.
const MOST_KINDS: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(uid: u32) -> Kind {
        Kind {
            cong: *b"cubic\0\0\0\0\0\0\0\0\0\0\0",
            cong_len: 5,
            cgroup_id: None,
            uid,
            mark: None,
        }
    }

    #[test]
    fn a_kind_is_kept_once_and_until_its_last_socket_goes() {
        let mut kinds = Kinds::default();
        let one = kinds.change(0, &kind(1));
        assert_eq!((kinds.change(0, &kind(1)), kinds.change(0, &kind(2))), (one, 2));
        assert_eq!(kinds.get(one).unwrap().cong(), Some(&b"cubic"[..]));
        kinds.release(one);
        assert!(kinds.numbers.contains_key(&kind(1)));
        kinds.release(one);
        assert!(!kinds.numbers.contains_key(&kind(1)));
        assert_eq!(kinds.change(0, &kind(3)), one, "its number is used again");
        assert_eq!(kinds.get(0), None);
    }

    #[test]
    fn a_socket_may_become_another_kind() {
        let mut kinds = Kinds::default();
        let number = kinds.change(0, &kind(1));
        assert_eq!(kinds.change(number, &kind(1)), number);
        let other = kinds.change(number, &kind(2));
        assert_eq!(kinds.get(other), Some(&kind(2)));
        assert_eq!(kinds.numbers.len(), 1);
    }

    #[test]
    fn there_are_no_more_kinds_than_numbers() {
        let mut kinds = Kinds::default();
        for uid in 0..MOST_KINDS {
            assert_ne!(kinds.change(0, &kind(u32::try_from(uid).unwrap())), 0);
        }
        assert_eq!(kinds.change(0, &kind(u32::MAX)), 0);
        kinds.release(7);
        assert_eq!(kinds.change(0, &kind(u32::MAX)), 7);
    }
}
