//! What was given up can't be had: each test confines a thread of its own and tries.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use sockeye_sys::capabilities::{self, Capability};
use sockeye_sys::landlock::{Allowed, Enforced};
use sockeye_sys::{DiagSocket, Ring, landlock, seccomp};

/// Runs it on a thread of its own: everything here is for threads, and for good.
fn apart<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(test).join()).unwrap()
}

#[test]
fn under_seccomp_the_calls_of_an_intruder_fail_and_those_of_a_daemon_do_not() {
    apart(|| {
        seccomp::restrict_thread(false).unwrap();
        let none: [&std::ffi::CStr; 0] = [];
        assert_eq!(nix::unistd::execve(c"/bin/true", &none, &none), Err(Errno::EPERM));
        assert_eq!(unshare(CloneFlags::CLONE_NEWNET), Err(Errno::EPERM));
        assert_eq!(unshare(CloneFlags::CLONE_NEWUSER), Err(Errno::EPERM));
        let mounted = mount(None::<&str>, "/mnt", Some("tmpfs"), MsFlags::empty(), None::<&str>);
        assert_eq!(mounted, Err(Errno::EPERM));
        assert_eq!(nix::unistd::chroot("/"), Err(Errno::EPERM));
        assert!(capabilities::keep_only(&[]).is_err(), "capset");
        assert_eq!(nix::sys::ptrace::attach(nix::unistd::getppid()), Err(Errno::EPERM));
        let packet = (AddressFamily::Packet, SockType::Datagram, None);
        let netfilter =
            (AddressFamily::Netlink, SockType::Raw, Some(SockProtocol::NetlinkNetFilter));
        for (family, kind, protocol) in [packet, netfilter] {
            let refused = socket(family, kind, SockFlag::empty(), protocol);
            assert_eq!(refused.unwrap_err(), Errno::EPERM, "{family:?}");
        }
        assert!(Ring::new(8, 8, 32768).is_err(), "no ring without --io-uring");
        // Another kind of namespace is not entered; whether ours may be is for capabilities to say.
        let mounts = fs::File::open("/proc/self/ns/mnt").unwrap();
        assert_eq!(setns(&mounts, CloneFlags::CLONE_NEWNS), Err(Errno::EPERM));
        assert_eq!(setns(&mounts, CloneFlags::empty()), Err(Errno::EPERM));

        DiagSocket::open(Duration::from_millis(100)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        std::os::unix::net::UnixDatagram::unbound().unwrap();
        assert_eq!(thread::spawn(|| 7).join().unwrap(), 7, "threads start");
        let name = format!("/tmp/skt-seccomp-{}", std::process::id());
        fs::write(&name, "x").unwrap();
        fs::rename(&name, format!("{name}-2")).unwrap();
        fs::remove_file(format!("{name}-2")).unwrap();
    });
}

#[test]
fn with_io_uring_asked_for_rings_are_made_under_seccomp() {
    if Ring::new(8, 8, 32768).is_err() {
        return;
    }
    apart(|| {
        seccomp::restrict_thread(true).unwrap();
        Ring::new(8, 8, 32768).unwrap();
    });
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn under_seccomp_network_namespaces_are_entered_all_the_same() {
    apart(|| {
        seccomp::restrict_thread(false).unwrap();
        let own = fs::File::open("/proc/thread-self/ns/net").unwrap();
        assert_eq!(setns(&own, CloneFlags::CLONE_NEWNET), Ok(()));
    });
}

#[test]
fn threads_that_a_restricted_one_starts_are_restricted() {
    apart(|| {
        seccomp::restrict_thread(false).unwrap();
        let inherited = thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET)).join().unwrap();
        assert_eq!(inherited, Err(Errno::EPERM));
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        assert!(status.contains("Seccomp:\t2\n"), "{status}");
    });
}

#[test]
fn under_landlock_only_what_was_allowed_can_be_opened() {
    let [inside, outside] = [directory("in"), directory("out")];
    fs::write(outside.0.join("there"), "x").unwrap();
    let allowed = Allowed {
        read: vec!["/proc".into(), "/not/there".into()],
        write: vec![inside.0.clone(), "/dev/null".into()],
        connect: false,
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap();
    apart(|| {
        match landlock::restrict_thread(&allowed).unwrap() {
            Enforced::Fully => {}
            // An older kernel knows less of it, or nothing.
            Enforced::Not | Enforced::Partly => return,
        }
        // Rotation: make, write, cut, rename.
        let [partial, whole] = ["a.partial", "a"].map(|name| inside.0.join(name));
        fs::write(&partial, "rows").unwrap();
        fs::OpenOptions::new().write(true).open(&partial).unwrap().set_len(2).unwrap();
        fs::rename(&partial, &whole).unwrap();
        assert_eq!(fs::read(&whole).unwrap(), b"ro");
        fs::write("/dev/null", "x").unwrap();
        assert!(fs::read_to_string("/proc/self/status").is_ok());

        let denied = |result: std::io::Result<()>| {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::PermissionDenied);
        };
        denied(fs::read(outside.0.join("there")).map(drop));
        denied(fs::write(outside.0.join("new"), "x"));
        denied(fs::remove_file(outside.0.join("there")));
        denied(fs::read("/etc/passwd").map(drop));
        denied(TcpListener::bind("127.0.0.1:0").map(drop));
        denied(TcpStream::connect(port).map(drop));
        denied(thread::spawn(|| fs::read("/etc/passwd").map(drop)).join().unwrap());
    });
    assert!(outside.0.join("there").exists());
    apart(|| {
        let connecting = Allowed { connect: true, ..Allowed::default() };
        if landlock::restrict_thread(&connecting).unwrap() == Enforced::Fully {
            TcpStream::connect(port).unwrap();
            assert!(fs::read("/proc/self/status").is_err());
        }
    });
}

/// Why threads that look for namespaces are not restricted.
#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn under_landlock_no_namespace_of_another_process_can_be_opened() {
    let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let theirs = format!("/proc/{}/ns/net", other.id());
    fs::File::open(&theirs).unwrap();
    let allowed = Allowed { read: vec!["/".into()], ..Allowed::default() };
    apart(|| {
        if landlock::restrict_thread(&allowed).unwrap() != Enforced::Not {
            let refused = fs::File::open(&theirs).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
            assert!(fs::File::open("/proc/thread-self/ns/net").is_ok());
        }
    });
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn capabilities_that_are_not_kept_are_in_no_set_and_can_not_be_used() {
    apart(|| {
        let kept =
            capabilities::keep_only(&[Capability::CAP_SYS_ADMIN, Capability::CAP_SYS_PTRACE]);
        assert_eq!(kept.unwrap(), [Capability::CAP_SYS_PTRACE, Capability::CAP_SYS_ADMIN]);
        capabilities::no_new_privs().unwrap();
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let set = |name: &str| {
            let (_, rest) = status.split_once(&format!("{name}:\t")).unwrap();
            rest.lines().next().unwrap().to_owned()
        };
        let both = "0000000000280000";
        assert_eq!([set("CapPrm"), set("CapEff"), set("CapBnd")], [both; 3]);
        assert_eq!([set("CapInh"), set("CapAmb")], ["0000000000000000"; 2]);
        assert_eq!(set("NoNewPrivs"), "1");
        assert_eq!(nix::unistd::chown(Path::new("/tmp"), Some(1.into()), None), Err(Errno::EPERM));
        let raw = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None);
        assert_eq!(raw.unwrap_err(), Errno::EPERM);
        assert!(capabilities::has(Capability::CAP_SYS_ADMIN));
        assert!(!capabilities::has(Capability::CAP_NET_ADMIN));
    });
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn what_works_without_a_capability_can_be_tried() {
    apart(|| {
        let other = Capability::CAP_DAC_OVERRIDE;
        let seen = capabilities::without(&[other], || capabilities::has(other)).unwrap();
        assert_eq!((seen, capabilities::has(other)), (false, true));
    });
}

struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn directory(name: &str) -> Directory {
    let path = std::env::temp_dir().join(format!("skt-landlock-{}-{name}", std::process::id()));
    fs::create_dir(&path).unwrap();
    Directory(path)
}
