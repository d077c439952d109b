//! Threads and descriptors: within the limit, gone with their namespaces, and gone with the source.

use std::time::Duration;
use std::{fs, thread};

use sockeye_source::sockdiag::Netlinkers::Fixed;
use sockeye_source::sockdiag::Settings;
use sockeye_testkit::netns::{Netns as _, inode_of, own_path};
use sockeye_testkit::netns_anonymous::AnonymousNetns;
use sockeye_testkit::procfs;

use crate::eye::{Eye, SOON, alone, readers, settings, with_listeners, within};

fn thread_of(inode: u64) -> String {
    format!("nl-{inode}")
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn more_namespaces_than_threads_are_all_read_by_no_more_threads_than_allowed() {
    let _alone = alone();
    let namespaces = with_listeners("many", 30);
    for max_threads in [1, 4, 6] {
        let mut eye = Eye::new(Settings { max_threads, ..settings() });
        for _ in 0..2 {
            let poll = eye.poll();
            for (netns, _) in &namespaces {
                assert_eq!(poll.rows_of(netns).len(), 1, "{max_threads}");
                assert_eq!(poll.part(netns.name()).rows, 1);
                poll.assert_complete(netns.name());
            }
            assert_eq!(readers().len(), max_threads, "{:?}", readers());
        }
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn the_hosts_own_namespace_is_the_first_to_get_a_thread_of_its_own() {
    let _alone = alone();
    let _namespaces = with_listeners("crowd", 3);
    // Four are shared; one is left.
    let mut eye = Eye::new(Settings { max_threads: 5, ..settings() });
    eye.poll();
    let host = thread_of(inode_of(&own_path()).unwrap());
    let own: Vec<String> = readers().into_iter().filter(|name| !name.contains("pool")).collect();
    assert_eq!(own, [host]);
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn threads_go_with_their_namespaces_at_the_next_poll() {
    let _alone = alone();
    let mut namespaces = with_listeners("leave", 3);
    let anonymous = AnonymousNetns::new().unwrap();
    let mut eye = Eye::new(Settings { max_threads: 4096, ..settings() });
    eye.poll();
    let (named, unnamed) =
        (thread_of(namespaces[0].0.inode().unwrap()), thread_of(anonymous.inode().unwrap()));
    let stays = thread_of(namespaces[1].0.inode().unwrap());
    for name in [&named, &unnamed, &stays] {
        assert!(readers().contains(name), "{:?}", readers());
    }
    drop(namespaces.remove(0));
    drop(anonymous);
    eye.poll();
    assert!(!readers().contains(&named) && !readers().contains(&unnamed), "{:?}", readers());
    assert!(readers().contains(&stays));
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn between_polls_the_watcher_ends_and_starts_the_threads_of_named_namespaces() {
    let _alone = alone();
    let mut namespaces = with_listeners("watch", 2);
    let mut eye = Eye::new(Settings { max_threads: 4096, ..settings() });
    eye.source.watch(vec!["/run/netns".into()]);
    eye.poll();
    let gone = thread_of(namespaces[0].0.inode().unwrap());
    assert!(readers().contains(&gone));
    drop(namespaces.remove(0));
    within(Duration::from_secs(1), "the thread ends", || !readers().contains(&gone));
    namespaces.extend(with_listeners("watch", 1));
    let new = thread_of(namespaces[1].0.inode().unwrap());
    within(Duration::from_secs(2), "a thread begins", || readers().contains(&new));
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn threads_and_descriptors_are_gone_when_the_source_is_dropped() {
    let _alone = alone();
    let _namespaces = with_listeners("drop", 12);
    let pid = std::process::id();
    let counts = || (procfs::file_descriptors(pid).unwrap(), readers());
    // Every thread that has looked where it is keeps its directory in procfs open, this one too.
    sockeye_sys::netns::current().unwrap();
    let before = counts();
    assert_eq!(before.1, [""; 0]);
    for (max_threads, netlinkers) in [(4, 1), (64, 1), (64, 3)] {
        let mut eye =
            Eye::new(Settings { max_threads, netlinkers: Fixed(netlinkers), ..settings() });
        eye.source.watch(vec!["/run/netns".into()]);
        for _ in 0..3 {
            eye.poll();
        }
        let idle = procfs::file_descriptors(pid).unwrap();
        eye.poll();
        assert_eq!(procfs::file_descriptors(pid).unwrap(), idle, "a poll leaves nothing open");
        drop(eye);
        // The kernel shows a thread for a moment after it was waited for.
        within(SOON, "threads and descriptors are gone", || {
            let names = procfs::thread_names(pid).unwrap();
            counts() == before && !names.contains(&"netns-watch".to_owned())
        });
    }
}

/// How often a thread has gone to sleep.
fn sleeps(name: &str) -> u64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let mut named = tasks.filter(|task| {
        fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    });
    let status = fs::read_to_string(named.next().unwrap().join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn namespaces_that_are_cheap_to_read_wake_no_thread_of_their_own_where_threads_are_shared() {
    let _alone = alone();
    let namespaces = with_listeners("cheap", 12);
    let mut eye = Eye::new(Settings { max_threads: 10, ..settings() });
    for _ in 0..4 {
        eye.poll();
    }
    // The threads that were woken have gone to sleep.
    thread::sleep(Duration::from_millis(100));
    // Others than these may be walked.
    let these: Vec<String> =
        namespaces.iter().map(|(netns, _)| thread_of(netns.inode().unwrap())).collect();
    let own: Vec<String> = readers().into_iter().filter(|name| these.contains(name)).collect();
    assert!(!own.is_empty(), "{:?}", readers());
    let before: Vec<u64> = own.iter().map(|name| sleeps(name)).collect();
    for _ in 0..5 {
        let poll = eye.poll();
        for (netns, _) in &namespaces {
            assert_eq!(poll.rows_of(netns).len(), 1);
        }
    }
    let after: Vec<u64> = own.iter().map(|name| sleeps(name)).collect();
    assert_eq!(after, before, "{own:?}");
}
