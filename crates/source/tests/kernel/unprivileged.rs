//! Without privileges: the own namespace is read whole, others are denied or not seen.

use std::process::Command;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sockeye_netns::ScanOptions;
use sockeye_pipeline::{Completeness, Incomplete};
use sockeye_source::sockdiag::Netlinkers::Fixed;
use sockeye_source::sockdiag::Settings;
use sockeye_testkit::netns::{Netns as _, TestNetns};

use crate::eye::{Eye, alone, connections, cookies, readers, settings, ss_cookies_here};

const CHILD: &str = "SOCKEYE_TEST_UNPRIVILEGED";

/// Runs one of the tests below as nobody, inside a namespace with ten connections; another has a name in /run/netns.
pub(crate) fn as_nobody(test: &str) {
    let _alone = alone();
    let own = TestNetns::new("own").unwrap();
    let other = TestNetns::new("other").unwrap();
    let _held = (connections(&own, 10), connections(&other, 1));
    // The target directory may be closed to others.
    let directory = tempfile::tempdir().unwrap();
    let binary = directory.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    for path in [directory.path(), &binary] {
        let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
        std::fs::set_permissions(path, mode).unwrap();
    }
    let inside = format!("--net={}", own.path().display());
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"];
    let output = Command::new("nsenter")
        .args([inside.as_str(), "setpriv"])
        .args(nobody)
        .arg(&binary)
        .args(["--exact", test, "--nocapture"])
        .current_dir("/")
        .env(CHILD, other.name())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}\n{errors}");
}

/// The name of the other namespace, in the child that [`as_nobody`] starts.
pub(crate) fn child() -> Option<String> {
    std::env::var(CHILD).ok()
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn nobody_reads_its_own_namespace_whole() {
    as_nobody("unprivileged::child_own_only");
}

#[test]
fn child_own_only() {
    let Some(_) = child() else { return };
    let scan = ScanOptions { own_only: true, ..ScanOptions::default() };
    for netlinkers in [1, 3] {
        let mut eye =
            Eye::new(Settings { scan: scan.clone(), netlinkers: Fixed(netlinkers), ..settings() });
        let poll = eye.poll();
        assert_eq!(poll.parts.len(), 1);
        assert_eq!(poll.parts[0].completeness, Completeness::Complete);
        let expected = ss_cookies_here();
        assert_eq!((cookies(&poll.rows()), expected.len()), (expected, 30));
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn nobody_is_denied_other_namespaces() {
    as_nobody("unprivileged::child_denied");
}

#[test]
fn child_denied() {
    let Some(other) = child() else { return };
    let mut eye = Eye::new(settings());
    let poll = eye.poll();
    let denied = Completeness::Incomplete(Incomplete::Denied);
    assert_eq!(poll.part(&other).completeness, denied);
    assert_eq!((poll.part(&other).rows, poll.part(&other).seen), (0, 0));
    let complete: Vec<_> =
        poll.parts.iter().filter(|part| part.completeness == Completeness::Complete).collect();
    assert_eq!((complete.len(), complete[0].rows), (1, 30));
    assert_eq!(poll.rows().len(), 30);
    // The processes of others, whose namespaces cannot even be told.
    assert!(eye.source.counters().totals().places_denied > 0);
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_host_without_a_thread_to_spare_says_so_and_is_read_when_there_is_one() {
    as_nobody("unprivileged::child_without_threads");
}

#[test]
fn child_without_threads() {
    let Some(_) = child() else { return };
    let scan = ScanOptions { own_only: true, ..ScanOptions::default() };
    let (soft, hard) = getrlimit(Resource::RLIMIT_NPROC).unwrap();
    for max_threads in [1, 64] {
        let mut eye = Eye::new(Settings { scan: scan.clone(), max_threads, ..settings() });
        setrlimit(Resource::RLIMIT_NPROC, 1, hard).unwrap();
        for _ in 0..2 {
            let poll = eye.poll();
            let why = Incomplete::Failed(Errno::EAGAIN as i32);
            assert_eq!(poll.parts.len(), 1);
            assert_eq!(poll.parts[0].completeness, Completeness::Incomplete(why));
            assert_eq!((poll.parts[0].rows, readers().len()), (0, 0));
        }
        setrlimit(Resource::RLIMIT_NPROC, soft, hard).unwrap();
        let poll = eye.poll();
        assert_eq!((poll.parts[0].completeness, poll.rows().len()), (Completeness::Complete, 30));
    }
}
