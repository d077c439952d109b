//! Opening a namespace right before it is read, with a label that is certain to be its own.

use std::sync::Arc;

use nix::errno::Errno;
use sockeye_sys::netns::{NetnsFd, OpenError};

use crate::process::{ProcessDir, Witness, first_in, witness};
use crate::{Container, Netns, Origin, label};

/// An open namespace and what it is called.
///
/// Drop it as soon as the socket is open: the descriptor keeps the namespace alive.
#[derive(Debug)]
pub struct Opened {
    /// The namespace; its id is that of the [`Netns`].
    pub fd: NetnsFd,
    /// The name, read again while `fd` was held.
    pub name: Arc<str>,
    /// The container, read again while `fd` was held.
    pub container: Option<Container>,
    /// A process that was in the namespace while `fd` was held; the lowest of those known.
    pub pid: Option<u32>,
}

/// Why a namespace could not be opened.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenFailure {
    /// Nothing leads to it any more, which is normal: count it and wait for the next scan.
    #[error("namespace is gone")]
    Gone,
    /// A capability is missing (`CAP_SYS_PTRACE`): tell the operator, try again at the next poll.
    #[error("permission denied")]
    Denied,
    /// Anything else, such as too many open files: count it, try again at the next poll.
    #[error("cannot open namespace: {0}")]
    Other(Errno),
}

impl Netns {
    /// Opens the namespace through the first origin that still leads to it, else looks for it with one full scan.
    ///
    /// An origin that leads to another namespace by now is passed over: identity is compared, and the label is read
    /// again, while the descriptor is held and the inode cannot be reused.
    ///
    /// # Errors
    /// See [`OpenFailure`]: each variant is a different thing to do next.
    pub fn open(&self) -> Result<Opened, OpenFailure> {
        self.open_and(Self::describe)
    }

    /// Opens the namespace without its label.
    pub(crate) fn open_fd(&self) -> Result<NetnsFd, OpenFailure> {
        self.open_and(|_, fd, _| fd)
    }

    /// Opens it as it is known, or else as it is found; `then` is told as which, and through which origin.
    fn open_and<T>(
        &self,
        then: impl FnOnce(&Self, NetnsFd, &Origin) -> T,
    ) -> Result<T, OpenFailure> {
        match self.try_origins() {
            Ok((fd, origin)) => Ok(then(self, fd, origin)),
            Err(failure) => {
                let found = self.search().ok_or(failure)?;
                let (fd, origin) = found.try_origins()?;
                Ok(then(&found, fd, origin))
            }
        }
    }

    fn try_origins(&self) -> Result<(NetnsFd, &Origin), OpenFailure> {
        let mut failure = OpenFailure::Gone;
        for origin in &self.origins {
            match self.open_through(origin) {
                Ok(fd) => return Ok((fd, origin)),
                Err(OpenError::Gone | OpenError::NotNsfs | OpenError::OtherKind) => {}
                Err(OpenError::Denied) => failure = OpenFailure::Denied,
                Err(OpenError::Other(errno)) => failure = OpenFailure::Other(errno),
            }
        }
        Err(failure)
    }

    fn open_through(&self, origin: &Origin) -> Result<NetnsFd, OpenError> {
        match origin {
            Origin::Mount(path) => NetnsFd::open_mount(path, self.id),
            Origin::Own => ProcessDir::own(self.proc_root())?.open_netns(self.id),
            Origin::Process(pid) => ProcessDir::open(self.proc_root(), *pid)?.open_netns(self.id),
        }
    }

    fn describe(&self, fd: NetnsFd, origin: &Origin) -> Opened {
        let id = fd.id();
        // The host's own namespace is nobody's container, and its id can't have become another's: process 1, or we ourselves, are
        // in it all the time.
        let found = if self.is_default {
            Witness { pid: first_in(self.proc_root(), id, self.pids()), container: None }
        } else {
            witness(self.proc_root(), id, self.pids(), self.is_own())
        };
        let mount = match origin {
            Origin::Mount(path) => Some(path.as_path()),
            Origin::Own | Origin::Process(_) => None,
        };
        let name = label::name(id, self.is_default, mount, found.container.as_ref());
        Opened { fd, name, container: found.container, pid: found.pid }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeProc;
    use crate::{ScanOptions, Scanner};

    fn scan(options: ScanOptions) -> Vec<Netns> {
        Scanner::new(options).scan().namespaces
    }

    fn only(mut namespaces: Vec<Netns>) -> Netns {
        assert_eq!(namespaces.len(), 1, "{namespaces:?}");
        namespaces.remove(0)
    }

    /// Our real namespace, which is not the default one, with `processes` in it.
    fn real(fake: &FakeProc, processes: &[u32]) -> Netns {
        fake.namespace("host");
        fake.process(1, "host");
        for &pid in processes {
            fake.real_process(pid);
        }
        let id = sockeye_sys::netns::current().unwrap();
        scan(fake.options()).into_iter().find(|netns| netns.id == id).unwrap()
    }

    #[test]
    fn the_own_namespace_opens_by_its_name() {
        let options =
            ScanOptions { own_only: true, mount_dirs: Vec::new(), ..ScanOptions::default() };
        let own = only(scan(options));
        let opened = own.open().unwrap();
        assert_eq!(opened.fd.id(), sockeye_sys::netns::current().unwrap());
        assert_eq!(opened.name, own.name);
        assert!(own.alive());
    }

    #[test]
    fn the_hosts_own_namespace_is_nobodys_container() {
        let fake = FakeProc::new();
        // Process 1 can't be looked at, and we are in a container.
        fake.link("thread-self", std::path::Path::new("/proc/self/ns/net"));
        fake.cgroup("thread-self", &format!("0::/docker/{}\n", "d".repeat(64)));
        let without = only(scan(fake.options())).open().unwrap();
        assert_eq!((&*without.name, without.pid, without.container), ("default", None, None));
        fake.real_process(20).docker(20, 'd').real_process(21);
        let with = only(scan(fake.options())).open().unwrap();
        assert_eq!((&*with.name, with.pid, with.container), ("default", Some(20), None));
    }

    #[test]
    fn a_process_that_ended_is_passed_over_for_the_next() {
        let fake = FakeProc::new();
        let netns = real(&fake, &[20, 21]);
        assert_eq!(netns.origins, [Origin::Process(20), Origin::Process(21)]);
        fake.end(20);
        let opened = netns.open().unwrap();
        assert_eq!((opened.fd.id(), opened.pid), (netns.id, Some(21)));
        assert_eq!(opened.name, netns.id.to_string().into());
    }

    #[test]
    fn a_namespace_whose_known_processes_all_ended_is_found_by_another_scan() {
        let fake = FakeProc::new();
        let netns = real(&fake, &[20]);
        fake.end(20).real_process(33);
        assert!(netns.alive());
        let opened = netns.open().unwrap();
        assert_eq!((opened.fd.id(), opened.pid), (netns.id, Some(33)));
    }

    #[test]
    fn a_namespace_without_any_origin_left_is_gone() {
        let fake = FakeProc::new();
        let netns = real(&fake, &[20]);
        fake.end(20);
        assert!(!netns.alive());
        assert_eq!(netns.open().unwrap_err(), OpenFailure::Gone);
    }

    #[test]
    fn a_process_that_is_elsewhere_by_now_does_not_lend_its_label() {
        let fake = FakeProc::new();
        let netns = real(&fake, &[20, 21]);
        fake.end(20).process(20, "host").docker(20, 'a');
        let opened = netns.open().unwrap();
        assert_eq!((opened.fd.id(), opened.pid), (netns.id, Some(21)));
        assert_eq!(opened.container, None);
        assert_eq!(opened.name, netns.id.to_string().into());
    }

    #[test]
    fn a_container_that_took_the_place_of_another_gives_its_own_label() {
        let fake = FakeProc::new();
        fake.real_process(20).docker(20, 'a');
        let netns = real(&fake, &[]);
        assert_eq!(*netns.name, "a".repeat(64));
        fake.docker(20, 'b');
        let opened = netns.open().unwrap();
        assert_eq!(*opened.name, "b".repeat(64));
        assert_eq!(*opened.container.unwrap().id, "b".repeat(64));
    }

    #[test]
    fn a_mount_gives_its_own_name_and_the_processes_give_the_container() {
        let fake = FakeProc::new();
        fake.real_process(20).docker(20, 'a').real_mount("blue");
        let netns = real(&fake, &[]);
        let opened = netns.open().unwrap();
        assert_eq!(*opened.name, *"blue");
        assert_eq!(*opened.container.unwrap().id, "a".repeat(64));
        assert_eq!(opened.pid, Some(20));
    }

    #[test]
    fn a_mount_that_went_away_does_not_lend_its_name() {
        let fake = FakeProc::new();
        fake.real_mount("blue");
        let netns = real(&fake, &[20]);
        assert_eq!(*netns.name, *"blue");
        fake.unmount("blue");
        assert!(netns.alive());
        assert_eq!(netns.open().unwrap().name, netns.id.to_string().into());
    }

    #[test]
    fn a_mount_replaced_by_a_plain_file_is_gone() {
        let fake = FakeProc::new();
        fake.real_mount("blue");
        let netns = real(&fake, &[]);
        fake.unmount("blue").plain_mount("blue");
        assert!(!netns.alive());
        assert_eq!(netns.open().unwrap_err(), OpenFailure::Gone);
    }

    #[test]
    fn the_default_namespace_keeps_its_name_whatever_it_is_opened_through() {
        let fake = FakeProc::new();
        fake.real_process(1).real_mount("blue");
        let netns = only(scan(fake.options()));
        assert!(netns.is_default);
        let opened = netns.open().unwrap();
        assert_eq!((&*opened.name, opened.pid), ("default", Some(1)));
        fake.unmount("blue");
        assert_eq!(&*netns.open().unwrap().name, "default");
    }

    #[test]
    fn the_default_namespace_has_no_container() {
        let fake = FakeProc::new();
        fake.real_process(1).docker(1, 'a');
        let netns = only(scan(fake.options()));
        assert_eq!(netns.container, None);
        assert_eq!(netns.open().unwrap().container, None);
    }
}
