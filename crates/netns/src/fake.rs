//! For tests: a directory that looks like procfs, and one of mounts. Symbolic links stand for the kernel's magic ones.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::sys::stat::stat;
use sockeye_sys::netns::NetnsId;

use crate::ScanOptions;

pub(crate) struct FakeProc {
    dir: tempfile::TempDir,
    root: PathBuf,
}

impl FakeProc {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("proc");
        for name in ["proc", "mounts", "namespaces"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir, root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn mounts(&self) -> PathBuf {
        self.dir.path().join("mounts")
    }

    pub(crate) fn options(&self) -> ScanOptions {
        ScanOptions {
            proc_root: self.root.clone(),
            mount_dirs: vec![self.mounts()],
            own_only: false,
        }
    }

    pub(crate) fn namespace_path(&self, name: &str) -> PathBuf {
        self.dir.path().join("namespaces").join(name)
    }

    /// A plain file that has an identity: for processes, the scan trusts the kernel that it is a namespace.
    pub(crate) fn namespace(&self, name: &str) -> NetnsId {
        let path = self.namespace_path(name);
        if !path.exists() {
            fs::write(&path, "").unwrap();
        }
        NetnsId::from(&stat(&path).unwrap())
    }

    pub(crate) fn process(&self, pid: u32, namespace: &str) -> &Self {
        self.link(&pid.to_string(), &self.namespace_path(namespace))
    }

    /// A process in the namespace that the test runs in.
    pub(crate) fn real_process(&self, pid: u32) -> &Self {
        self.link(&pid.to_string(), Path::new("/proc/self/ns/net"))
    }

    pub(crate) fn own(&self, namespace: &str) -> &Self {
        self.link("thread-self", &self.namespace_path(namespace))
    }

    pub(crate) fn link(&self, process: &str, target: &Path) -> &Self {
        let ns = self.root.join(process).join("ns");
        fs::create_dir_all(&ns).unwrap();
        symlink(target, ns.join("net")).unwrap();
        self
    }

    pub(crate) fn cgroup(&self, process: &str, content: &str) -> &Self {
        fs::write(self.root.join(process).join("cgroup"), content).unwrap();
        self
    }

    pub(crate) fn stat(&self, pid: u32, content: &str) -> &Self {
        fs::write(self.root.join(pid.to_string()).join("stat"), content).unwrap();
        self
    }

    /// The process enters another namespace.
    pub(crate) fn enter(&self, pid: u32, namespace: &str) -> &Self {
        fs::remove_file(self.root.join(pid.to_string()).join("ns/net")).unwrap();
        self.process(pid, namespace)
    }

    pub(crate) fn docker(&self, pid: u32, digit: char) -> &Self {
        let id = digit.to_string().repeat(64);
        self.cgroup(&pid.to_string(), &format!("0::/system.slice/docker-{id}.scope\n"))
    }

    pub(crate) fn rename(&self, from: u32, to: u32) -> &Self {
        fs::rename(self.root.join(from.to_string()), self.root.join(to.to_string())).unwrap();
        self
    }

    pub(crate) fn end(&self, pid: u32) -> &Self {
        fs::remove_dir_all(self.root.join(pid.to_string())).unwrap();
        self
    }

    pub(crate) fn real_mount(&self, name: &str) -> &Self {
        symlink("/proc/self/ns/net", self.mounts().join(name)).unwrap();
        self
    }

    pub(crate) fn plain_mount(&self, name: &str) -> &Self {
        fs::write(self.mounts().join(name), "").unwrap();
        self
    }

    pub(crate) fn unmount(&self, name: &str) -> &Self {
        fs::remove_file(self.mounts().join(name)).unwrap();
        self
    }
}
