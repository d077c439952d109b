//! Where a row is written: a piece of memory of fixed size, so that no write has to ask for room.
//!
//! A row is some hundred small writes. Into a `Vec` each of them compares the capacity and may grow; here a position is
//! masked, which the compiler knows to lie inside. Rows are appended to the envelope some at a time: a copy right behind the
//! writes would wait until the processor's store buffer has them all.

use super::decimal::digits;
use super::{Part, address, text};
use crate::columns::{COLUMNS, COUNT, Index};

/// The memory of a [`Line`]. An encoder keeps one.
#[derive(Clone)]
pub(crate) struct Scratch {
    bytes: Box<[u8; SCRATCH_BYTES]>,
    /// Bytes of whole rows that are still to be appended to the envelope.
    pending: usize,
}

/// The row that is being written.
pub(crate) struct Line<'o> {
    out: &'o mut Vec<u8>,
    /// Where in `out` the row begins, once everything is there.
    start: usize,
    scratch: &'o mut [u8; SCRATCH_BYTES],
    /// What is behind it belongs to `out`.
    base: usize,
    at: usize,
    pending: &'o mut usize,
}

impl Default for Scratch {
    fn default() -> Self {
        // Pages that no row reaches are never touched.
        let bytes = vec![0; SCRATCH_BYTES].into_boxed_slice();
        Self { bytes: bytes.try_into().expect("it has this length"), pending: 0 }
    }
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scratch")
    }
}

impl Scratch {
    /// Bytes that are still to be appended.
    #[inline(always)]
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    /// Appends them.
    #[inline(always)]
    pub(crate) fn settle(&mut self, out: &mut Vec<u8>) {
        append(out, &self.bytes, 0, std::mem::take(&mut self.pending));
    }
}

impl<'o> Line<'o> {
    /// A line that will stand at the end of `out`, behind what is pending.
    #[inline(always)]
    pub(crate) fn new(scratch: &'o mut Scratch, out: &'o mut Vec<u8>) -> Self {
        if scratch.pending > MOST_PENDING_BYTES {
            scratch.settle(out);
        }
        let Scratch { bytes, pending } = scratch;
        Self { start: out.len() + *pending, out, scratch: bytes, base: 0, at: *pending, pending }
    }

    /// A line of another buffer, which leaves alone what is pending.
    pub(crate) fn apart(scratch: &'o mut Scratch, out: &'o mut Vec<u8>) -> Self {
        let Scratch { bytes, pending } = scratch;
        let base = *pending;
        Self { start: out.len(), out, scratch: bytes, base, at: base, pending }
    }

    /// Writes the first `len` bytes of `bytes`. What lies behind them is overwritten by the next write.
    #[inline(always)]
    pub(crate) fn put<const N: usize>(&mut self, bytes: &[u8; N], len: usize) {
        const { assert!(N <= MARGIN_BYTES) };
        debug_assert!(len <= N && self.at < POSITIONS, "{} + {len}", self.at);
        // A mask instead of a comparison and a branch to a panic.
        let at = self.at & (POSITIONS - 1);
        let place = self.scratch.get_mut(at..at + N).expect("a position and a margin lie inside");
        place.copy_from_slice(bytes);
        self.at += len;
    }

    /// The same, of a write that says itself how many bytes it wrote.
    #[inline(always)]
    pub(crate) fn put_with<const N: usize>(&mut self, write: impl FnOnce(&mut [u8; N]) -> usize) {
        const { assert!(N <= MARGIN_BYTES) };
        let at = self.at & (POSITIONS - 1);
        let place = self.scratch.get_mut(at..).and_then(|rest| rest.first_chunk_mut());
        let len = write(place.expect("a position and a margin lie inside"));
        debug_assert!(len <= N && self.at < POSITIONS, "{} + {len}", self.at);
        self.at += len;
    }

    /// Writes a text that the compiler knows: two or three moves.
    #[inline(always)]
    pub(crate) fn put_known(&mut self, text: &'static [u8]) {
        debug_assert!(text.len() <= MARGIN_BYTES && self.at < POSITIONS);
        let at = self.at & (POSITIONS - 1);
        if let Some(place) = self.scratch.get_mut(at..at + text.len()) {
            place.copy_from_slice(text);
        }
        self.at += text.len();
    }

    /// Writes bytes of any number.
    #[inline(always)]
    pub(crate) fn put_bytes(&mut self, bytes: &[u8]) {
        // Names and addresses are short: two moves that overlap cost less than a call of memcpy.
        if let (Some(first), Some(last), ..=32) =
            (bytes.first_chunk::<16>(), bytes.last_chunk::<16>(), bytes.len())
        {
            self.put_ends(first, last, bytes.len());
        } else if let (Some(first), Some(last), ..=16) =
            (bytes.first_chunk::<8>(), bytes.last_chunk::<8>(), bytes.len())
        {
            self.put_ends(first, last, bytes.len());
        } else if let (Some(first), Some(last), ..=8) =
            (bytes.first_chunk::<4>(), bytes.last_chunk::<4>(), bytes.len())
        {
            self.put_ends(first, last, bytes.len());
        } else {
            self.put_long(bytes);
        }
    }

    #[inline(always)]
    fn put_ends<const N: usize>(&mut self, first: &[u8; N], last: &[u8; N], len: usize) {
        self.put(first, len - N);
        self.put(last, N);
    }

    /// Writes an integer in decimal.
    #[inline(always)]
    pub(crate) fn put_integer(&mut self, value: u64) {
        if value < 10 {
            #[expect(clippy::cast_possible_truncation, reason = "one digit")]
            self.put(&[b'0' + value as u8], 1);
        } else {
            let (digits, len) = digits(value);
            self.put(&digits, len);
        }
    }

    /// The same with a sign.
    #[inline(always)]
    pub(crate) fn put_signed(&mut self, value: i64) {
        if value < 0 {
            self.put(b"-", 1);
        }
        self.put_integer(value.unsigned_abs());
    }

    /// Writes an address as text; bytes that are no address, from a foreign file, as hexadecimal.
    #[inline(always)]
    pub(crate) fn put_address(&mut self, bytes: &[u8]) {
        match address::text(bytes) {
            Some((text, len)) => self.put(&text, len),
            None => self.put_through(|out| text::address(out, bytes)),
        }
    }

    /// Copies a part made before.
    #[inline(always)]
    pub(crate) fn put_part(&mut self, part: &Part) {
        if part.len <= MAX_PART_BYTES {
            let end = self.at + part.len;
            for block in part.bytes.chunks_exact(BLOCK_BYTES) {
                if let Some(block) = block.first_chunk::<BLOCK_BYTES>() {
                    self.put(block, BLOCK_BYTES);
                }
            }
            self.at = end;
        } else {
            self.flush();
            self.out.extend_from_slice(part.bytes.get(..part.len).unwrap_or_default());
        }
    }

    /// Writes what has no bound through the buffer behind; `write` appends to it.
    #[inline(always)]
    pub(crate) fn put_through(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.flush();
        write(self.out);
    }

    /// The buffer itself, for formats that write there.
    #[inline(always)]
    pub(crate) fn into_buffer(self) -> &'o mut Vec<u8> {
        debug_assert!(self.at == self.base);
        self.out
    }

    /// Bytes of the row so far.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.out.len() + self.at - self.base - self.start
    }

    /// Overwrites bytes of the row, `from` its beginning.
    #[inline(always)]
    pub(crate) fn mend(&mut self, from: usize, bytes: &[u8]) {
        let at = self.start + from;
        let place = match at.checked_sub(self.out.len()) {
            Some(behind) => self.scratch.get_mut(self.base + behind..).unwrap_or_default(),
            None => self.out.get_mut(at..).unwrap_or_default(),
        };
        if let Some(place) = place.get_mut(..bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    /// Leaves the row to be appended later, with others.
    #[inline(always)]
    pub(crate) fn end(self) {
        debug_assert!(self.base == 0);
        *self.pending = self.at;
    }

    /// Appends everything to the buffer; returns it and where the row begins.
    #[inline(always)]
    pub(crate) fn end_now(mut self) -> (&'o mut Vec<u8>, usize) {
        self.flush();
        (self.out, self.start)
    }

    #[inline(always)]
    fn put_long(&mut self, bytes: &[u8]) {
        if let [first, rest @ ..] = bytes
            && rest.len() < 3
        {
            let second = rest.first().copied().unwrap_or_default();
            let third = rest.last().copied().unwrap_or_default();
            self.put(&[*first, second, third], bytes.len());
        } else {
            self.put_through(|out| out.extend_from_slice(bytes));
        }
    }

    #[inline(always)]
    fn flush(&mut self) {
        debug_assert!(self.at <= POSITIONS);
        append(self.out, self.scratch, self.base, self.at);
        // What was pending is the buffer's now.
        if self.base == 0 {
            *self.pending = 0;
        }
        self.at = self.base;
    }
}

/// Not a method: the position stays in a register as long as nobody holds the address of the line.
#[inline(never)]
fn append(out: &mut Vec<u8>, scratch: &[u8; SCRATCH_BYTES], from: usize, to: usize) {
    out.extend_from_slice(scratch.get(from..to).unwrap_or_default());
}

impl Part {
    /// Takes the bytes written so far as the part's, and pads them: they are copied in blocks.
    pub(crate) fn seal(&mut self) {
        self.len = self.bytes.len();
        self.bytes.resize(self.len.next_multiple_of(BLOCK_BYTES), 0);
    }
}

/// More than all columns of one row take in any format; texts without a bound are not written here. (A mask of sixteen
/// bits is one instruction.)
const POSITIONS: usize = 1 << 16;
/// Some rows: they lie in the first cache, beside the messages, and are copied without `rep movs`, which is slow to start.
const MOST_PENDING_BYTES: usize = 2 * 1024;
/// The longest single write.
const MARGIN_BYTES: usize = 64;
/// The most that a column writes before somebody flushes: a key, a value, and what stands around them.
const COLUMN_BYTES: usize = MARGIN_BYTES + MARGIN_BYTES + 2 * GAP_BYTES;
/// The most empty cells that are written at once, beyond one separator for each column.
pub(crate) const GAP_BYTES: usize = 16;
/// The most that one row writes.
const ROW_BYTES: usize = COUNT * (COLUMN_BYTES + 1) + 2 * MAX_PART_BYTES + COLUMN_BYTES;
/// The most that the columns of a part write, which come behind pending rows.
const PART_BYTES: usize = PART_COLUMNS * (COLUMN_BYTES + 1);
const PART_COLUMNS: usize = 32;
const _: () = assert!(Index::record_counter as usize <= PART_COLUMNS);
const _: () =
    assert!(Index::tcp_info_length as usize - Index::record_kind as usize <= PART_COLUMNS);
const _: () = assert!(MOST_PENDING_BYTES + ROW_BYTES + PART_BYTES <= POSITIONS);
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const _: () = {
    let mut index = 0;
    while index < COUNT {
        assert!(COLUMNS[index].json_key.len() <= MARGIN_BYTES);
        index += 1;
    }
};
const SCRATCH_BYTES: usize = POSITIONS + MARGIN_BYTES;
const BLOCK_BYTES: usize = 32;
const MAX_PART_BYTES: usize = 1024;
