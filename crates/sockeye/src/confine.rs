//! Giving up what is not needed any more: capabilities, files, system calls.
//!
//! All of it belongs to threads and is inherited by those they start, so it is done before the first one is. What is
//! needed and can't be had again later (a ring that is tried, the limit of open files, a socket that takes a capability to
//! open, such as one for closed sockets of all namespaces with `CAP_NET_BROADCAST`) is done before.

use std::path::{Path, PathBuf};
use std::thread;

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};
use sockeye_netns::DEFAULT_MOUNT_DIRS;
use sockeye_sys::capabilities::{self, Capability};
use sockeye_sys::landlock::{self, Allowed, Enforced};
use sockeye_sys::seccomp;
use tracing::{debug, info, warn};

use crate::cli_kafka::KafkaConnectionArgs;
use crate::config::Checked;
use crate::config::settings::SinkSpec;
use crate::config::values::Dest;
use crate::privileges::Wanted;

/// What threads that face other hosts and files are restricted to.
#[derive(Debug, Default)]
pub(crate) struct Confinement {
    allowed: Option<Allowed>,
    /// Capabilities that are left, where others were given up.
    kept: Option<String>,
}

impl Confinement {
    /// Restricts nothing: for commands that run once, for who has typed them.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// Says what is left. Not before everything is open: what can't be opened is to be the only word.
    pub(crate) fn tell(&self) {
        if let Some(kept) = &self.kept {
            info!(%kept, "capabilities given up but for these");
        }
    }

    /// Opens on a restricted thread, whose threads are restricted as well; what comes back can be used anywhere.
    pub(crate) fn open<T: Send>(&self, open: impl FnOnce() -> T + Send) -> T {
        let Some(allowed) = &self.allowed else { return open() };
        let restricted = || {
            restrict(allowed);
            open()
        };
        thread::scope(|scope| {
            let opened =
                thread::Builder::new().name("opens".into()).spawn_scoped(scope, restricted);
            // A panic has ended the process already.
            opened.expect("threads can be started").join().expect("it has not panicked")
        })
    }
}

/// Confines the calling thread, from which all others come. `config` is read again by SIGHUP; `also` is to be writable.
pub(crate) fn confine(
    checked: &Checked<'_>,
    wanted: &Wanted,
    config: Option<&Path>,
    also: Vec<PathBuf>,
) -> Confinement {
    let service = &checked.run.service;
    let mut places = Places::of(&checked.specs, config);
    places.write.extend(also);
    let directories = &checked.run.collect.netns.netns_dir;
    let kept = if service.drop_capabilities { give_up(wanted, &places, directories) } else { None };
    if service.seccomp
        && let Err(error) = seccomp::restrict_thread(checked.run.collect.io_uring)
    {
        warn!(%error, "no filter of system calls");
    }
    if !service.landlock {
        return Confinement { allowed: None, kept };
    }
    let connect = checked.specs.iter().any(|spec| spec.kafka.is_some());
    // Profiles look for names in the program.
    let program = std::env::current_exe().ok().as_deref().and_then(directory_of);
    // Distributions keep what names hosts in different places.
    let resolver = RESOLVER.iter().filter_map(|file| directory_of(Path::new(file)));
    let system = SYSTEM.iter().map(PathBuf::from).chain(resolver);
    // Our own namespace has its name from there.
    let mounts = DEFAULT_MOUNT_DIRS.iter().map(PathBuf::from).chain(directories.iter().cloned());
    let read = system.chain(program).chain(mounts).chain(places.read).collect();
    let allowed = Allowed { read, write: places.write, connect };
    if checked.run.collect.netns.own_netns_only {
        restrict(&allowed);
        return Confinement { allowed: None, kept };
    }
    Confinement { allowed: Some(allowed), kept }
}

fn give_up(wanted: &Wanted, places: &Places, netns_dirs: &[PathBuf]) -> Option<String> {
    let mut kept = wanted.kept();
    let files = [Capability::CAP_DAC_OVERRIDE, Capability::CAP_DAC_READ_SEARCH];
    // Root without it may not write where others' directories are.
    if files.iter().any(|it| capabilities::has(*it))
        && capabilities::without(&files, || {
            places.are_ours() && netns_dirs.iter().all(|path| is_readable(path))
        })
        .is_ok_and(|ours| !ours)
    {
        kept.push(Capability::CAP_DAC_OVERRIDE);
    }
    let kept = capabilities::keep_only(&kept);
    if let Err(errno) = capabilities::no_new_privs() {
        warn!(%errno, "the right to gain privileges can't be given up");
    }
    match kept {
        Ok(kept) => Some(kept.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")),
        Err(error) => {
            warn!(%error, "capabilities can't be given up");
            None
        }
    }
}

fn restrict(allowed: &Allowed) {
    match landlock::restrict_thread(allowed) {
        Ok(Enforced::Fully) => {}
        Ok(Enforced::Partly) => debug!("this kernel knows a part of Landlock"),
        Ok(Enforced::Not) => debug!("this kernel has no Landlock: files are not restricted"),
        Err(error) => warn!(%error, "files are not restricted"),
    }
}

/// Places that destinations and the configuration need.
#[derive(Debug, Default, PartialEq, Eq)]
struct Places {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
}

impl Places {
    fn of(specs: &[SinkSpec], config: Option<&Path>) -> Self {
        let mut places = Self::default();
        places.write.push("/dev/null".into());
        places.read.extend(config.map(Path::to_owned));
        for spec in specs {
            if let Dest::File(path) = &spec.dest {
                places.add_file(Path::new(path));
            }
            let Some(kafka) = &spec.kafka else { continue };
            let KafkaConnectionArgs { kafka_tls_ca, kafka_tls_cert, kafka_tls_key, .. } =
                &kafka.options.connection;
            let password = &kafka.options.connection.kafka_sasl_password_file;
            let files = [kafka_tls_ca, kafka_tls_cert, kafka_tls_key, password];
            places.read.extend(files.into_iter().flatten().cloned());
            // Settings of the client library that name a file.
            let set = kafka.options.connection.kafka_set.iter().map(|set| Path::new(&set.value));
            places
                .read
                .extend(set.filter(|path| path.is_absolute() && path.exists()).map(Path::to_owned));
            places.write.extend(kafka.options.spool_dir.clone());
        }
        // Files come anew under their names: what is allowed is the directory.
        let directories: Vec<PathBuf> =
            places.read.iter().filter_map(|file| directory_of(file)).collect();
        places.read.extend(directories);
        places
    }

    /// A file's directory, that of what it links to, and the thing itself where it is a device or a pipe.
    fn add_file(&mut self, path: &Path) {
        let mut ancestors = path.ancestors().skip(1);
        let named = ancestors.find(|directory| !directory.to_string_lossy().contains('%'));
        let here =
            |path: &Path| if path.as_os_str().is_empty() { ".".into() } else { path.to_owned() };
        let special = path.metadata().is_ok_and(|it| !it.is_file());
        if special {
            self.write.push(path.to_owned());
        } else {
            self.write.extend(named.map(here));
            self.write.extend(directory_of(path));
        }
    }

    /// Whether they may be read and written by who we are, without a capability for it.
    fn are_ours(&self) -> bool {
        let may = |path: &Path, how| {
            faccessat(AT_FDCWD, path, how, AtFlags::AT_EACCESS) != Err(nix::errno::Errno::EACCES)
        };
        let written = |path: &PathBuf| {
            let how = AccessFlags::W_OK | AccessFlags::R_OK;
            let enter = if path.is_dir() { AccessFlags::X_OK } else { AccessFlags::empty() };
            may(path, how | enter)
        };
        self.read.iter().all(|path| may(path, AccessFlags::R_OK)) && self.write.iter().all(written)
    }
}

/// Whether it may be read by who we are. What is not there does no harm.
fn is_readable(path: &Path) -> bool {
    let may = faccessat(AT_FDCWD, path, AccessFlags::R_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS);
    may != Err(nix::errno::Errno::EACCES)
}

/// The directory of what a path leads to.
fn directory_of(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()?.parent().map(Path::to_owned)
}

/// What the C library and the client libraries read: names of hosts, certificates, time zones, other libraries; and what
/// the daemon reads about itself.
const SYSTEM: [&str; 12] = [
    "/proc",
    "/sys",
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/nix/store",
    "/run/systemd/resolve",
    "/run/current-system",
    "/var/lib/ca-certificates",
    "/dev/urandom",
    "/dev/null",
];

/// Files of the C library's resolver, which are links on many hosts.
const RESOLVER: [&str; 3] = ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_needs_its_directory_a_link_that_of_its_target_and_a_pattern_the_one_that_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        for name in ["a", "b"] {
            std::fs::create_dir(root.join(name)).unwrap();
        }
        std::fs::write(root.join("b/target"), "").unwrap();
        std::os::unix::fs::symlink(root.join("b/target"), root.join("a/link")).unwrap();
        let places = |path: &Path| {
            let mut places = Places::default();
            places.add_file(path);
            places.write
        };
        assert_eq!(places(&root.join("a/rows")), [root.join("a")]);
        assert_eq!(places(&root.join("a/%Y/%H.pb")), [root.join("a")]);
        assert_eq!(places(&root.join("a/link")), [root.join("a"), root.join("b")]);
        assert_eq!(places(Path::new("rows")), [PathBuf::from(".")]);
        assert_eq!(places(Path::new("/dev/full")), [PathBuf::from("/dev/full")]);
    }

    #[test]
    fn without_a_restriction_what_opens_runs_here() {
        let here = thread::current().id();
        assert_eq!(Confinement::none().open(|| thread::current().id()), here);
    }
}
