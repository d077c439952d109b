//! Integers of a struct as protobuf's fields, eight at a time, on processors with AVX-512 VBMI2.
//!
//! Here, since only a processor that has these instructions may be given them, and the compiler can't know which one it will
//! be.

/// That the processor has the instructions: only [`Avx512::detect`] makes one.
#[derive(Debug, Clone, Copy)]
pub struct Avx512(Proof);

#[cfg(target_arch = "x86_64")]
type Proof = ();
#[cfg(not(target_arch = "x86_64"))]
type Proof = std::convert::Infallible;

/// Where the integer of a field lies, and what is known of the field before its value is.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Place of its first byte in the struct.
    pub offset: usize,
    /// Its lowest bit, counted from there: above 0 for a bit-field.
    pub first_bit: u32,
    /// How many bits it has. Of 64, those are read that the field has room for: 42 behind a tag of two bytes.
    pub bits: u32,
    /// Whether the first byte is the highest one, else the lowest.
    pub big_endian: bool,
    /// The lowest value that is not written, beside 0.
    pub limit: Option<u64>,
    /// The tag as protobuf writes it, first byte lowest.
    pub tag: u64,
}

/// Up to [`LANES`] fields with tags of `TAG` bytes, whose integers lie within 64 bytes of a struct of `N`; as tables.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Eight<const N: usize, const TAG: usize> {
    /// Which byte of the struct is which byte of an integer, counted from `window` on.
    picked: Block,
    /// Which bit of the integer comes first in each byte of a field.
    shifts: Block,
    /// The bits of a field that are its value's.
    kept: Block,
    tags: Block,
    /// The first field that is not written.
    limits: Block,
    window: usize,
}

/// Eight fields, a lane of eight bytes each.
pub type Block = [u8; LANES * LANE_BYTES];

/// What is compiled for such processors as a whole: where all of it is inlined, nothing of it is a call.
pub trait Work {
    /// Does it.
    fn call(self);
}

impl<const N: usize, const TAG: usize> Eight<N, TAG> {
    /// No field.
    pub const NONE: Self = {
        let none = [0; LANES * LANE_BYTES];
        let [picked, shifts, kept, tags, limits] = [none; 5];
        Self { picked, shifts, kept, tags, limits, window: 0 }
    };

    /// With a field in this place. The first place is filled first, by the integer that lies first.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
    #[expect(clippy::cast_possible_truncation, reason = "places and bits within 64")]
    pub const fn with(mut self, number: usize, field: Field) -> Self {
        if number == 0 {
            let last = N.saturating_sub(LANES * LANE_BYTES);
            self.window = if field.offset < last { field.offset } else { last };
        }
        assert!(
            field.first_bit + field.bits <= 64 && number < LANES && 0 < TAG && TAG < LANE_BYTES
        );
        assert!(field.bits == 64 || field.bits.div_ceil(7) as usize <= LANE_BYTES - TAG);
        let bytes = (field.first_bit + field.bits).div_ceil(8) as usize;
        let last = field.offset + bytes - 1;
        assert!(last < N && last - self.window < LANES * LANE_BYTES);
        let (mut at, mut bit) = (0, 0);
        while at < LANE_BYTES {
            let here = number * LANE_BYTES + at;
            if at < bytes {
                let from = if field.big_endian { bytes - 1 - at } else { at };
                self.picked[here] = (field.offset + from - self.window) as u8;
            }
            if at < TAG {
                self.tags[here] = (field.tag >> (8 * at)) as u8;
            } else {
                if bit < field.bits {
                    let bits = field.bits - bit;
                    self.shifts[here] = (field.first_bit + bit) as u8;
                    self.kept[here] = if bits < 7 { (1 << bits) - 1 } else { 0x7f };
                }
                self.limits[here] = match field.limit {
                    Some(limit) => (limit >> bit) as u8 & self.kept[here],
                    None => 0xff,
                };
                bit += 7;
            }
            at += 1;
        }
        self
    }
}

impl Avx512 {
    /// Asks the processor.
    pub fn detect() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            // What comes with `avx512f` for the compiler, and then what is named below.
            let all = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512cd")
                && is_x86_feature_detected!("avx512vbmi")
                && is_x86_feature_detected!("avx512vbmi2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt")
                && is_x86_feature_detected!("popcnt");
            all.then_some(Self(()))
        }
        #[cfg(not(target_arch = "x86_64"))]
        None
    }

    /// Does `work`.
    #[inline(always)]
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables, reason = "never called"))]
    pub fn call(self, work: impl Work) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has the features of `call`: `self` is the proof.
        unsafe {
            vector::call(work);
        }
        #[cfg(not(target_arch = "x86_64"))]
        match self.0 {}
    }

    /// Writes the fields of those integers that are neither 0 nor at their limit, and returns how many bytes they are. Of what
    /// has no room in its field the upper bits are lost.
    #[inline(always)]
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables, reason = "never called"))]
    pub fn put<const N: usize, const TAG: usize>(
        self,
        eight: &Eight<N, TAG>,
        of: &[u8; N],
        out: &mut Block,
    ) -> usize {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has the features of `put`: `self` is the proof.
        unsafe {
            vector::put(eight, of, out)
        }
        #[cfg(not(target_arch = "x86_64"))]
        match self.0 {}
    }
}

#[cfg(target_arch = "x86_64")]
mod vector {
    use std::arch::x86_64::{
        __m512i, _mm512_and_si512, _mm512_loadu_si512, _mm512_lzcnt_epi64,
        _mm512_mask_cmplt_epu64_mask, _mm512_maskz_compress_epi8, _mm512_maskz_loadu_epi8,
        _mm512_maskz_srlv_epi64, _mm512_movepi8_mask, _mm512_multishift_epi64_epi8,
        _mm512_permutexvar_epi8, _mm512_set1_epi64, _mm512_srli_epi64, _mm512_storeu_si512,
        _mm512_ternarylogic_epi64, _mm512_test_epi64_mask,
    };

    use super::{Block, Eight, Work};

    #[inline(never)]
    #[target_feature(
        enable = "avx512f,avx512bw,avx512cd,avx512vbmi,avx512vbmi2,bmi1,bmi2,lzcnt,popcnt"
    )]
    pub(super) fn call(work: impl Work) {
        work.call();
    }

    #[inline]
    #[target_feature(
        enable = "avx512f,avx512bw,avx512cd,avx512vbmi,avx512vbmi2,bmi1,bmi2,lzcnt,popcnt"
    )]
    pub(super) fn put<const N: usize, const TAG: usize>(
        eight: &Eight<N, TAG>,
        of: &[u8; N],
        out: &mut Block,
    ) -> usize {
        let [tags, kept] = [&eight.tags, &eight.kept].map(|table| load(table));
        let integers = _mm512_permutexvar_epi8(load(&eight.picked), load_part(of, eight.window));
        let spread = _mm512_multishift_epi64_epi8(load(&eight.shifts), integers);
        let field = _mm512_ternarylogic_epi64::<{ A_OR_B_AND_C }>(tags, spread, kept);
        let there = _mm512_test_epi64_mask(spread, kept);
        let there = _mm512_mask_cmplt_epu64_mask(there, field, load(&eight.limits));
        // Whole bytes above the highest bit: a tag is never 0, so there are fewer than eight.
        let unused = _mm512_and_si512(_mm512_lzcnt_epi64(field), _mm512_set1_epi64(0x38));
        let used = _mm512_maskz_srlv_epi64(there, _mm512_set1_epi64(-1), unused);
        // A byte of a varint that another one follows says so.
        let followed = _mm512_srli_epi64::<8>(used);
        let more = _mm512_set1_epi64((0x8080_8080_8080_8080_u64 << (8 * TAG)).cast_signed());
        let field = _mm512_ternarylogic_epi64::<{ A_OR_B_AND_C }>(field, followed, more);
        let used = _mm512_movepi8_mask(used);
        store(out, _mm512_maskz_compress_epi8(used, field));
        used.count_ones() as usize
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(from: &Block) -> __m512i {
        // SAFETY: 64 bytes that can be read; their alignment does not matter.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }

    /// 64 bytes from a place on, or all bytes of a shorter struct and zeros.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn load_part<const N: usize>(from: &[u8; N], at: usize) -> __m512i {
        if let Some(block) = from.get(at..).and_then(<[u8]>::first_chunk) {
            return load(block);
        }
        let bytes = 1_u64.unbounded_shl(u32::try_from(N).unwrap_or(u32::MAX)).wrapping_sub(1);
        // SAFETY: a bit for each byte that can be read (64 for more of them); others are not.
        unsafe { _mm512_maskz_loadu_epi8(bytes, from.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store(to: &mut Block, bytes: __m512i) {
        // SAFETY: 64 bytes that can be written; their alignment does not matter.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), bytes) };
    }

    /// By the bits of A, B and C, highest first: 0, 0, 0, 1 where only B and C count, and 1 wherever A has one.
    const A_OR_B_AND_C: i32 = 0b1111_1000;
}

/// Fields that are written at once.
pub const LANES: usize = 8;
/// Bytes of a field at the most.
const LANE_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const fn of(offset: usize, first_bit: u32, bits: u32, tag: u64) -> Field {
        Field { offset, first_bit, bits, big_endian: false, limit: None, tag }
    }

    /// What [`Avx512::put`] is to write.
    #[expect(clippy::cast_possible_truncation, reason = "seven bits each")]
    fn expected(fields: &[Field], tag_bytes: usize, of: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for field in fields {
            let bytes = (field.first_bit + field.bits).div_ceil(8) as usize;
            let mut bytes = of[field.offset..field.offset + bytes].to_vec();
            if field.big_endian {
                bytes.reverse();
            }
            bytes.resize(8, 0);
            let value = u64::from_le_bytes(bytes.try_into().unwrap()) >> field.first_bit;
            let mut value = value & (u64::MAX >> (64 - field.bits));
            if value == 0 || field.limit.is_some_and(|limit| value >= limit) {
                continue;
            }
            out.extend(&field.tag.to_le_bytes()[..tag_bytes]);
            while value >= 0x80 {
                out.push(value as u8 | 0x80);
                value >>= 7;
            }
            out.push(value as u8);
        }
        out
    }

    fn written<const N: usize, const TAG: usize>(
        avx512: Avx512,
        fields: &[Field],
        of: &[u8; N],
    ) -> Vec<u8> {
        let numbered = fields.iter().enumerate();
        let eight =
            numbered.fold(Eight::<N, TAG>::NONE, |eight, (at, field)| eight.with(at, *field));
        let mut out = [0xaa; 64];
        let bytes = avx512.put(&eight, of, &mut out);
        out[..bytes].to_vec()
    }

    /// Nothing is to be seen where the processor can't.
    #[test]
    #[expect(clippy::cast_possible_truncation, reason = "any byte")]
    fn eight_fields_are_what_a_loop_writes_of_each_integer() {
        let Some(avx512) = Avx512::detect() else { return };
        let fields = [
            of(16, 0, 8, 0x18a2),
            of(17, 4, 4, 0x18aa),
            Field { big_endian: true, ..of(18, 0, 16, 0x18b2) },
            of(20, 0, 32, 0x18ba),
            Field { limit: Some(0x7fff_ffff), ..of(24, 0, 32, 0x18c2) },
            Field { limit: Some(u64::MAX), ..of(32, 0, 64, 0x18ca) },
            of(40, 1, 2, 0x18d2),
            of(76, 0, 32, 0x18da),
        ];
        let mut random = 1_u64;
        for round in 0..100_000 {
            let mut bytes: [u8; 80] = std::array::from_fn(|_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Integers of all lengths, and many of them 0.
                if random >> 60 < round % 16 { 0 } else { (random >> 40) as u8 }
            });
            // What 42 bits hold, and what is not written.
            bytes[38..40].fill(0);
            bytes[37] &= 1;
            let (long, word) = match round % 16 {
                0 => (u64::MAX, 0x7fff_fffe),
                1 => ((1 << 42) - 2, 0x7fff_ffff),
                2 => (1 << 35, 0x8000_0000),
                3 => ((1 << 35) - 1, u32::MAX),
                _ => (u64::from_le_bytes(bytes[32..40].try_into().unwrap()), 0x1234),
            };
            bytes[32..40].copy_from_slice(&long.to_le_bytes());
            if round % 16 < 8 {
                bytes[24..28].copy_from_slice(&word.to_le_bytes());
            }
            let expected = expected(&fields, 2, &bytes);
            assert_eq!(written::<80, 2>(avx512, &fields, &bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_struct_of_less_than_64_bytes_is_read_to_its_end_and_few_fields_are_few() {
        let Some(avx512) = Avx512::detect() else { return };
        let fields = [of(0, 0, 32, 0x01_bc82), of(8, 0, 32, 0x01_bc8a)];
        let bytes = [1, 0, 0, 0, 9, 9, 9, 9, 0xff, 0xff, 0xff, 0xff];
        let expected = expected(&fields, 3, &bytes);
        assert_eq!(expected.len(), 3 + 1 + 3 + 5);
        assert_eq!(written::<12, 3>(avx512, &fields, &bytes), expected);
        assert_eq!(written::<12, 3>(avx512, &fields, &[0; 12]), []);
    }
}
