//! Where a file is written, and the name it gets when it is complete; renaming without overwriting.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::pattern::PathPattern;

/// The names of one file.
///
/// A plain path `x.csv` is written under its own name and completed as `x.20240203T040506Z.csv`, the time of its opening. A path
/// with conversions is written as `EXPANDED.partial` and completed as `EXPANDED`. Either gets `-1`, `-2` … when that
/// name is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    path: PathBuf,
    /// For a path with conversions.
    expanded: Option<PathBuf>,
}

impl Place {
    pub(crate) fn at(pattern: &PathPattern, zstd: bool, now: Timestamp) -> Self {
        let mut path = pattern.expand(now);
        if zstd && !path.ends_with(ZST) {
            path.push_str(ZST);
        }
        if pattern.is_pattern() {
            Self { expanded: Some(PathBuf::from(&path)), path: PathBuf::from(path + PARTIAL) }
        } else {
            Self { path: PathBuf::from(path), expanded: None }
        }
    }

    /// Of a file with conversions in its name that is not complete.
    pub(crate) fn of_partial(path: &Path) -> Option<Self> {
        let expanded = path.as_os_str().as_bytes().strip_suffix(PARTIAL.as_bytes())?;
        Some(Self { expanded: Some(OsStr::from_bytes(expanded).into()), path: path.to_owned() })
    }

    /// The same with the file that a symbolic link leads to, so that a rotation renames the file and not the link:
    /// think of `/dev/stdout`.
    pub(crate) fn behind_link(mut self) -> Self {
        if self.path.is_symlink()
            && let Ok(file) = self.path.canonicalize()
        {
            self.path = file;
        }
        self
    }

    /// Where it is written.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn is_pattern(&self) -> bool {
        self.expanded.is_some()
    }

    /// Whether the pattern has another name by now.
    pub(crate) fn renamed(&self, now: &Self) -> bool {
        self.is_pattern() && self.expanded != now.expanded
    }

    /// Gives the file its final name.
    pub(crate) fn complete(&self, opened: Timestamp) -> io::Result<PathBuf> {
        match &self.expanded {
            Some(expanded) => rename(&self.path, expanded, ""),
            None => set_aside(&self.path, opened),
        }
    }
}

/// Renames `x.csv` to `x.TIME.csv`.
pub(crate) fn set_aside(path: &Path, at: Timestamp) -> io::Result<PathBuf> {
    let at = at.to_zoned(TimeZone::UTC).strftime(".%Y%m%dT%H%M%SZ").to_string();
    rename(path, path, &at)
}

/// Renames `from` to `to` with `mark` before its extension, or with the first of `mark-1`, `mark-2` … that does not exist:
/// what looks for an extension finds all of them. Returns the name.
fn rename(from: &Path, to: &Path, mark: &str) -> io::Result<PathBuf> {
    let numbered = (1..MOST_NUMBERS).map(|number| marked(to, &format!("{mark}-{number}")));
    for to in std::iter::once(marked(to, mark)).chain(numbered) {
        match rename_no_replace(from, &to) {
            Ok(()) => return Ok(to),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn rename_no_replace(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems (NFS, FUSE) do not know the flag. A link refuses to replace as well.
        Err(Errno::INVAL | Errno::NOSYS) => {
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        other => Ok(other?),
    }
}

/// `x.csv.zst` with `-1` is `x-1.csv.zst`; a name without an extension, or one that is not finished, gets it at its end.
fn marked(path: &Path, mark: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let plain = name.strip_suffix(ZST.as_bytes()).unwrap_or(name);
    let dot = plain.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0);
    let end =
        if name.ends_with(PARTIAL.as_bytes()) { name.len() } else { dot.unwrap_or(plain.len()) };
    let (stem, extension) = name.split_at(end);
    path.with_file_name(OsStr::from_bytes(&[stem, mark.as_bytes(), extension].concat()))
}

pub(crate) const ZST: &str = ".zst";
pub(crate) const PARTIAL: &str = ".partial";
/// So many files of one name in a row mean that something else is wrong.
const MOST_NUMBERS: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_mark_goes_before_the_extension() {
        let name = |path: &str, mark: &str| marked(Path::new(path), mark).display().to_string();
        assert_eq!(name("/log/a.b.csv.zst", "-1"), "/log/a.b-1.csv.zst");
        assert_eq!(name("x.jsonl", ".T-2"), "x.T-2.jsonl");
        assert_eq!(
            (name("rows", ".T-1"), name("rows.zst", "-1")),
            ("rows.T-1".into(), "rows-1.zst".into())
        );
        assert_eq!(name(".hidden", "-1"), ".hidden-1");
        assert_eq!(name("x.csv.partial", ".T"), "x.csv.partial.T");
    }

    #[test]
    fn a_taken_name_is_numbered_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let name = |name: &str| dir.path().join(name);
        for (content, expected) in [("1", "to"), ("2", "to-1"), ("3", "to-2")] {
            fs::write(name("from"), content).unwrap();
            assert_eq!(rename(&name("from"), &name("to"), "").unwrap(), name(expected));
        }
        for (content, expected) in [("1", "to"), ("2", "to-1"), ("3", "to-2")] {
            assert_eq!(fs::read_to_string(name(expected)).unwrap(), content);
        }
        assert!(!name("from").exists());
    }
}
