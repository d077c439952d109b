//! Envelopes: rows that travel together, encoded; and the builder that cuts them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::format::{Encoder, HEADROOM};
use crate::row::{DumpContext, SocketRow};
use crate::v1::XtcpFlatRecord;

/// Encoded rows in their frame. Its buffer goes back to the pool when the last sink lets go of it.
#[derive(Debug)]
pub struct Envelope {
    buffer: Vec<u8>,
    start: usize,
    rows: u64,
    reason: CutReason,
    pool: BufferPool,
}

/// When a builder cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Rows of one envelope at the most; at least 1.
    pub rows: u64,
    /// Bytes of one envelope at the most, its frame included. Only a single row longer than this exceeds it.
    pub bytes: usize,
}

/// Why an envelope was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutReason {
    /// It had [`Limits::rows`].
    Rows,
    /// The next row would have exceeded [`Limits::bytes`].
    Bytes,
    /// The poll ended.
    EndOfPoll,
}

/// Buffers to use again, the one that came back last first: the processor's caches may still have it.
#[derive(Debug, Clone)]
pub struct BufferPool {
    buffers: Arc<Mutex<Vec<Vec<u8>>>>,
    most: usize,
}

/// Appends rows to an envelope and cuts it by rows and bytes. Its size is exact after every row, in O(1).
#[derive(Debug)]
pub struct Builder {
    encoder: Encoder,
    limits: Limits,
    pool: BufferPool,
    buffer: Vec<u8>,
    rows: u64,
}

impl Envelope {
    /// The frame and the rows.
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// How many rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Why it was cut.
    pub fn reason(&self) -> CutReason {
        self.reason
    }
}

impl Drop for Envelope {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        self.pool.give_back(buffer);
    }
}

impl BufferPool {
    /// A pool that keeps at most `buffers`.
    pub fn new(buffers: usize) -> Self {
        let most = buffers.max(1);
        Self { buffers: Arc::new(Mutex::new(Vec::with_capacity(most))), most }
    }

    fn take(&self) -> Vec<u8> {
        let mut buffer = self.lock().pop().unwrap_or_default();
        // Whatever was in it: the frame is written when the envelope is cut.
        buffer.resize(HEADROOM, 0);
        buffer
    }

    /// A full pool frees it.
    fn give_back(&self, buffer: Vec<u8>) {
        let mut buffers = self.lock();
        if buffers.len() < self.most {
            buffers.push(buffer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Builder {
    /// A builder with an empty envelope.
    pub fn new(encoder: Encoder, limits: Limits, pool: BufferPool) -> Self {
        Self { buffer: pool.take(), encoder, limits, pool, rows: 0 }
    }

    /// Takes what is constant for the rows that follow; rows before it stay in the same envelope.
    pub fn begin_dump(&mut self, dump: &DumpContext<'_>) {
        self.encoder.begin_dump(dump);
    }

    /// Appends a row; `cut` gets every envelope that became full by it.
    #[inline]
    pub fn push(&mut self, row: &SocketRow<'_>, cut: impl FnMut(Envelope)) {
        let before = self.len();
        self.encoder.pend(row, &mut self.buffer);
        self.pushed(before, cut);
    }

    /// Appends a decoded record.
    pub fn push_record(&mut self, record: &XtcpFlatRecord, cut: impl FnMut(Envelope)) {
        let before = self.len();
        self.encoder.record(record, &mut self.buffer);
        self.pushed(before, cut);
    }

    /// The exact length of the envelope if it were cut now.
    pub fn sealed_len(&self) -> usize {
        self.encoder.sealed_len(self.len() - HEADROOM)
    }

    /// Bytes of the buffer, once everything is there.
    fn len(&self) -> usize {
        self.buffer.len() + self.encoder.pending()
    }

    /// Rows in the envelope so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Cuts what there is, at the end of a poll.
    pub fn finish(&mut self) -> Option<Envelope> {
        (self.rows > 0).then(|| {
            let next = self.pool.take();
            self.cut(CutReason::EndOfPoll, next)
        })
    }

    #[inline]
    fn pushed(&mut self, before: usize, mut cut: impl FnMut(Envelope)) {
        self.rows += 1;
        if self.rows > 1 && self.sealed_len() > self.limits.bytes {
            self.encoder.settle(&mut self.buffer);
            // The row that does not fit any more is the first one of the next envelope.
            let mut next = self.pool.take();
            next.extend_from_slice(self.buffer.get(before..).unwrap_or_default());
            self.buffer.truncate(before);
            self.rows -= 1;
            cut(self.cut(CutReason::Bytes, next));
            self.rows = 1;
        }
        if self.rows >= self.limits.rows {
            let next = self.pool.take();
            cut(self.cut(CutReason::Rows, next));
        }
    }

    fn cut(&mut self, reason: CutReason, next: Vec<u8>) -> Envelope {
        self.encoder.settle(&mut self.buffer);
        let mut buffer = std::mem::replace(&mut self.buffer, next);
        let start = self.encoder.seal(&mut buffer);
        Envelope {
            buffer,
            start,
            rows: std::mem::take(&mut self.rows),
            reason,
            pool: self.pool.clone(),
        }
    }
}
