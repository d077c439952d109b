//! `--log-format`, `--log-to` and `--log-level`.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use serde_json::Value;

use crate::common::{output, text};
use crate::{SOON, common::sockeye};

const ONCE: [&str; 7] =
    ["run", "--own-netns-only", "--max-loops", "1", "--listen=off", "--dest", "null"];

#[test]
fn json_is_an_object_a_line_the_last_words_included() {
    let output = output(&[&ONCE[..], &["--log-format", "json"]].concat());
    assert_eq!(output.status.code(), Some(0));
    let lines: Vec<Value> = text(&output.stderr)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let of = |words: &str| {
        let has = |line: &&Value| line["message"].as_str().unwrap().contains(words);
        lines.iter().find(has).unwrap_or_else(|| panic!("{lines:?}"))
    };
    let collecting = of("collecting");
    assert_eq!(collecting["level"], "INFO");
    assert_eq!(collecting["destinations"], "null");
    assert!(collecting["timestamp"].as_str().unwrap().ends_with('Z'));
    assert!(of("1 polls, ")["message"].as_str().unwrap().contains("0 incomplete namespaces"));
    of("null: read ");
}

#[test]
fn the_level_is_what_is_asked_for() {
    let lines = |level: &str| text(&output(&[&ONCE[..], &["--log-level", level]].concat()).stderr);
    assert!(lines("debug").contains("DEBUG polled"));
    assert!(!lines("info").contains("DEBUG") && lines("info").contains(" INFO collecting"));
    assert!(!lines("off").contains("INFO") && lines("off").contains("sockeye: 1 polls, "));
}

#[test]
fn without_a_journal_it_is_refused_by_name_and_auto_uses_stderr() {
    if std::path::Path::new("/run/systemd/journal/socket").exists() {
        return;
    }
    let refused = output(&[&ONCE[..], &["--log-to", "journald"]].concat());
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).starts_with("sockeye: --log-to journald: "));
    let auto = sockeye().args(ONCE).env("JOURNAL_STREAM", "1:2").output().unwrap();
    assert!(text(&auto.stderr).contains(" INFO collecting"));
}

/// A journal of our own, at its place in a mount namespace of our own.
#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn the_journal_gets_fields_and_priorities() {
    let directory = tempfile::tempdir().unwrap();
    let socket = UnixDatagram::bind(directory.path().join("socket")).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let script = "mkdir -p /run/systemd/journal && mount --bind \"$1\" /run/systemd/journal && shift && exec \"$@\"";
    let arguments = [&ONCE[..], &["--log-to", "journald", "--columns", "mark"]].concat();
    let status = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(directory.path())
        // Without the privilege that the column takes, there is something to warn of.
        .args(["setpriv", "--bounding-set=-net_admin", env!("CARGO_BIN_EXE_sockeye")])
        .args(arguments)
        .output()
        .unwrap();
    assert_eq!(status.status.code(), Some(0), "{}", text(&status.stderr));
    assert_eq!(text(&status.stderr), "");
    let mut entries = Vec::new();
    socket.set_nonblocking(true).unwrap();
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length) = socket.recv(&mut buffer) {
        // The first one is empty: a try whether the journal is there.
        if length > 0 {
            entries.push(fields(&buffer[..length]));
        }
    }
    let of = |words: &str| {
        let has = |entry: &&BTreeMap<String, String>| entry["MESSAGE"].contains(words);
        entries.iter().find(has).unwrap_or_else(|| panic!("{entries:?}"))
    };
    let collecting = of("collecting");
    assert_eq!(collecting["PRIORITY"], "6");
    assert_eq!(collecting["SYSLOG_IDENTIFIER"], "sockeye");
    assert_eq!(collecting["SOCKEYE_DESTINATIONS"], "null");
    assert_eq!(of("CAP_NET_ADMIN")["PRIORITY"], "4");
    assert_eq!(of("null: read ")["PRIORITY"], "6");
}

/// An entry as the journal's protocol has it: `NAME=value`, or the name, the value's length and the value.
fn fields(mut entry: &[u8]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    while let Some(end) = entry.iter().position(|byte| *byte == b'\n') {
        let line = text(&entry[..end]);
        entry = &entry[end + 1..];
        if let Some((name, value)) = line.split_once('=') {
            fields.insert(name.to_owned(), value.to_owned());
        } else {
            let length = u64::from_le_bytes(entry[..8].try_into().unwrap());
            let length = usize::try_from(length).unwrap();
            fields.insert(line, text(&entry[8..8 + length]));
            entry = &entry[8 + length + 1..];
        }
    }
    fields
}
