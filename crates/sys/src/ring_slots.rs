//! Which operations are in flight, and what the kernel may still touch of each.

use std::sync::Arc;

use crate::DiagSocket;
use crate::ring_memory::RecvMemory;

/// A table of operations. What is in it stays alive and in place until it is taken out.
#[derive(Default)]
pub(crate) struct Slots {
    table: Vec<Option<Slot>>,
    free: Vec<usize>,
    operations: u64,
    receives: usize,
}

pub(crate) struct Slot {
    /// The `user_data` of its submission; never used twice, so that a late cancellation meets nobody else.
    pub(crate) id: u64,
    pub(crate) token: u32,
    /// Keeps the descriptor open: before submission it is but a number, which another file could get.
    #[expect(dead_code, reason = "held, not read")]
    socket: Arc<DiagSocket>,
    pub(crate) operation: Operation,
    pub(crate) cancelled: bool,
}

pub(crate) enum Operation {
    /// The kernel reads the bytes.
    Send(Vec<u8>),
    /// The kernel writes to the memory.
    Recv(RecvMemory),
}

impl Slots {
    /// The kernel has `operation` from now on, under the id that is returned.
    pub(crate) fn insert(
        &mut self,
        token: u32,
        socket: Arc<DiagSocket>,
        operation: Operation,
    ) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.table.push(None);
            self.table.len() - 1
        });
        self.operations += 1;
        self.receives += usize::from(operation.is_recv());
        let id = self.operations << INDEX_BITS | index as u64;
        if let Some(slot) = self.table.get_mut(index) {
            *slot = Some(Slot { id, token, socket, operation, cancelled: false });
        }
        id
    }

    /// Whether the kernel has not completed `id`.
    pub(crate) fn contains(&self, id: u64) -> bool {
        self.table.get(index(id)).is_some_and(|slot| slot.as_ref().is_some_and(|s| s.id == id))
    }

    /// What was inserted; the caller has seen the completion, or has never submitted it.
    pub(crate) fn take(&mut self, id: u64) -> Option<Slot> {
        let slot = self.table.get_mut(index(id))?.take_if(|slot| slot.id == id)?;
        self.free.push(index(id));
        self.receives -= usize::from(slot.operation.is_recv());
        Some(slot)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.table.iter_mut().flatten()
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len() - self.free.len()
    }

    pub(crate) fn receives(&self) -> usize {
        self.receives
    }

    pub(crate) fn sends(&self) -> usize {
        self.len() - self.receives
    }
}

impl Operation {
    fn is_recv(&self) -> bool {
        matches!(self, Self::Recv(_))
    }
}

fn index(id: u64) -> usize {
    usize::try_from(id & ((1 << INDEX_BITS) - 1)).unwrap_or(usize::MAX)
}

/// 65,536 slots are more than any ring has; 48 bits of operations last for years at a million a second.
const INDEX_BITS: u32 = 16;
