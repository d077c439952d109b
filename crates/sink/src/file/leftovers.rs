//! What a crash left under unfinished names: a path with conversions has another name by the next start, so that nobody
//! would ever continue it.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tracing::{info, warn};

use super::FileSettings;
use super::open::leads_to;
use super::place::{PARTIAL, Place, ZST};
use super::torn::{self, Tail};

/// Completes every `.partial` of these settings that nobody writes. What goes wrong with one of them is logged: it
/// stays as it is.
pub(crate) fn complete(settings: &FileSettings, active: &Path, now: Timestamp) {
    let parent = active.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or(Path::new("."));
    match left_over(settings, directory, active.file_name()) {
        Ok(paths) => {
            for path in paths {
                if let Err(error) = complete_one(settings, &path, now) {
                    warn!(path = %path.display(), %error, "an unfinished file can't be completed");
                }
            }
        }
        Err(error) => {
            warn!(directory = %directory.display(), %error, "can't be searched for unfinished files");
        }
    }
}

fn left_over(
    settings: &FileSettings,
    directory: &Path,
    active: Option<&OsStr>,
) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if Some(name.as_os_str()) != active && is_partial(settings, name.as_bytes()) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// Whether the settings give this name at some time.
fn is_partial(settings: &FileSettings, name: &[u8]) -> bool {
    let Some(name) = name.strip_suffix(PARTIAL.as_bytes()) else { return false };
    let bare = name.strip_suffix(ZST.as_bytes());
    let pattern = &settings.path;
    match bare {
        Some(bare) if settings.zstd => pattern.may_name(bare) || pattern.may_name(name),
        None if settings.zstd => false,
        _ => pattern.may_name(name),
    }
}

fn complete_one(settings: &FileSettings, path: &Path, now: Timestamp) -> io::Result<()> {
    if !path.symlink_metadata()?.is_file() {
        return Ok(());
    }
    let file = OpenOptions::new().read(true).append(true).open(path)?;
    // Without a lock nobody knows whether it is being written.
    if file.try_lock().is_err() || !leads_to(path, &file)? {
        return Ok(());
    }
    let mut len = file.metadata()?.len();
    match torn::examine(&file, len, settings)? {
        Tail::Whole => {}
        Tail::TornAt(offset) => {
            file.set_len(offset)?;
            warn!(path = %path.display(), bytes = len - offset, "cut off a torn tail");
            len = offset;
        }
        Tail::Foreign(why) => {
            warn!(path = %path.display(), why, "left an unfinished file as it is");
            return Ok(());
        }
    }
    if len == 0 {
        fs::remove_file(path)?;
        info!(path = %path.display(), "removed an unfinished file without content");
        return Ok(());
    }
    file.sync_data()?;
    if let Some(place) = Place::of_partial(path) {
        let completed = place.complete(now)?;
        info!(path = %completed.display(), "completed a file that was left unfinished");
    }
    Ok(())
}
