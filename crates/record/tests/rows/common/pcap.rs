//! Netlink captures: the classic pcap format, as far as it takes to get at the messages.

use std::path::{Path, PathBuf};

/// Every capture that is here: our own, which are part of the repository, and those of other kernels.
pub(crate) fn captures() -> Vec<PathBuf> {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/captures");
    let others = std::env::var_os("SOCKEYE_CAPTURES").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/captures")),
        PathBuf::from,
    );
    let entries = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    };
    let captures = |folder: &Path| -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            entries(folder).iter().flat_map(|kernel| entries(kernel)).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "pcap"));
        files.sort();
        files
    };
    let (own, foreign) = (captures(Path::new(own)), captures(&others));
    assert!(!own.is_empty(), "our own captures are part of the repository");
    if foreign.is_empty() {
        println!(
            "not run: no captures of other kernels in {} (set SOCKEYE_CAPTURES)",
            others.display()
        );
    }
    [own, foreign].concat()
}

/// The `sock_diag` bytes of every packet of a little-endian capture of link type 253. Some captures have rtnetlink's
/// too, where type 20 is an address.
pub(crate) fn packets(file: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(file).unwrap();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!((word(0), word(20)), (0xa1b2_c3d4, 253), "{}", file.display());
    let (mut at, mut packets) = (24, Vec::new());
    while at < bytes.len() {
        let captured = word(at + 8);
        assert_eq!(captured, word(at + 12), "the capture cut a packet short");
        // 16 bytes of record header, 16 of the cooked header, whose last two are the netlink family.
        if bytes[at + 30..at + 32] == NETLINK_SOCK_DIAG.to_be_bytes() {
            packets.push(bytes[at + 32..at + 16 + captured].to_vec());
        }
        at += 16 + captured;
    }
    packets
}

const NETLINK_SOCK_DIAG: u16 = 4;
