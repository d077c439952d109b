//! The container that a process belongs to, read from its cgroup path.

use std::fmt;
use std::sync::Arc;

/// A container: its runtime, and what that runtime calls it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Container {
    /// The 64 hexadecimal digits of an OCI runtime, or the name that LXC and systemd-nspawn use.
    pub id: Arc<str>,
    /// Who runs it.
    pub runtime: Runtime,
}

/// Who runs a container.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Runtime {
    /// Docker Engine.
    Docker,
    /// containerd: Kubernetes (CRI) or nerdctl. Also taken for a Kubernetes pod whose cgroup does not name a runtime.
    Containerd,
    /// CRI-O.
    Crio,
    /// Podman.
    Podman,
    /// LXC, LXD, Incus, Proxmox, or libvirt's LXC driver.
    Lxc,
    /// systemd-nspawn.
    Nspawn,
}

impl Runtime {
    /// The name in rows: `docker`, `containerd`, `crio`, `podman`, `lxc`, `nspawn`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::Crio => "crio",
            Self::Podman => "podman",
            Self::Lxc => "lxc",
            Self::Nspawn => "nspawn",
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Container {
    /// Reads the content of a `/proc/<pid>/cgroup`, of cgroup v1, v2 or both.
    ///
    /// The innermost container counts: of a pod inside a Docker container (kind), the pod.
    pub fn from_cgroup(content: &[u8]) -> Option<Self> {
        let content = String::from_utf8_lossy(content);
        content.lines().filter_map(|line| line.splitn(3, ':').nth(2)).find_map(of_path)
    }

    fn new(runtime: Runtime, id: &str) -> Option<Self> {
        (!id.is_empty()).then(|| Self { id: id.into(), runtime })
    }
}

fn of_path(path: &str) -> Option<Container> {
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let mut rest = segments.as_slice();
    while let Some((segment, parents)) = rest.split_last() {
        if let Some(container) = of_oci(segment, parents).or_else(|| of_named(segment, parents)) {
            return Some(container);
        }
        rest = parents;
    }
    None
}

/// Runtimes whose containers are 64 hexadecimal digits.
fn of_oci(segment: &str, parents: &[&str]) -> Option<Container> {
    let unit = segment.strip_suffix(".scope").unwrap_or(segment);
    // `docker-<id>.scope`; containerd without the systemd driver writes `kubepods-….slice:cri-containerd:<id>`.
    let split = unit.rsplit_once(':').or_else(|| unit.rsplit_once('-'));
    if let Some((prefix, id)) = split {
        let prefix = prefix.rsplit(':').next().unwrap_or(prefix);
        let runtime = match prefix {
            "docker" => Runtime::Docker,
            "cri-containerd" | "nerdctl" => Runtime::Containerd,
            "crio" => Runtime::Crio,
            "libpod" => Runtime::Podman,
            _ => return None,
        };
        return if is_oci_id(id) { Container::new(runtime, id) } else { None };
    }
    if !is_oci_id(unit) {
        None
    } else if parents.last() == Some(&"docker") {
        Container::new(Runtime::Docker, unit)
    } else if parents.iter().any(|parent| parent.starts_with("kubepods")) {
        Container::new(Runtime::Containerd, unit)
    } else {
        None
    }
}

/// Runtimes whose containers have a name.
fn of_named(segment: &str, parents: &[&str]) -> Option<Container> {
    if let Some(&("lxc" | "lxc.payload")) = parents.last() {
        return Container::new(Runtime::Lxc, segment);
    }
    if let Some(name) = segment.strip_prefix("lxc.payload.") {
        return Container::new(Runtime::Lxc, name);
    }
    if let Some(name) = unit(segment, "systemd-nspawn@", ".service") {
        return Container::new(Runtime::Nspawn, &unescape(name));
    }
    let machine = unescape(unit(segment, "machine-", ".scope")?);
    match libvirt_domain(&machine) {
        Some(("qemu", _)) => None,
        Some(("lxc", name)) => Container::new(Runtime::Lxc, name),
        _ => Container::new(Runtime::Nspawn, &machine),
    }
}

fn unit<'s>(segment: &'s str, prefix: &str, suffix: &str) -> Option<&'s str> {
    segment.strip_prefix(prefix)?.strip_suffix(suffix)
}

/// libvirt registers its guests as `<driver>-<number>-<name>`.
fn libvirt_domain(machine: &str) -> Option<(&str, &str)> {
    let (driver, rest) = machine.split_once('-')?;
    let (number, name) = rest.split_once('-')?;
    let numbered = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    numbered.then_some((driver, name))
}

/// Undoes systemd's escaping of unit names: `\x2d` is a dash.
fn unescape(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((plain, escaped)) = rest.split_once("\\x") {
        bytes.extend_from_slice(plain.as_bytes());
        let digits = escaped.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(byte) = digits {
            bytes.push(byte);
            rest = escaped.get(2..).unwrap_or_default();
        } else {
            bytes.extend_from_slice(b"\\x");
            rest = escaped;
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

fn is_oci_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f1b1c7d2a9e6c30b8d5f0e1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5";
    const INNER: &str = "00aa11bb22cc33dd44ee55ff66778899aabbccddeeff00112233445566778899";

    /// `ID` and `INNER` stand for themselves in the lines.
    fn read(lines: &str) -> Option<(Runtime, String)> {
        let content = lines.replace("INNER", INNER).replace("ID", ID);
        let container = Container::from_cgroup(content.as_bytes())?;
        Some((container.runtime, container.id.replace(INNER, "INNER").replace(ID, "ID")))
    }

    #[test]
    fn containers_are_read_from_realistic_cgroup_lines() {
        let pod = "pod1c2d3e4f_0000_4a5b_9c8d_7e6f5a4b3c2d";
        let table: &[(&str, Runtime, &str)] = &[
            ("0::/system.slice/docker-ID.scope\n", Runtime::Docker, "ID"),
            ("0::/docker/ID\n", Runtime::Docker, "ID"),
            ("0::/docker/ID/init.scope\n", Runtime::Docker, "ID"),
            (
                "12:pids:/docker/ID\n11:cpu,cpuacct:/docker/ID\n1:name=systemd:/docker/ID\n0::/\n",
                Runtime::Docker,
                "ID",
            ),
            (
                "11:memory:/system.slice/docker-ID.scope\n0::/system.slice/docker-ID.scope\n",
                Runtime::Docker,
                "ID",
            ),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope\n",
                Runtime::Docker,
                "ID",
            ),
            ("0::/../docker-ID.scope\n", Runtime::Docker, "ID"),
            ("0::/system.slice/docker-ID.scope (deleted)\n", Runtime::Docker, "ID"),
            (
                &format!(
                    "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-{pod}.slice/cri-containerd-ID.scope\n"
                ),
                Runtime::Containerd,
                "ID",
            ),
            (&format!("11:cpuset:/kubepods/besteffort/{pod}/ID\n"), Runtime::Containerd, "ID"),
            (
                &format!(
                    "11:memory:/system.slice/containerd.service/kubepods-besteffort-{pod}.slice:cri-containerd:ID\n"
                ),
                Runtime::Containerd,
                "ID",
            ),
            (
                &format!("0::/kubepods.slice/kubepods-{pod}.slice/docker-ID.scope\n"),
                Runtime::Docker,
                "ID",
            ),
            ("0::/system.slice/nerdctl-ID.scope\n", Runtime::Containerd, "ID"),
            (
                &format!("0::/kubepods.slice/kubepods-{pod}.slice/crio-ID.scope\n"),
                Runtime::Crio,
                "ID",
            ),
            (&format!("0::/kubepods/burstable/{pod}/crio-ID\n"), Runtime::Crio, "ID"),
            ("0::/machine.slice/libpod-ID.scope\n", Runtime::Podman, "ID"),
            ("0::/machine.slice/libpod-ID.scope/container\n", Runtime::Podman, "ID"),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container\n",
                Runtime::Podman,
                "ID",
            ),
            ("9:pids:/libpod_parent/libpod-ID\n", Runtime::Podman, "ID"),
            ("0::/docker/ID/kubelet/kubepods/burstable/podx/INNER\n", Runtime::Containerd, "INNER"),
            ("0::/docker/ID/docker/INNER\n", Runtime::Docker, "INNER"),
            ("0::/lxc/web-1\n", Runtime::Lxc, "web-1"),
            ("0::/lxc/101/ns/init.scope\n", Runtime::Lxc, "101"),
            ("0::/lxc.payload/old\n", Runtime::Lxc, "old"),
            ("0::/lxc.payload.web/system.slice/ssh.service\n", Runtime::Lxc, "web"),
            ("7:devices:/lxc.payload.db\n0::/lxc.payload.db/init.scope\n", Runtime::Lxc, "db"),
            (
                "0::/machine.slice/machine-fedora.scope/payload/init.scope\n",
                Runtime::Nspawn,
                "fedora",
            ),
            ("0::/machine.slice/machine-my\\x2dbox.scope\n", Runtime::Nspawn, "my-box"),
            (
                "0::/machine.slice/systemd-nspawn@build.service/payload/init.scope\n",
                Runtime::Nspawn,
                "build",
            ),
            ("0::/machine.slice/machine-lxc\\x2d4711\\x2dguest.scope\n", Runtime::Lxc, "guest"),
        ];
        for (lines, runtime, id) in table {
            assert_eq!(read(lines), Some((*runtime, (*id).to_owned())), "{lines}");
        }
    }

    #[test]
    fn processes_outside_containers_have_none() {
        let short = &ID[..63];
        for lines in [
            "",
            "garbage",
            "0::/\n",
            "0::/init.scope\n",
            "0::/system.slice/sshd.service\n",
            "0::/user.slice/user-1000.slice/session-3.scope\n",
            "0::/system.slice/docker.service\n",
            "0::/docker/buildkit\n",
            "0::/lxc\n",
            "0::/lxc.monitor.web\n",
            "0::/lxc.payload.\n",
            "0::/machine.slice/libpod-conmon-ID.scope\n",
            "0::/machine.slice/crio-conmon-ID.scope\n",
            "0::/machine.slice/machine-qemu\\x2d1\\x2dvm.scope/libvirt/emulator\n",
            "0::/machine.slice/machine-.scope\n",
            "0::/build/ID\n",
            "0::/kubepods/burstable/pod1c2d3e4f\n",
            &format!("0::/docker/{short}\n"),
            &format!("0::/system.slice/docker-{}.scope\n", ID.to_uppercase()),
        ] {
            assert_eq!(read(lines), None, "{lines}");
        }
    }

    #[test]
    fn names_that_are_not_utf8_are_kept_lossily() {
        let container = Container::from_cgroup(b"0::/lxc/caf\xe9\n").unwrap();
        assert_eq!(&*container.id, "caf\u{fffd}");
    }

    #[test]
    fn a_broken_escape_is_kept_as_it_is() {
        assert_eq!(unescape("a\\x2db\\xzz\\x2"), "a-b\\xzz\\x2");
        assert_eq!(unescape("\\x\u{e9}x"), "\\x\u{e9}x");
    }

    #[test]
    fn runtimes_are_named_in_lower_case() {
        let all = [
            Runtime::Docker,
            Runtime::Containerd,
            Runtime::Crio,
            Runtime::Podman,
            Runtime::Lxc,
            Runtime::Nspawn,
        ];
        let names: Vec<_> = all.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["docker", "containerd", "crio", "podman", "lxc", "nspawn"]);
    }
}
