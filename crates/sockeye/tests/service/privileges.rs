//! Which capabilities are needed for what, what is said without them, and that users can have them.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use sockeye_testkit::netns::{Netns, TestNetns, enter, require_root};

use crate::common::{rows, string, text};

/// The binary where every user can run it.
struct Public(tempfile::TempDir);

impl Public {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), mode).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_sockeye"), directory.path().join("sockeye")).unwrap();
        Self(directory)
    }

    /// Runs it once by `setpriv`.
    fn run(&self, setpriv: &[&str], arguments: &[&str]) -> Output {
        let mut command = Command::new("setpriv");
        command.args(setpriv).arg(self.0.path().join("sockeye"));
        command.args(["run", "--max-loops", "1", "--listen=off", "--frequency", "20s"]);
        command.args(arguments).current_dir("/").output().unwrap()
    }
}

const ADMIN: &str = "only this network namespace is read: others need CAP_SYS_ADMIN (to enter them) and \
                     CAP_SYS_PTRACE (to find them in /proc); run as root to see all";
const PTRACE: &str = "network namespaces of other users' processes are not found without CAP_SYS_PTRACE; bind \
                      mounts (ip netns) are";
const MARK: &str =
    "the mark of sockets is not read without CAP_NET_ADMIN: the column mark is absent";

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn each_capability_that_is_missing_is_said_and_full_refuses_to_start() {
    require_root();
    let public = Public::new();
    let only_admin = "missing CAP_SYS_ADMIN (to enter other network namespaces); allowed: ";
    let only_ptrace =
        "missing CAP_SYS_PTRACE (to find namespaces of other users' processes in /proc); allowed: ";
    let only_mark = "missing CAP_NET_ADMIN (to read the mark of sockets); allowed: ";
    for (missing, options, said, refused) in [
        ("sys_admin", &[][..], Some(ADMIN), Some(only_admin)),
        ("sys_ptrace", &[], Some(PTRACE), Some(only_ptrace)),
        ("net_admin", &["--columns", "netns,mark"], Some(MARK), Some(only_mark)),
        ("net_admin", &["--filter", "fwmark = 1"], Some(MARK), Some(only_mark)),
        // Not asked for, and so neither missed nor needed.
        ("net_admin", &[], None, None),
        ("net_admin", &["--columns", "netns"], None, None),
        ("sys_admin", &["--own-netns-only"], None, None),
        ("sys_ptrace", &["--own-netns-only"], None, None),
        ("sys_nice", &[], None, None),
    ] {
        let drop = format!("--bounding-set=-{missing}");
        let arguments = [&["--dest", "null"][..], options].concat();
        let output = public.run(&[&drop], &arguments);
        let all = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{missing} {options:?}: {all}");
        for message in [ADMIN, PTRACE, MARK] {
            let expected = usize::from(said == Some(message));
            assert_eq!(all.matches(message).count(), expected, "{missing} {options:?}: {all}");
        }
        let full = public.run(&[&drop], &[&arguments[..], &["--require", "full"]].concat());
        let all = text(&full.stderr);
        match refused {
            Some(why) => {
                assert_eq!(full.status.code(), Some(2), "{missing} {options:?}: {all}");
                assert!(all.contains(&format!("sockeye: --require full: {why}")), "{all}");
            }
            None => assert_eq!(full.status.code(), Some(0), "{missing} {options:?}: {all}"),
        }
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_user_with_ambient_capabilities_reads_what_root_reads() {
    require_root();
    let public = Public::new();
    let netns = TestNetns::new("user").unwrap();
    let _listener =
        enter(&netns.path(), || std::net::TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
    let user = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let capabilities =
        ["--inh-caps=+sys_admin,+sys_ptrace", "--ambient-caps=+sys_admin,+sys_ptrace"];
    let with = public.run(&[&user[..], &capabilities].concat(), &[]);
    let said = text(&with.stderr);
    assert_eq!(with.status.code(), Some(0), "{said}");
    let seen = rows(&with.stdout);
    assert!(seen.iter().any(|row| string(row, "netns") == netns.name()), "{said}");
    assert!(
        said.contains("capabilities given up but for these kept=CAP_SYS_PTRACE CAP_SYS_ADMIN"),
        "{said}"
    );
    let without = public.run(&user, &[]);
    assert_eq!(without.status.code(), Some(0));
    assert!(text(&without.stderr).contains(ADMIN));
    assert!(rows(&without.stdout).iter().all(|row| string(row, "netns") != netns.name()));
}
