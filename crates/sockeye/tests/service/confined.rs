//! A daemon that has given up what it does not need: what is left to its threads, and that everything works.

use std::fs;
use std::path::Path;

use sockeye_testkit::netns::{Netns, TestNetns, enter, require_root};

use crate::common::{Daemon, eventually, sockeye};
use crate::{OFTEN, SOON, Said};

/// A line of every thread's status, by the thread's name.
fn of_threads(daemon: &Daemon, line: &str) -> Vec<(String, String)> {
    let threads = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let mut all: Vec<(String, String)> = threads
        .filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).ok())
        .map(|status| {
            let of = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:\t")));
                line.unwrap_or_else(|| panic!("no {name}")).to_owned()
            };
            (of("Name"), of(line))
        })
        .collect();
    all.sort();
    all
}

fn start(directory: &Path, arguments: &[&str]) -> (Daemon, Said) {
    let mut command = sockeye();
    command.current_dir(directory).arg("run").args(OFTEN).args(arguments);
    let mut daemon = Daemon::spawn(&mut command);
    let said = Said::by(&mut daemon);
    said.wait("collecting");
    (daemon, said)
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn every_thread_is_left_with_what_is_wanted() {
    require_root();
    let directory = tempfile::tempdir().unwrap();
    let (admin_ptrace, net_admin) = ("0000000000280000", "0000000000281000");
    for (arguments, capabilities, filters) in [
        (&["--columns", "netns"][..], admin_ptrace, "2"),
        (&[], net_admin, "2"),
        (&["--deserializers", "info"], admin_ptrace, "2"),
        (&["--own-netns-only", "--columns", "netns"], "0000000000000000", "2"),
        (&["--seccomp=false", "--columns", "netns"], admin_ptrace, "0"),
    ] {
        let to_file = [&["--dest", "file:rows", "--dest", "null"][..], arguments].concat();
        let (daemon, said) = start(directory.path(), &to_file);
        eventually(SOON, "rows", || {
            fs::read(directory.path().join("rows")).is_ok_and(|it| !it.is_empty())
        });
        assert!(of_threads(&daemon, "Seccomp").len() > 4);
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            for (thread, has) in of_threads(&daemon, set) {
                assert_eq!(has, capabilities, "{arguments:?} {set} {thread}: {}", said.text());
            }
        }
        for (set, expected) in [
            ("CapInh", "0000000000000000"),
            ("CapAmb", "0000000000000000"),
            ("NoNewPrivs", "1"),
            ("Seccomp", filters),
        ] {
            for (thread, has) in of_threads(&daemon, set) {
                assert_eq!(has, expected, "{arguments:?} {set} {thread}");
            }
        }
        drop(daemon);
        fs::remove_file(directory.path().join("rows")).unwrap();
    }
    let (daemon, _) = start(
        directory.path(),
        &["--drop-capabilities=false", "--seccomp=false", "--landlock=false", "--dest", "null"],
    );
    for (thread, has) in of_threads(&daemon, "NoNewPrivs") {
        assert_eq!(has, "0", "{thread}");
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn confined_it_rotates_opens_again_reloads_and_reads_namespaces_that_come_later() {
    require_root();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("s.toml"), "label = \"one\"\n").unwrap();
    for io_uring in ["--io-uring=false", "--io-uring=true"] {
        let (daemon, said) = start(
            directory.path(),
            &[
                "--config",
                "s.toml",
                "--columns",
                "netns,label",
                "--dest",
                "file:rows",
                "--dest",
                "file:p-%Y%m%dT%H%M%S.jsonl",
                "--file-rotate-bytes",
                "2000",
                "--envelope-flush-bytes",
                "1000",
                io_uring,
            ],
        );
        let netns = TestNetns::new("later").unwrap();
        let _listener =
            enter(&netns.path(), || std::net::TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        let has = |name: &str, words: &str| {
            fs::read_to_string(path(name)).is_ok_and(|it| it.contains(words))
        };
        eventually(SOON, "the namespace", || {
            let files = fs::read_dir(directory.path()).unwrap();
            files
                .into_iter()
                .any(|file| has(file.unwrap().file_name().to_str().unwrap(), netns.name()))
        });
        eventually(SOON, "rotation", || {
            let files = fs::read_dir(directory.path()).unwrap();
            files
                .filter(|file| {
                    file.as_ref().unwrap().path().extension().is_some_and(|it| it == "jsonl")
                })
                .count()
                > 1
        });
        fs::rename(path("rows"), path("moved")).unwrap();
        fs::write(path("s.toml"), "label = \"two\"\n").unwrap();
        daemon.signal("HUP");
        said.wait("reloaded: it holds from the next poll on changed=label");
        eventually(SOON, "rows with the new label", || has("rows", "\"two\""));
        fs::write(path("s.toml"), "label = \"one\"\n").unwrap();
        daemon.signal("TERM");
        assert_eq!(daemon.wait(SOON).0, Some(0), "{}", said.text());
        // A poll between the move and the signal finds that the file has gone.
        let moved = "WARN moved away by somebody else: left as it is path=rows";
        // And a host that has something else to do is no fault of ours.
        let late = "WARN polls take longer than the frequency";
        let odd =
            |line: &str| line.contains("WARN") && !line.contains(moved) && !line.contains(late);
        assert!(!said.text().lines().any(odd), "{}", said.text());
        for file in fs::read_dir(directory.path()).unwrap() {
            let file = file.unwrap().path();
            if !file.ends_with("s.toml") {
                fs::remove_file(file).unwrap();
            }
        }
    }
}

/// Destinations are restricted and readers are not: what a link leads to is allowed at the start, and no other place later.
#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_destination_can_not_be_led_to_another_directory() {
    require_root();
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let _listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let rows = directory.path().join("rows");
    for (landlock, led_away) in [("--landlock=false", true), ("--landlock=true", false)] {
        let (daemon, said) =
            start(directory.path(), &["--own-netns-only=false", "--dest", "file:rows", landlock]);
        eventually(SOON, "rows", || fs::read(&rows).is_ok_and(|it| !it.is_empty()));
        fs::remove_file(&rows).unwrap();
        let target = elsewhere.path().join("stolen");
        fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, &rows).unwrap();
        daemon.signal("HUP");
        if led_away {
            eventually(SOON, "rows there", || fs::read(&target).is_ok_and(|it| !it.is_empty()));
        } else {
            said.wait("Permission denied");
            assert_eq!(fs::read(&target).unwrap(), b"");
        }
        drop(daemon);
        fs::remove_file(&rows).unwrap();
        fs::remove_file(&target).unwrap();
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn root_keeps_the_right_to_write_where_others_directories_are_and_only_there() {
    require_root();
    let directory = tempfile::tempdir().unwrap();
    let theirs = directory.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    nix::unistd::chown(&theirs, Some(65534.into()), Some(65534.into())).unwrap();
    fs::set_permissions(&theirs, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    for (dest, kept) in [
        ("file:theirs/rows", "kept=CAP_DAC_OVERRIDE CAP_SYS_PTRACE CAP_SYS_ADMIN"),
        ("file:rows", "kept=CAP_SYS_PTRACE CAP_SYS_ADMIN"),
    ] {
        let _listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (daemon, said) = start(directory.path(), &["--columns", "netns", "--dest", dest]);
        assert!(said.text().contains(kept), "{}", said.text());
        let file = directory.path().join(dest.trim_start_matches("file:"));
        eventually(SOON, "rows", || fs::read(&file).is_ok_and(|it| !it.is_empty()));
        drop(daemon);
    }
}
