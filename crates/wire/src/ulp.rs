//! `INET_DIAG_ULP_INFO`: the upper layer protocol on a socket, TLS or MPTCP (`tls.h`, `mptcp.h`).

use crate::attrs::Attrs;
use crate::bytes::{u16_ne, u32_ne, u64_ne};

/// What the kernel says of the upper layer. Attributes that make no sense are as good as absent.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Ulp<'a> {
    name: Option<&'a [u8]>,
    tls: Option<&'a [u8]>,
    mptcp: Option<&'a [u8]>,
}

impl<'a> Ulp<'a> {
    /// Reads the nested attributes.
    pub fn new(bytes: &'a [u8]) -> Self {
        let mut ulp = Self::default();
        for attr in Attrs::new(bytes).flatten() {
            match attr.nr {
                INET_ULP_INFO_NAME => ulp.name = Some(attr.payload),
                INET_ULP_INFO_TLS => ulp.tls = Some(attr.payload),
                INET_ULP_INFO_MPTCP => ulp.mptcp = Some(attr.payload),
                _ => {}
            }
        }
        ulp
    }

    /// `tls` or `mptcp`, without the terminating zero.
    pub fn name(&self) -> Option<&'a [u8]> {
        self.name.map(until_zero)
    }

    /// `TLS_INFO_VERSION`: 0x0303 is TLS 1.2, 0x0304 TLS 1.3.
    pub fn tls_version(&self) -> Option<u16> {
        u16_ne(nested(self.tls, 1)?, 0)
    }

    /// `TLS_INFO_CIPHER`: 51 AES-GCM-128, 52 AES-GCM-256, 53 AES-CCM-128, 54 `ChaCha20`-Poly1305.
    pub fn tls_cipher(&self) -> Option<u16> {
        u16_ne(nested(self.tls, 2)?, 0)
    }

    /// `TLS_INFO_TXCONF`: 1 base, 2 software, 3 device.
    pub fn tls_tx_conf(&self) -> Option<u16> {
        u16_ne(nested(self.tls, 3)?, 0)
    }

    /// `TLS_INFO_RXCONF`: 1 base, 2 software, 3 device.
    pub fn tls_rx_conf(&self) -> Option<u16> {
        u16_ne(nested(self.tls, 4)?, 0)
    }

    /// `MPTCP_SUBFLOW_ATTR_TOKEN_REM`.
    pub fn mptcp_token_rem(&self) -> Option<u32> {
        u32_ne(nested(self.mptcp, 1)?, 0)
    }

    /// `MPTCP_SUBFLOW_ATTR_TOKEN_LOC`.
    pub fn mptcp_token_loc(&self) -> Option<u32> {
        u32_ne(nested(self.mptcp, 2)?, 0)
    }

    /// `MPTCP_SUBFLOW_ATTR_RELWRITE_SEQ`.
    pub fn mptcp_relwrite_seq(&self) -> Option<u32> {
        u32_ne(nested(self.mptcp, 3)?, 0)
    }

    /// `MPTCP_SUBFLOW_ATTR_MAP_SEQ`.
    pub fn mptcp_map_seq(&self) -> Option<u64> {
        u64_ne(nested(self.mptcp, 4)?, 0)
    }

    /// `MPTCP_SUBFLOW_ATTR_MAP_SFSEQ`.
    pub fn mptcp_map_sfseq(&self) -> Option<u32> {
        u32_ne(nested(self.mptcp, 5)?, 0)
    }

    /// `MPTCP_SUBFLOW_ATTR_SSN_OFFSET`.
    pub fn mptcp_ssn_offset(&self) -> Option<u32> {
        u32_ne(nested(self.mptcp, 6)?, 0)
    }

    /// `MPTCP_SUBFLOW_ATTR_MAP_DATALEN`.
    pub fn mptcp_map_datalen(&self) -> Option<u16> {
        u16_ne(nested(self.mptcp, 7)?, 0)
    }

    /// `MPTCP_SUBFLOW_ATTR_FLAGS`.
    pub fn mptcp_flags(&self) -> Option<u32> {
        u32_ne(nested(self.mptcp, 8)?, 0)
    }

    /// `MPTCP_SUBFLOW_ATTR_ID_REM`.
    pub fn mptcp_id_rem(&self) -> Option<u8> {
        nested(self.mptcp, 9)?.first().copied()
    }

    /// `MPTCP_SUBFLOW_ATTR_ID_LOC`.
    pub fn mptcp_id_loc(&self) -> Option<u8> {
        nested(self.mptcp, 10)?.first().copied()
    }
}

/// A kernel string: the bytes before the first zero.
#[inline(always)]
pub(crate) fn until_zero(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0);
    end.and_then(|end| bytes.get(..end)).unwrap_or(bytes)
}

fn nested(bytes: Option<&[u8]>, nr: u16) -> Option<&[u8]> {
    Attrs::new(bytes?).flatten().find(|attr| attr.nr == nr).map(|attr| attr.payload)
}

const INET_ULP_INFO_NAME: u16 = 1;
const INET_ULP_INFO_TLS: u16 = 2;
const INET_ULP_INFO_MPTCP: u16 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn attr(nr: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(4 + payload.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(nr.to_ne_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_tls_socket_shows_version_cipher_and_both_directions() {
        let tls = [
            attr(1, &0x0304u16.to_ne_bytes()),
            attr(2, &51u16.to_ne_bytes()),
            attr(3, &2u16.to_ne_bytes()),
            attr(4, &1u16.to_ne_bytes()),
        ]
        .concat();
        let bytes = [attr(1, b"tls\0"), attr(2 | 0x8000, &tls)].concat();
        let ulp = Ulp::new(&bytes);
        assert_eq!(ulp.name(), Some(&b"tls"[..]));
        assert_eq!(
            (ulp.tls_version(), ulp.tls_cipher(), ulp.tls_tx_conf(), ulp.tls_rx_conf()),
            (Some(0x0304), Some(51), Some(2), Some(1))
        );
        assert_eq!((ulp.mptcp_flags(), ulp.mptcp_id_loc()), (None, None));
    }

    #[test]
    fn an_mptcp_subflow_shows_its_tokens_and_sequence() {
        let mptcp = [
            attr(1, &1u32.to_ne_bytes()),
            attr(2, &2u32.to_ne_bytes()),
            attr(4, &4u64.to_ne_bytes()),
            attr(7, &7u16.to_ne_bytes()),
            attr(8, &8u32.to_ne_bytes()),
            attr(9, &[9]),
            attr(10, &[10]),
        ]
        .concat();
        let bytes = [attr(1, b"mptcp\0"), attr(3, &mptcp)].concat();
        let ulp = Ulp::new(&bytes);
        assert_eq!(
            (ulp.mptcp_token_rem(), ulp.mptcp_token_loc(), ulp.mptcp_map_seq()),
            (Some(1), Some(2), Some(4))
        );
        assert_eq!(
            (ulp.mptcp_map_datalen(), ulp.mptcp_flags(), ulp.mptcp_id_rem(), ulp.mptcp_id_loc()),
            (Some(7), Some(8), Some(9), Some(10))
        );
        assert_eq!(ulp.tls_version(), None);
    }
}
