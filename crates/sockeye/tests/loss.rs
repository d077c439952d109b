//! What is lost is said while it is being lost, and a log that can't be written is no reason to end.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs::{self, OpenOptions};
use std::process::Stdio;
use std::time::Duration;

use common::{Daemon, SOON, listeners, sockeye};

#[test]
fn a_sink_that_loses_rows_beside_one_that_does_not_is_named_with_the_reason() {
    let _listeners = listeners();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rows.jsonl");
    let dest = format!("file:{}", file.display());
    // Nobody reads stdout, and its queue is small. The file's is not: a slow host is no reason for it to lose a row.
    let config = directory.path().join("sockeye.toml");
    let sinks = format!(
        "[[sink]]\ndest = \"stdout\"\nqueue-bytes = 16384\n\n[[sink]]\ndest = \"{dest}\"\n"
    );
    fs::write(&config, sinks).unwrap();
    let daemon = Daemon::start(&[
        "--config",
        &config.display().to_string(),
        "--own-netns-only",
        "--frequency",
        "200ms",
        "--timeout",
        "100ms",
        "--max-loops",
        "10",
        "--envelope-flush-bytes",
        "8192",
        "--shutdown-timeout",
        "3s",
    ]);
    std::thread::sleep(Duration::from_secs(3));
    daemon.signal("TERM");
    let (code, said) = daemon.wait(SOON);
    assert_eq!(code, Some(0), "{said}");
    let warned =
        said.lines().find(|line| line.contains("rows dropped")).unwrap_or_else(|| panic!("{said}"));
    assert!(warned.contains("WARN") && warned.contains("sink=\"stdout\""), "{warned}");
    assert!(
        warned.contains("reason=\"queue_full\"") || warned.contains("reason=\"high_water\""),
        "{warned}"
    );
    assert!(!said.contains(&format!("sink=\"{dest}\"")), "{said}");
    let written = common::rows(&fs::read(&file).unwrap()).len();
    assert!(
        said.contains(&format!(
            "{dest}: read {written} = delivered {written} + dropped 0 + in flight 0"
        )),
        "{said}"
    );
}

#[test]
fn a_log_that_can_not_be_written_does_not_end_the_daemon() {
    let _listeners = listeners();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rows.jsonl");
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    for stderr in [Stdio::from(full), Stdio::from(closed)] {
        let _ = fs::remove_file(&file);
        let mut command = sockeye();
        command.args([
            "run",
            "--own-netns-only",
            "--max-loops",
            "2",
            "--frequency",
            "100ms",
            "--timeout",
            "50ms",
        ]);
        command.args(["--log-level", "trace", "--dest", &format!("file:{}", file.display())]);
        let status = command.stdout(Stdio::null()).stderr(stderr).status().unwrap();
        assert_eq!(status.code(), Some(0));
        assert!(common::rows(&fs::read(&file).unwrap()).len() >= 60);
    }
}

#[test]
fn a_flag_goes_before_the_tables_of_the_file() {
    let _listeners = listeners();
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("sockeye.toml");
    let rows = directory.path().join("rows");
    let table = format!(
        "[[sink]]\ndest = \"file:{}\"\nmarshal = \"csv\"\ncolumns = \"netns\"\n",
        rows.display()
    );
    fs::write(&config, table).unwrap();
    let config = config.display().to_string();
    common::stdout(&[
        "run",
        "--own-netns-only",
        "--max-loops",
        "1",
        "--config",
        &config,
        "--marshal",
        "jsonl",
    ]);
    let row = &common::rows(&fs::read(&rows).unwrap())[0];
    assert_eq!(row.keys().collect::<Vec<_>>(), ["netns"], "what no flag says is the table's");
    let printed = common::text(&common::stdout(&[
        "run",
        "--config",
        &config,
        "--marshal",
        "jsonl",
        "--print-config",
    ]));
    let table = printed.rsplit("[[sink]]").next().unwrap();
    assert!(table.contains("columns = \"netns\"") && !table.contains("marshal"), "{printed}");
}

#[test]
fn names_for_people_in_a_table_are_refused_where_its_format_has_no_place_for_them() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("sockeye.toml");
    fs::write(&config, "[[sink]]\ndest = \"null\"\nmarshal = \"msgpack\"\nhumanize = true\n")
        .unwrap();
    let output = common::output(&["run", "--config", &config.display().to_string()]);
    assert_eq!(output.status.code(), Some(2));
    let place = format!("{}: [[sink]] 1", config.display());
    assert_eq!(
        common::text(&output.stderr),
        format!(
            "sockeye: {place}: --humanize has no effect on msgpack; allowed: with jsonl, csv, tsv and table\n"
        )
    );
}
