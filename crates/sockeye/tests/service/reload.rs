//! SIGHUP: what can change does, from one poll to the next, and no row is lost or mixed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::{Daemon, eventually, sockeye};
use crate::{OFTEN, SOON, Said};

fn start(directory: &Path, arguments: &[&str]) -> (Daemon, Said) {
    let mut command = sockeye();
    command.current_dir(directory).args(["run", "--config", "s.toml", "--own-netns-only"]);
    let mut daemon = Daemon::spawn(command.args(OFTEN).args(arguments));
    let said = Said::by(&mut daemon);
    (daemon, said)
}

fn end(daemon: Daemon, said: &Said) {
    daemon.signal("TERM");
    let (code, _) = daemon.wait(SOON);
    assert_eq!(code, Some(0), "{}", said.text());
    said.wait(": read ");
}

#[test]
fn labels_columns_and_filter_change_between_two_polls_and_every_row_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let _listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let file = directory.path().join("s.toml");
    let rows = directory.path().join("rows");
    let write = |content: &str| fs::write(&file, content).unwrap();
    let lines = || fs::read_to_string(&rows).unwrap_or_default();
    write("label = \"one\"\ncolumns = [\"label\", \"timestamp_ns\"]\n");
    let (daemon, said) = start(directory.path(), &["--dest", "file:rows"]);
    eventually(SOON, "rows", || lines().contains("one"));
    write("label = \"two\"\ncolumns = [\"label\", \"timestamp_ns\", \"tag\"]\ntag = \"t\"\n");
    daemon.signal("HUP");
    said.wait("reloaded: it holds from the next poll on changed=columns, label, tag");
    eventually(SOON, "rows with two", || lines().contains("two"));
    write("label = \"three\"\nfilter = \"state nonsense\"\n");
    daemon.signal("HUP");
    said.wait("not reloaded: the configuration is wrong; the one before stays in force");
    let before = lines().matches("\"two\"").count();
    eventually(SOON, "polls go on", || lines().matches("\"two\"").count() > before);
    write(
        "label = \"two\"\ncolumns = [\"label\", \"timestamp_ns\", \"tag\"]\ntag = \"t\"\nqueue-bytes = \"8MiB\"\n",
    );
    daemon.signal("HUP");
    said.wait("these are read at start only: restart for their new values options=queue-bytes");
    said.wait("reloaded: nothing that can change has changed");
    end(daemon, &said);

    let lines = lines();
    let parsed: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let labels: Vec<&str> = parsed.iter().map(|row| row["label"].as_str().unwrap()).collect();
    let change = labels.iter().position(|label| *label == "two").unwrap();
    assert!(labels[..change].iter().all(|label| *label == "one"));
    assert!(labels[change..].iter().all(|label| *label == "two"));
    for (row, label) in parsed.iter().zip(&labels) {
        assert_eq!(row.get("tag").is_some(), *label == "two", "{row}");
    }
    // No poll has rows of both.
    let times = |part: &[Value]| -> BTreeSet<u64> {
        part.iter().map(|row| row["timestamp_ns"].as_u64().unwrap()).collect()
    };
    assert!(times(&parsed[..change]).is_disjoint(&times(&parsed[change..])));
    let ledger = format!("file:rows: read {0} = delivered {0} + dropped 0", parsed.len());
    assert!(said.text().contains(&ledger), "{ledger}: {}", said.text());
}

#[test]
fn a_csv_with_other_columns_is_another_file_with_a_header_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let _listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let file = directory.path().join("s.toml");
    fs::write(&file, "columns = \"label,netns\"\nlabel = \"one\"\n").unwrap();
    let (daemon, said) = start(directory.path(), &["--dest", "file:rows.csv", "--marshal", "csv"]);
    let files = || -> Vec<String> {
        let entries = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
        let csv = entries.filter(|path| path.extension().is_some_and(|it| it == "csv"));
        csv.map(|path| fs::read_to_string(path).unwrap()).collect()
    };
    eventually(SOON, "rows", || files().iter().any(|file| file.contains("one,")));
    fs::write(&file, "columns = \"netns,label,tag\"\nlabel = \"two\"\n").unwrap();
    daemon.signal("HUP");
    eventually(SOON, "rows with two", || files().iter().any(|file| file.contains(",two,")));
    end(daemon, &said);
    let files = files();
    assert_eq!(files.len(), 2, "{files:?}");
    for file in files {
        let (header, rows) = file.split_once("\r\n").or_else(|| file.split_once('\n')).unwrap();
        let (columns, label) = match header {
            "label,netns" => (2, "one"),
            "netns,label,tag" => (3, "two"),
            other => panic!("{other}"),
        };
        assert!(!rows.is_empty());
        for row in rows.lines() {
            assert_eq!(row.split(',').count(), columns, "{row}");
            assert!(row.contains(label), "{row}");
        }
    }
}

#[test]
fn a_new_frequency_does_not_wait_for_the_end_of_the_old_one_and_the_level_changes() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("s.toml");
    fs::write(&file, "frequency = \"1h\"\nown-netns-only = true\n").unwrap();
    let mut command = sockeye();
    command.current_dir(directory.path());
    command.args(["run", "--config", "s.toml", "--dest", "null", "--listen=off"]);
    let mut daemon = Daemon::spawn(&mut command);
    let said = Said::by(&mut daemon);
    said.wait("collecting");
    fs::write(&file, "frequency = \"300ms\"\ntimeout = \"100ms\"\nlog-level = \"debug\"\nown-netns-only = true\n")
        .unwrap();
    daemon.signal("HUP");
    said.wait("changed=frequency, log-level, timeout");
    said.wait_times("DEBUG polled", 3);
    end(daemon, &said);
}

#[test]
fn flags_stay_before_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("s.toml");
    fs::write(&file, "label = \"file\"\n").unwrap();
    let (daemon, said) = start(directory.path(), &["--dest", "null", "--label", "flag"]);
    said.wait("collecting");
    fs::write(&file, "label = \"other\"\n").unwrap();
    daemon.signal("HUP");
    said.wait("reloaded: nothing that can change has changed");
    end(daemon, &said);
}
