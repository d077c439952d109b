//! What the tests need of the host: the programs that they start, Kafka and Python's packages. Installed where that is possible, else named.

use std::path::Path;

use anyhow::{Result, bail};
use sockeye_testkit::netns::is_root;
use sockeye_testkit::{kafka_files, python};

use crate::cargo::{command, find, run};

/// Makes sure that every program is there.
///
/// As root, where apt-get exists, what is missing is installed.
///
/// # Errors
/// What is still missing, with the command that installs it.
pub(crate) fn provide(root: &Path) -> Result<()> {
    let mut packages = missing(|program| find(program).is_some());
    let by_apt = !packages.is_empty() && is_root() && find("apt-get").is_some();
    if by_apt {
        println!("installing {}", packages.join(" "));
        install(root, &packages)?;
        packages = missing(|program| find(program).is_some());
    }
    if let Some(complaint) = complaint(&packages, find(COMPILER).is_some()) {
        bail!(complaint);
    }
    // Tests that need them may run where there is no network.
    kafka_files::libraries()?;
    python::interpreter().map(drop)
}

/// The packages with programs that are not there, each once.
fn missing(there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let packages =
        PACKAGES.iter().filter(|(_, programs)| !programs.iter().all(|program| there(program)));
    packages.map(|(package, _)| *package).collect()
}

/// Installs packages of Debian.
pub(crate) fn install(root: &Path, packages: &[&str]) -> Result<()> {
    for arguments in [&["update"][..], &["install", "-y", "--no-install-recommends"]] {
        let mut apt = command(root, "apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
        if arguments != ["update"] {
            apt.args(packages);
        }
        run(apt)?;
    }
    Ok(())
}

fn complaint(packages: &[&str], has_compiler: bool) -> Option<String> {
    let mut names: Vec<&str> = packages.to_vec();
    let mut programs: Vec<&str> = PACKAGES
        .iter()
        .filter(|(package, _)| packages.contains(package))
        .flat_map(|(_, programs)| *programs)
        .copied()
        .collect();
    if !has_compiler {
        names.push("gcc");
        programs.push(COMPILER);
    }
    (!names.is_empty()).then(|| {
        format!(
            "not all of these programs are there: {}. Debian and Ubuntu: sudo apt-get update && sudo apt-get install -y {}",
            programs.join(", "),
            names.join(" ")
        )
    })
}

/// Debian's packages, and the programs of them that tests start.
const PACKAGES: [(&str, &[&str]); 14] = [
    ("iproute2", &["ss", "ip"]),
    ("util-linux", &["unshare", "nsenter", "setpriv"]),
    ("mount", &["mount"]),
    ("valgrind", &["valgrind"]),
    ("default-jre-headless", &["java"]),
    ("maven", &["mvn"]),
    ("openssl", &["openssl"]),
    ("python3-venv", &["python3"]),
    ("binutils", &["strip"]),
    ("dpkg", &["dpkg", "dpkg-deb"]),
    ("rpm", &["rpm", "rpmbuild"]),
    ("nix-bin", &["nix-instantiate"]),
    ("prometheus", &["promtool"]),
    ("golang-go", &["go"]),
];

/// Some crates are C inside.
const COMPILER: &str = "cc";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_the_command_that_installs_it() {
        let packages = missing(|program| program != "nsenter" && program != "setpriv");
        assert_eq!(packages, ["util-linux"]);
        assert_eq!(
            complaint(&packages, true).unwrap(),
            "not all of these programs are there: unshare, nsenter, setpriv. \
             Debian and Ubuntu: sudo apt-get update && sudo apt-get install -y util-linux"
        );
    }

    #[test]
    fn a_missing_compiler_is_named_too() {
        let complaint = complaint(&missing(|program| program == "mount"), false).unwrap();
        assert!(complaint.contains("nix-instantiate, promtool, go, cc."), "{complaint}");
        assert!(complaint.ends_with("nix-bin prometheus golang-go gcc"), "{complaint}");
    }

    #[test]
    fn nothing_is_asked_for_when_everything_is_there() {
        assert_eq!(complaint(&missing(|_| true), true), None);
    }
}
