//! A Debian package, made by `dpkg-deb`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::tree::Tree;
use super::{Arch, Effort, Release};
use crate::cargo;

/// Writes `sockeye_VERSION_ARCH.deb` and returns its path.
///
/// # Errors
/// There is no `dpkg-deb`, or it refuses the tree.
pub(crate) fn make(root: &Path, release: &Release<'_>, tree: &Tree) -> Result<PathBuf> {
    let staged = release.work.join("deb");
    if staged.exists() {
        fs::remove_dir_all(&staged)?;
    }
    copy(tree, &staged)?;
    let control = staged.join("DEBIAN");
    fs::create_dir_all(&control)?;
    fs::write(control.join("control"), fields(release, tree)?)?;
    let config = tree.files.iter().filter(|file| file.is_config);
    let config: Vec<&str> = config.map(|file| file.path.as_str()).collect();
    fs::write(control.join("conffiles"), config.join("\n") + "\n")?;
    for script in ["postinst", "prerm", "postrm"] {
        let source = root.join("packaging/deb").join(script);
        fs::copy(&source, control.join(script)).with_context(|| source.display().to_string())?;
    }
    let name = format!("sockeye_{}_{}.deb", release.version, debian(release.arch));
    let package = release.out.join(name);
    let mut build = cargo::command(root, "dpkg-deb");
    build.args(["--root-owner-group", "--build"]);
    match release.effort {
        Effort::Least => build.args(["-Zgzip", "-z1"]),
        Effort::Most => build.arg("-Zxz"),
    };
    build.arg(&staged).arg(&package).env("SOURCE_DATE_EPOCH", release.epoch.to_string());
    cargo::run(build).context("Debian's dpkg has dpkg-deb")?;
    Ok(package)
}

/// As hard links where possible; the modes are those of the files.
pub(crate) fn copy(tree: &Tree, to: &Path) -> Result<()> {
    for file in &tree.files {
        let place = to.join(file.path.trim_start_matches('/'));
        fs::create_dir_all(place.parent().context("a file has a folder")?)?;
        fs::copy(tree.place(file), &place).with_context(|| place.display().to_string())?;
    }
    Ok(())
}

fn fields(release: &Release<'_>, tree: &Tree) -> Result<String> {
    let mut text = String::new();
    // A String takes every write.
    // A hyphen would begin Debian's own revision, and 0.1.0-rc.1 would be newer than 0.1.0.
    let version = release.version.replace('-', "~");
    let _ = writeln!(text, "Package: sockeye\nVersion: {version}");
    let _ = writeln!(text, "Architecture: {}", debian(release.arch));
    let _ = writeln!(text, "Installed-Size: {}", tree.bytes()?.div_ceil(1024));
    if tree.is_dynamic {
        text.push_str("Depends: libc6\n");
    }
    text.push_str(FIELDS);
    Ok(text)
}

/// Debian's name of an architecture.
fn debian(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "amd64",
        Arch::Aarch64 => "arm64",
    }
}

const FIELDS: &str = "\
Maintainer: The Sockeye developers <sockeye@localhost>
Section: net
Priority: optional
Description: ships every TCP socket of every network namespace as rows
 Sockeye asks the kernel for every TCP socket of every network namespace, and
 ships a row for each to Kafka, to files or to stdout.
";
