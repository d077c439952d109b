//! Opening a file to append to: what it may be, who else writes it, and how its last writer left it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use thiserror::Error;
use tracing::warn;

use super::FileSettings;
use super::place::set_aside;
use super::torn::{self, Tail};

/// Why a file can't be written.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Create the directory, or name another one.
    #[error("directory {} does not exist: create it, or name another one", directory.display())]
    NoDirectory {
        /// The directory.
        directory: PathBuf,
    },
    /// Name something that is a file.
    #[error("{} is {what}, not a file: name another path", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Stop the other process, or name another path.
    #[error("{} is being written by another process or sink: name another path", path.display())]
    Busy {
        /// The path.
        path: PathBuf,
    },
    /// The system refuses: permissions, a read-only or full disk.
    #[error("{}: {error}", path.display())]
    Refused {
        /// The path.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The compressor has no memory.
    #[error("zstd: {0}")]
    Zstd(io::Error),
}

impl OpenError {
    pub(crate) fn into_io(self) -> io::Error {
        let kind = match &self {
            Self::NoDirectory { .. } => io::ErrorKind::NotFound,
            Self::Refused { error, .. } | Self::Zstd(error) => error.kind(),
            Self::NotAFile { .. } => io::ErrorKind::InvalidInput,
            Self::Busy { .. } => io::ErrorKind::ResourceBusy,
        };
        io::Error::new(kind, self)
    }
}

/// What was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: File,
    /// A character device takes what it gets: it is neither cut nor renamed.
    pub(crate) device: bool,
}

/// Opens `path` to append to it, and cuts it back to its last whole envelope. What is no file of these settings is set
/// aside, whole, and an empty file takes its place.
pub(crate) fn open(
    path: &Path,
    settings: &FileSettings,
    now: Timestamp,
) -> Result<Opened, OpenError> {
    let refused = |error| OpenError::Refused { path: path.to_owned(), error };
    let mut attempts = 0..MOST_ATTEMPTS;
    loop {
        let device = is_device(path)?;
        let file = OpenOptions::new().read(!device).append(true).create(!device).open(path);
        let file =
            file.map_err(|error| missing_directory(path).unwrap_or_else(|| refused(error)))?;
        if device {
            return Ok(Opened { file, device });
        }
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(OpenError::Busy { path: path.to_owned() }),
            // There are file systems without locks.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        // Whoever had the lock before may have completed or removed it since it was opened.
        if attempts.next().is_some() && !leads_to(path, &file).map_err(refused)? {
            continue;
        }
        let len = file.metadata().map_err(refused)?.len();
        match torn::examine(&file, len, settings).map_err(refused)? {
            Tail::Whole => return Ok(Opened { file, device }),
            Tail::TornAt(offset) => {
                file.set_len(offset).map_err(refused)?;
                warn!(path = %path.display(), bytes = len - offset, "cut off a torn tail");
                return Ok(Opened { file, device });
            }
            Tail::Foreign(why) => {
                let aside = set_aside(path, now).map_err(refused)?;
                warn!(path = %path.display(), aside = %aside.display(), why, "set a file aside that can't be continued");
            }
        }
    }
}

/// Whether the path still leads to this file.
pub(crate) fn leads_to(path: &Path, file: &File) -> io::Result<bool> {
    let file = file.metadata()?;
    match path.metadata() {
        Ok(there) => Ok((there.dev(), there.ino()) == (file.dev(), file.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether it is a character device; nothing but these and files is written.
fn is_device(path: &Path) -> Result<bool, OpenError> {
    let Ok(metadata) = path.metadata() else { return Ok(false) };
    let kind = metadata.file_type();
    let what = match () {
        () if kind.is_file() => return Ok(false),
        () if kind.is_char_device() => return Ok(true),
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () => "a block device",
    };
    Err(OpenError::NotAFile { path: path.to_owned(), what })
}

fn missing_directory(path: &Path) -> Option<OpenError> {
    let parent = path.parent()?;
    let directory = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    (!directory.exists()).then(|| OpenError::NoDirectory { directory: directory.to_owned() })
}

/// A file system whose files never are where they were opened must not keep us for ever.
const MOST_ATTEMPTS: u32 = 10;
