//! Captures of other kernels, and our own: each message against what `ss` printed of the same socket.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use sockeye_record::{DumpContext, Encoder, Encoding, Format, POLL, SocketRow};
use sockeye_testkit::Row;
use sockeye_testkit::pcap::PcapReader;
use sockeye_testkit::ss::parse;
use sockeye_testkit::ss_compare::{Tolerance, compare};
use sockeye_wire::{AttrSet, InetDiag, Messages};

fn dump() -> DumpContext<'static> {
    DumpContext {
        schema_version: 1,
        daemon_version: "test",
        timestamp_ns: 1,
        boottime_ns: 1,
        hostname: "",
        location: "",
        netns: "capture",
        netns_inode: 1,
        nsid: None,
        container_id: "",
        container_runtime: "",
        label: "",
        tag: "",
        record_kind: POLL,
    }
}

/// Every message of a capture as a row, by cookie: captures hold more dumps than the one that the text was printed from.
fn rows(pcap: &Path) -> BTreeMap<u64, Vec<Row>> {
    let mut encoder =
        Encoder::new(&Encoding { format: Format::Jsonl, columns: None, humanize: None });
    encoder.begin_dump(&dump());
    let mut rows: BTreeMap<u64, Vec<Row>> = BTreeMap::new();
    for packet in PcapReader::new(File::open(pcap).unwrap()).unwrap() {
        let packet = packet.unwrap();
        if packet.netlink_family != Some(NETLINK_SOCK_DIAG) {
            continue;
        }
        for message in Messages::new(&packet.payload).flatten() {
            let is_reply = message.flags & NLM_F_REQUEST == 0;
            if !is_reply || !matches!(message.kind, 18 | 20) {
                continue;
            }
            let socket = InetDiag::parse(message.payload, AttrSet::ALL).unwrap();
            let mut line = Vec::new();
            encoder.row(&SocketRow::new(&socket, rows.len() as u64 + 1, 3, 0), &mut line);
            rows.entry(socket.cookie()).or_default().push(serde_json::from_slice(&line).unwrap());
        }
    }
    rows
}

/// Pairs of a capture and its text in the folders of a captures folder.
fn pairs(captures: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut pairs = Vec::new();
    for kernel in fs::read_dir(captures).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        for entry in fs::read_dir(kernel.path()).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if let Some(stem) = name.strip_suffix(".pcap") {
                pairs.push((entry.path(), kernel.path().join(format!("ss_{stem}.txt"))));
            }
        }
    }
    pairs.sort();
    pairs
}

/// Compares every capture of a folder; returns how many sockets were compared.
fn compare_all(captures: &Path) -> usize {
    let mut compared = 0;
    for (pcap, text) in pairs(captures) {
        let (rows, ss) = (rows(&pcap), parse(&fs::read_to_string(&text).unwrap()).unwrap());
        for socket in &ss {
            let messages = socket.cookie().and_then(|cookie| rows.get(&cookie));
            let messages =
                messages.unwrap_or_else(|| panic!("{}: no message of {socket:?}", pcap.display()));
            let wrong: Vec<Vec<String>> =
                messages.iter().map(|row| compare(socket, row, Tolerance::Exact)).collect();
            assert!(wrong.iter().any(Vec::is_empty), "{}: {wrong:#?}", pcap.display());
            compared += 1;
        }
    }
    compared
}

#[test]
fn our_own_captures_are_what_ss_printed() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/captures");
    let compared = compare_all(&own);
    assert!(compared >= 50, "{compared} sockets in {}", own.display());
}

#[test]
fn captures_of_other_kernels_are_what_ss_printed() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures");
    let captures = std::env::var_os("SOCKEYE_CAPTURES").map_or(beside, PathBuf::from);
    if !captures.is_dir() {
        assert!(
            std::env::var_os("SOCKEYE_CAPTURES").is_none(),
            "SOCKEYE_CAPTURES: no folder {}",
            captures.display()
        );
        eprintln!(
            "not run: there are no captures of other kernels; SOCKEYE_CAPTURES names their folder"
        );
        return;
    }
    let compared = compare_all(&captures);
    assert!(compared >= 100, "{compared} sockets");
}

const NETLINK_SOCK_DIAG: u16 = 4;
const NLM_F_REQUEST: u16 = 1;
