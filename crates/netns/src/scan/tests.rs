//! Scans of a directory that looks like procfs, and of the real one.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;

use nix::unistd::mkfifo;

use super::*;
use crate::Container;
use crate::fake::FakeProc;
use crate::remembered;

fn scan(options: ScanOptions) -> Scan {
    Scanner::new(options).scan()
}

fn find(scan: &Scan, id: NetnsId) -> &Netns {
    scan.namespaces.iter().find(|netns| netns.id == id).unwrap()
}

fn own_id() -> NetnsId {
    sockeye_sys::netns::current().unwrap()
}

#[test]
fn an_entry_that_can_not_be_followed_hides_nothing_but_itself() {
    let fake = FakeProc::new();
    fake.real_mount("blue");
    symlink("loop", fake.mounts().join("loop")).unwrap();
    let scan = Scanner::new(fake.options()).scan();
    assert_eq!((scan.incomplete, scan.stats.failed, scan.stats.mounts), (None, 1, 1));
}

#[test]
fn a_guessed_default_is_not_the_default_when_it_has_a_name() {
    let (own, other) = (NetnsId { device: 4, inode: 1 }, NetnsId { device: 4, inode: 2 });
    assert!(DefaultNetns::Guess(own).is(own, false) && !DefaultNetns::Guess(own).is(own, true));
    assert!(DefaultNetns::Init(own).is(own, true) && !DefaultNetns::Init(own).is(other, false));
}

#[test]
fn processes_are_grouped_by_namespace_and_four_are_kept() {
    let fake = FakeProc::new();
    let (host, pod) = (fake.namespace("host"), fake.namespace("pod"));
    fake.process(1, "host").own("host");
    for pid in [99, 100, 7, 23, 1000, 8] {
        fake.process(pid, "pod");
    }
    let scan = scan(fake.options());
    assert_eq!(scan.namespaces.len(), 2);
    assert_eq!(scan.stats, ScanStats { processes: 7, ..ScanStats::default() });
    assert_eq!(scan.incomplete, None);
    let pod = find(&scan, pod);
    assert_eq!(pod.origins, [7, 8, 23, 99].map(Origin::Process));
    assert_eq!((pod.pid, pod.processes, pod.is_default), (Some(7), 6, false));
    assert_eq!(pod.name, pod.id.to_string().into());
    let host = find(&scan, host);
    assert_eq!(host.origins, [Origin::Own, Origin::Process(1)]);
    assert_eq!((&*host.name, host.is_default), ("default", true));
}

#[test]
fn namespaces_come_in_the_order_of_their_identity() {
    let fake = FakeProc::new();
    fake.own("a");
    for (pid, name) in [(3, "a"), (2, "b"), (1, "c")] {
        fake.namespace(name);
        fake.process(pid, name);
    }
    let ids: Vec<_> = scan(fake.options()).namespaces.iter().map(|netns| netns.id).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.is_sorted());
}

#[test]
fn kernel_threads_are_counted_by_later_scans_and_not_looked_at() {
    let fake = FakeProc::new();
    let (host, pod) = (fake.namespace("host"), fake.namespace("pod"));
    let kworker =
        remembered::tests::stat("kworker/0:1", 2, remembered::tests::KWORKER, 0x7fff_ffff);
    fake.own("host").process(1, "host").process(7, "host").stat(7, &kworker);
    fake.process(8, "host").stat(8, &remembered::tests::stat("sh", 1, 0, 0));
    // No kernel thread is in any other namespace.
    fake.process(10, "pod").stat(10, &kworker);
    let mut scanner = Scanner::new(fake.options());
    let (first, second) = (scanner.scan(), scanner.scan());
    assert_eq!((first.stats.processes, &first), (4, &second));
    // Where they lead is not looked at any more; where others do is.
    fake.enter(7, "pod").enter(8, "pod").enter(10, "host");
    let third = scanner.scan();
    assert_eq!(find(&third, host).pids().collect::<Vec<_>>(), [1, 7, 10]);
    assert_eq!(find(&third, pod).pids().collect::<Vec<_>>(), [8]);
    // Another process has the id.
    fake.process(9, "pod").rename(7, 70).rename(9, 7).end(70);
    let fourth = scanner.scan();
    assert_eq!(find(&fourth, host).pids().collect::<Vec<_>>(), [1, 10]);
    assert_eq!(find(&fourth, pod).pids().collect::<Vec<_>>(), [7, 8]);
    assert_eq!(fourth.stats, ScanStats { processes: 4, ..ScanStats::default() });
}

/// The children of `kthreadd`; none where process 2 is another one, as in a process namespace of its own.
fn kernel_threads() -> BTreeSet<u32> {
    let status = |pid: u32| fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    if !status(2).starts_with("Name:\tkthreadd\n") {
        return BTreeSet::new();
    }
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| status(*pid).contains("\nPPid:\t2\n")).collect()
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn of_real_processes_kernel_threads_alone_are_remembered_as_such() {
    let mut scanner = Scanner::new(ScanOptions::default());
    let before = kernel_threads();
    let scans = [scanner.scan(), scanner.scan(), scanner.scan()];
    let after = kernel_threads();
    assert!(scans.iter().all(|scan| scan.incomplete.is_none()));
    let remembered: BTreeSet<u32> = scanner
        .processes
        .iter()
        .filter(|process| process.kernel_threads_netns().is_some())
        .map(|process| process.listed.pid)
        .collect();
    // Some may have come or gone meanwhile.
    let (all, any) = (&before & &after, &before | &after);
    assert!(remembered.is_subset(&any), "{remembered:?} {any:?}");
    // Those that handle a signal are looked at like any process.
    let signals = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        !status.contains("\nSigIgn:\tffffffffffffffff\n")
    };
    let missed: Vec<_> = all.difference(&remembered).filter(|pid| !signals(pid)).collect();
    assert_eq!(missed, [&0; 0], "{remembered:?}");
}

#[test]
fn a_second_scan_starts_from_nothing() {
    let fake = FakeProc::new();
    fake.own("host").process(1, "host").process(5, "pod");
    let (host, pod) = (fake.namespace("host"), fake.namespace("pod"));
    let mut scanner = Scanner::new(fake.options());
    assert_eq!(scanner.scan().namespaces.len(), 2);
    fake.end(5).process(6, "host");
    let second = scanner.scan();
    assert_eq!(second.namespaces.len(), 1);
    assert_eq!(find(&second, host).processes, 2);
    assert!(second.namespaces.iter().all(|netns| netns.id != pod));
}

#[test]
fn a_namespace_without_a_mount_is_named_by_its_container() {
    let fake = FakeProc::new();
    let pod = fake.namespace("pod");
    fake.own("host").process(7, "pod").docker(7, 'c');
    fake.namespace("host");
    let scan = scan(fake.options());
    assert_eq!(*find(&scan, pod).name, "c".repeat(64));
    assert_eq!(
        find(&scan, pod).container,
        Container::from_cgroup(format!("0::/docker/{}", "c".repeat(64)).as_bytes())
    );
}

#[test]
fn where_process_one_cannot_be_read_our_own_namespace_is_the_default() {
    let fake = FakeProc::new();
    let (own, other) = (fake.namespace("own"), fake.namespace("other"));
    fake.own("own").process(7, "other");
    let scan = scan(fake.options());
    assert_eq!((&*find(&scan, own).name, find(&scan, own).is_default), ("default", true));
    assert_eq!(find(&scan, own).origins, [Origin::Own]);
    assert!(!find(&scan, other).is_default);
}

#[test]
fn where_process_one_is_elsewhere_our_own_namespace_is_not_the_default() {
    let fake = FakeProc::new();
    let (own, host) = (fake.namespace("own"), fake.namespace("host"));
    let id = "d".repeat(64);
    fake.own("own").cgroup("thread-self", &format!("0::/docker/{id}\n")).process(1, "host");
    let scan = scan(fake.options());
    assert_eq!((&*find(&scan, own).name, find(&scan, own).is_default), (id.as_str(), false));
    assert!(find(&scan, host).is_default);
}

#[test]
fn a_mount_that_was_replaced_since_the_last_scan_is_looked_at_again() {
    let fake = FakeProc::new();
    fake.namespace("host");
    fake.own("host").process(1, "host").real_mount("blue").real_mount("red");
    let mut scanner = Scanner::new(fake.options());
    let (first, second) = (scanner.scan(), scanner.scan());
    assert_eq!((first.stats.mounts, &first), (2, &second));
    fake.unmount("blue").plain_mount("blue").unmount("red");
    let third = scanner.scan();
    assert_eq!((third.stats.mounts, third.stats.not_nsfs), (0, 1));
    fake.unmount("blue").real_mount("blue");
    assert_eq!(scanner.scan().stats.mounts, 1);
}

#[test]
fn own_only_looks_at_no_process_and_drops_foreign_mounts() {
    let fake = FakeProc::new();
    let own = fake.namespace("own");
    fake.own("own").process(1, "own").process(7, "other").real_mount("blue");
    let scan = scan(ScanOptions { own_only: true, ..fake.options() });
    assert_eq!(scan.namespaces.len(), 1);
    let netns = find(&scan, own);
    assert_eq!(
        (netns.origins.as_slice(), netns.pid, netns.processes),
        (&[Origin::Own][..], None, 0)
    );
    assert_eq!(scan.stats.processes, 0);
}

#[test]
fn a_mount_names_its_namespace_by_the_order_of_directories_then_the_alphabet() {
    let fake = FakeProc::new();
    let first = tempfile::tempdir().unwrap();
    fake.namespace("host");
    fake.own("host").process(1, "host").real_mount("a");
    for name in ["red", "blue"] {
        symlink("/proc/self/ns/net", first.path().join(name)).unwrap();
    }
    let mount_dirs = vec![first.path().to_owned(), fake.mounts()];
    let scan = scan(ScanOptions { mount_dirs, ..fake.options() });
    let netns = find(&scan, own_id());
    assert_eq!(&*netns.name, "blue");
    let paths = [first.path().join("blue"), first.path().join("red"), fake.mounts().join("a")];
    assert_eq!(netns.origins, paths.map(Origin::Mount));
    assert_eq!((netns.pid, netns.processes, scan.stats.mounts), (None, 0, 3));
}

#[test]
fn a_directory_that_is_configured_twice_counts_once() {
    let fake = FakeProc::new();
    let alias = fake.root().join("alias");
    symlink(fake.mounts(), &alias).unwrap();
    fake.namespace("host");
    fake.own("host").real_mount("blue");
    let mount_dirs = vec![fake.mounts(), alias];
    let scan = scan(ScanOptions { mount_dirs, ..fake.options() });
    assert_eq!(find(&scan, own_id()).origins, [Origin::Mount(fake.mounts().join("blue"))]);
    assert_eq!(scan.stats.mounts, 1);
}

#[test]
fn what_is_not_a_network_namespace_is_counted_by_reason() {
    let fake = FakeProc::new();
    fake.namespace("host");
    fake.own("host").process(1, "host").plain_mount("file");
    fs::create_dir(fake.mounts().join("directory")).unwrap();
    mkfifo(&fake.mounts().join("fifo"), Mode::S_IRWXU).unwrap();
    symlink("/dev/null", fake.mounts().join("device")).unwrap();
    symlink("/proc/self/ns/uts", fake.mounts().join("uts")).unwrap();
    symlink("/no/such/file", fake.mounts().join("dangling")).unwrap();
    fs::create_dir(fake.root().join("77")).unwrap();
    let scan = scan(fake.options());
    let expected =
        ScanStats { processes: 1, not_nsfs: 4, other_kind: 1, gone: 2, ..ScanStats::default() };
    assert_eq!(scan.stats, expected);
    assert_eq!((scan.namespaces.len(), scan.incomplete), (1, None));
}

#[test]
fn a_process_whose_leader_ended_is_found_through_a_thread() {
    let fake = FakeProc::new();
    let pod = fake.namespace("pod");
    fake.namespace("host");
    fake.own("host").link("40/task/41", &fake.namespace_path("pod"));
    fs::create_dir_all(fake.root().join("40/task/40/ns")).unwrap();
    let scan = scan(fake.options());
    assert_eq!(find(&scan, pod).origins, [Origin::Process(41)]);
    assert_eq!((scan.stats.processes, scan.stats.gone), (1, 0));
}

#[test]
fn missing_directories_are_normal() {
    let fake = FakeProc::new();
    fake.namespace("host");
    fake.own("host").process(1, "host").plain_mount("file");
    let mount_dirs = vec![fake.mounts().join("missing"), fake.mounts().join("file/below")];
    let scan = scan(ScanOptions { mount_dirs, ..fake.options() });
    assert_eq!(scan.stats, ScanStats { processes: 1, ..ScanStats::default() });
    assert_eq!(scan.incomplete, None);
}

#[test]
fn a_scan_without_procfs_says_that_it_is_incomplete() {
    let fake = FakeProc::new();
    let proc_root = fake.mounts().join("missing");
    let scan = scan(ScanOptions { proc_root, ..fake.options() });
    assert_eq!(scan.incomplete, Some(Errno::ENOENT));
    assert_eq!((scan.namespaces.len(), scan.stats.failed), (0, 1));
}

#[test]
fn a_real_scan_finds_the_own_namespace_with_this_process() {
    let scan = scan(ScanOptions::default());
    let own = find(&scan, own_id());
    assert!(own.origins.contains(&Origin::Own));
    assert!(own.processes >= 1);
    assert_eq!(scan.namespaces.iter().filter(|netns| netns.is_default).count(), 1);
}
