//! The tree of files that packages install, made of a program: what it prints of itself is part of it.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use flate2::{Compression, GzBuilder};

use crate::cargo;

/// A tree below a folder, in the order of its paths.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) folder: PathBuf,
    pub(crate) files: Vec<Installed>,
    /// Whether the program asks for a C library of the host.
    pub(crate) is_dynamic: bool,
}

/// One file; directories follow from the paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Installed {
    /// Absolute, as on the host that it is installed on.
    pub(crate) path: String,
    pub(crate) mode: u32,
    /// The administrator's from then on.
    pub(crate) is_config: bool,
}

/// What to make it of.
#[derive(Debug)]
pub(crate) struct Programs<'a> {
    /// The program to install.
    pub(crate) installed: &'a Path,
    /// The same for this host, which is asked for pages and completions.
    pub(crate) asked: &'a Path,
}

impl Tree {
    /// Makes the tree anew.
    ///
    /// # Errors
    /// A file is missing, or the program does not print what it should.
    pub(crate) fn make(root: &Path, programs: &Programs<'_>, folder: PathBuf) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(&folder).context("the tree of the last time")?;
        }
        let program = fs::read(programs.installed)
            .with_context(|| programs.installed.display().to_string())?;
        let mut tree = Self { folder, files: Vec::new(), is_dynamic: is_dynamic(&program) };
        let ask = |arguments: &[&str]| output(root, programs.asked, arguments);
        tree.put("/usr/bin/sockeye", &program, 0o755)?;
        tree.put(UNIT, &fs::read(root.join("packaging/systemd/sockeye.service"))?, 0o644)?;
        tree.put(CONFIG, &ask(&["run", "--print-default-config"])?, 0o644)?;
        tree.put("/usr/share/man/man1/sockeye.1.gz", &gzip(&ask(&["man"])?)?, 0o644)?;
        for command in commands(&ask(&["--help"])?)? {
            let page = format!("/usr/share/man/man1/sockeye-{command}.1.gz");
            tree.put(&page, &gzip(&ask(&["man", &command])?)?, 0o644)?;
        }
        for (shell, path) in COMPLETIONS {
            tree.put(path, &ask(&["completions", shell])?, 0o644)?;
        }
        tree.put("/usr/share/doc/sockeye/copyright", &fs::read(root.join("LICENSE"))?, 0o644)?;
        for page in DOCS {
            let text = fs::read(root.join("docs").join(page)).with_context(|| page.to_owned())?;
            tree.put(&format!("/usr/share/doc/sockeye/{page}"), &text, 0o644)?;
        }
        tree.files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(tree)
    }

    /// Where a file of the tree is now.
    pub(crate) fn place(&self, file: &Installed) -> PathBuf {
        self.folder.join(file.path.trim_start_matches('/'))
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> Result<u64> {
        self.files.iter().map(|file| Ok(fs::metadata(self.place(file))?.len())).sum()
    }

    fn put(&mut self, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let file = Installed { path: path.to_owned(), mode, is_config: path == CONFIG };
        let place = self.place(&file);
        let folder = place.parent().context("a file has a folder")?;
        fs::create_dir_all(folder)?;
        fs::write(&place, bytes).with_context(|| place.display().to_string())?;
        fs::set_permissions(&place, Permissions::from_mode(mode))?;
        self.files.push(file);
        Ok(())
    }
}

/// What a program prints.
fn output(root: &Path, program: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let mut command = cargo::command(root, program);
    let output = command.args(arguments).output().with_context(|| program.display().to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "sockeye {}: {}", arguments.join(" "), said.trim());
    Ok(output.stdout)
}

/// The commands that `--help` lists.
fn commands(help: &[u8]) -> Result<Vec<String>> {
    let help = String::from_utf8_lossy(help);
    let (_, list) = help.split_once("Commands:\n").context("--help lists no commands")?;
    let names = list.lines().take_while(|line| !line.is_empty());
    let names = names.filter_map(|line| line.split_whitespace().next());
    Ok(names.filter(|name| *name != "help").map(str::to_owned).collect())
}

/// With no name and no time, so that the same text is the same bytes.
fn gzip(text: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    gzip.write_all(text)?;
    Ok(gzip.finish()?)
}

/// Whether a program names an interpreter, which loads the C library.
fn is_dynamic(program: &[u8]) -> bool {
    let head = program.get(..HEAD.min(program.len())).unwrap_or_default();
    head.windows(b"/ld-".len()).any(|word| word == b"/ld-")
}

/// The file of the administrator.
pub(crate) const CONFIG: &str = "/etc/sockeye/sockeye.toml";
const UNIT: &str = "/usr/lib/systemd/system/sockeye.service";
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "/usr/share/bash-completion/completions/sockeye"),
    ("fish", "/usr/share/fish/vendor_completions.d/sockeye.fish"),
    ("zsh", "/usr/share/zsh/vendor-completions/_sockeye"),
];
const DOCS: [&str; 3] = ["CHANGELOG.md", "REFERENCE.md", "operations.md"];
/// An interpreter stands right behind the headers.
const HEAD: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_those_of_the_help() {
        let help = b"Usage: x\n\nCommands:\n  run   Poll\n  man   Print\n  help  Print\n\nOptions:\n  -h\n";
        assert_eq!(commands(help).unwrap(), ["run", "man"]);
    }

    #[test]
    fn a_program_with_an_interpreter_is_dynamic() {
        assert!(is_dynamic(b"\x7fELF\0\0/lib64/ld-linux-x86-64.so.2\0"));
        assert!(is_dynamic(b"\x7fELF/lib/ld-musl-aarch64.so.1"));
        assert!(!is_dynamic(b"\x7fELF\0\0\0"));
        assert!(is_dynamic(&fs::read("/bin/sh").unwrap()));
    }

    #[test]
    fn the_same_page_is_the_same_bytes() {
        assert_eq!(gzip(b"a page").unwrap(), gzip(b"a page").unwrap());
    }
}
