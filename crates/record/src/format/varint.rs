//! Protobuf's varints without a loop: the groups of seven bits are spread by shifts, the length is looked up.
//!
//! A loop mispredicts where lengths vary from row to row, as they do in half of the columns of a socket.

use std::num::{NonZeroU32, NonZeroU64};

/// The bytes of a varint of at most 56 bits, first byte lowest, and how many they are.
#[inline(always)]
pub(crate) fn spread(value: NonZeroU64) -> (u64, usize) {
    let bits = value.ilog2() as usize;
    let value = value.get();
    // Each line moves the upper half of every group up, until there is one group of seven bits a byte.
    let value = value + 15 * (value & 0x00ff_ffff_f000_0000);
    let value = value + 3 * (value & 0x0fff_c000_0fff_c000);
    let value = value + (value & 0x3f80_3f80_3f80_3f80);
    let len = ((bits * 37) >> 8) + 1;
    (value | CONTINUED.get(bits).copied().unwrap_or_default(), len)
}

/// A tag of two bytes and a varint of at most 32 bits, first byte lowest, and how many bytes they are.
#[inline(always)]
pub(crate) fn tagged(tag: u64, value: NonZeroU32) -> (u64, usize) {
    if value.get() >> 28 != 0 {
        return tagged_wide(tag, value);
    }
    let bits = value.ilog2() as usize;
    let value = value.get();
    let value = value + 3 * (value & 0x0fff_c000);
    let value = value + (value & 0x3f80_3f80);
    let frame = FRAMES.get(bits).copied().unwrap_or_default();
    (u64::from(value) << 16 | tag | frame, (frame >> 56) as usize)
}

/// Few columns of few rows are as wide: a call keeps the others short.
#[cold]
#[inline(never)]
fn tagged_wide(tag: u64, value: NonZeroU32) -> (u64, usize) {
    let (varint, len) = spread(value.into());
    (varint << 16 | tag, len + 2)
}

/// [`CONTINUED`] behind a tag of two bytes, and in the highest byte, which stays free, the length of both.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
static FRAMES: [u64; 32] = {
    let mut table = [0; 32];
    let mut bits = 0;
    while bits < 28 {
        let len = 2 + bits as u64 / 7 + 1;
        table[bits] = CONTINUED[bits] << 16 | len << 56;
        bits += 1;
    }
    table
};

/// The bits that say "more follows", by the place of a value's highest bit.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
static CONTINUED: [u64; 64] = {
    let mut table = [0; 64];
    let mut bits = 0;
    while bits < 56 {
        table[bits] = 0x8080_8080_8080_8080 & ((1 << (bits / 7 * 8)) - 1);
        bits += 1;
    }
    table
};

/// Bits of the longest value that [`spread`] takes.
pub(crate) const SPREAD_BITS: u32 = 56;
