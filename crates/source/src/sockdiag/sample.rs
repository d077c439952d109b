//! `--modulus`: one in N sockets, always the same ones.

/// Keeps one in so many sockets, chosen by a hash of the cookie: a chosen connection stays chosen for its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modulus(u64);

impl Modulus {
    /// Every socket.
    pub const ALL: Self = Self(1);

    /// One in `n`; 0 counts as 1.
    pub fn one_in(n: u32) -> Self {
        Self(u64::from(n.max(1)))
    }

    /// Whether the socket with this cookie is kept.
    #[inline]
    pub fn keeps(self, cookie: u64) -> bool {
        self.0 == 1 || mix(cookie).is_multiple_of(self.0)
    }
}

/// The kernel counts cookies up, so they are mixed first (splitmix64's finaliser; a bijection).
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_n_of_consecutive_cookies_is_kept() {
        for n in [2u32, 7, 10, 64, 100] {
            let kept =
                (1_000_000..1_100_000).filter(|cookie| Modulus::one_in(n).keeps(*cookie)).count();
            let expected = 100_000 / n as usize;
            assert!(kept.abs_diff(expected) < expected / 10, "{n}: {kept}");
        }
    }

    #[test]
    fn both_ends_of_every_second_connection_are_not_what_half_keeps() {
        let kept =
            |parity| (0..10_000u64).filter(|i| Modulus::one_in(2).keeps(i * 2 + parity)).count();
        assert!(kept(0) > 4_500 && kept(1) > 4_500);
    }

    #[test]
    fn a_modulus_of_one_keeps_everything() {
        assert!(
            (0..100).all(|cookie| Modulus::ALL.keeps(cookie) && Modulus::one_in(0).keeps(cookie))
        );
    }
}
