//! Where a file is written, and the name it gets when it is complete; renaming without overwriting.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::pattern::PathPattern;

/// The names of one file.
///
/// A plain path is written under its own name and completed as `PATH.20240203T040506Z`, the time of its opening. A path
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
            Some(expanded) => rename(&self.path, expanded),
            None => set_aside(&self.path, opened),
        }
    }
}

/// Renames `path` to `path.TIME`.
pub(crate) fn set_aside(path: &Path, at: Timestamp) -> io::Result<PathBuf> {
    let at = at.to_zoned(TimeZone::UTC).strftime(".%Y%m%dT%H%M%SZ").to_string();
    rename(path, &suffixed(path, &at))
}

/// Renames `from` to `to`, or to the first of `to-1`, `to-2` … that does not exist. Returns the name.
fn rename(from: &Path, to: &Path) -> io::Result<PathBuf> {
    let numbered = (1..MOST_NUMBERS).map(|number| suffixed(to, &format!("-{number}")));
    for to in std::iter::once(to.to_owned()).chain(numbered) {
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

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

const ZST: &str = ".zst";
const PARTIAL: &str = ".partial";
/// So many files of one name in a row mean that something else is wrong.
const MOST_NUMBERS: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_taken_name_is_numbered_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let name = |name: &str| dir.path().join(name);
        for (content, expected) in [("1", "to"), ("2", "to-1"), ("3", "to-2")] {
            fs::write(name("from"), content).unwrap();
            assert_eq!(rename(&name("from"), &name("to")).unwrap(), name(expected));
        }
        for (content, expected) in [("1", "to"), ("2", "to-1"), ("3", "to-2")] {
            assert_eq!(fs::read_to_string(name(expected)).unwrap(), content);
        }
        assert!(!name("from").exists());
    }
}
