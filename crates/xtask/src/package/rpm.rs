//! An RPM package, made by `rpmbuild` of packaging/rpm/sockeye.spec.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::tree::{Installed, Tree};
use super::{Effort, Release};
use crate::cargo;

/// Writes `sockeye-VERSION-1.ARCH.rpm` and returns its path.
///
/// # Errors
/// There is no `rpmbuild`, or it refuses the tree.
pub(crate) fn make(root: &Path, release: &Release<'_>, tree: &Tree) -> Result<PathBuf> {
    let top = release.work.join("rpm");
    if top.exists() {
        fs::remove_dir_all(&top)?;
    }
    fs::create_dir_all(&top)?;
    let template = fs::read_to_string(root.join("packaging/rpm/sockeye.spec"))?;
    let spec = top.join("sockeye.spec");
    fs::write(&spec, filled(&template, release.version, tree))?;
    let payload = match release.effort {
        Effort::Least => "w1.gzdio",
        Effort::Most => "w9.xzdio",
    };
    let arch = release.arch.name();
    let mut build = cargo::command(root, "rpmbuild");
    build.args(["--quiet", "-bb", "--target", &format!("{arch}-linux")]);
    for define in [
        format!("_topdir {}", top.display()),
        format!("_rpmdir {}", top.display()),
        "_rpmfilename package.rpm".to_owned(),
        format!("_binary_payload {payload}"),
        "use_source_date_epoch_as_buildtime 1".to_owned(),
        "clamp_mtime_to_source_date_epoch 1".to_owned(),
        "_buildhost localhost".to_owned(),
    ] {
        build.args(["--define", &define]);
    }
    build.arg(&spec).env("SOURCE_DATE_EPOCH", release.epoch.to_string());
    cargo::run(build).context("Debian's rpm, Fedora's rpm-build has rpmbuild")?;
    let package = release.out.join(format!("sockeye-{}-1.{arch}.rpm", release.version));
    fs::copy(top.join("package.rpm"), &package)?;
    Ok(package)
}

fn filled(template: &str, version: &str, tree: &Tree) -> String {
    let folders = OURS.iter().map(|folder| format!("%dir %attr(0755,root,root) {folder}"));
    let files: Vec<String> = folders.chain(tree.files.iter().map(line)).collect();
    // A dash separates version and release there.
    template
        .replace("@VERSION@", &version.replace('-', "~"))
        .replace("@REQUIRES@", if tree.is_dynamic { "Requires: libc.so.6" } else { "" })
        .replace("@TREE@", &tree.folder.display().to_string())
        .replace("@FILES@", &files.join("\n"))
}

fn line(file: &Installed) -> String {
    let kind = if file.is_config {
        "%config(noreplace) "
    } else if file.path.starts_with("/usr/share/doc/") {
        "%doc "
    } else {
        ""
    };
    format!("%attr({:04o},root,root) {kind}{}", file.mode, file.path)
}

/// Folders that nobody else has files in.
const OURS: [&str; 2] = ["/etc/sockeye", "/usr/share/doc/sockeye"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_the_administrator_is_not_replaced() {
        let file = |path: &str, is_config| Installed { path: path.into(), mode: 0o644, is_config };
        let tree = Tree {
            folder: "/tree".into(),
            files: vec![file("/etc/a", true), file("/usr/share/doc/b", false)],
            is_dynamic: false,
        };
        let text = filled("@VERSION@ @TREE@ [@REQUIRES@]\n@FILES@\n", "0.1.0-rc.1", &tree);
        assert_eq!(
            text,
            "0.1.0~rc.1 /tree []\n\
             %dir %attr(0755,root,root) /etc/sockeye\n\
             %dir %attr(0755,root,root) /usr/share/doc/sockeye\n\
             %attr(0644,root,root) %config(noreplace) /etc/a\n\
             %attr(0644,root,root) %doc /usr/share/doc/b\n"
        );
    }
}
