//! The id of a cgroup v2: the inode of its directory.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The id of the cgroup at `path`, which may begin at the root of the hierarchy or of the file system.
pub(crate) fn id_of(path: &str) -> Result<u64, String> {
    let mounts = fs::read_to_string(MOUNTS).map_err(|error| format!("{MOUNTS}: {error}"))?;
    let mounts = cgroup2_mounts(&mounts);
    if mounts.is_empty() {
        return Err("no cgroup v2 hierarchy is mounted here".to_owned());
    }
    candidates(&mounts, path)
        .iter()
        .filter_map(|candidate| candidate.canonicalize().ok())
        .filter(|candidate| mounts.iter().any(|mount| candidate.starts_with(mount)))
        .find_map(|candidate| Some(candidate.metadata().ok()?).filter(fs::Metadata::is_dir))
        .map(|metadata| metadata.ino())
        .ok_or_else(|| {
            let mount = mounts.first().map_or(Path::new(""), |mount| mount).display();
            format!("no cgroup {path:?} below {mount}; give a path such as /system.slice")
        })
}

fn candidates(mounts: &[PathBuf], path: &str) -> Vec<PathBuf> {
    let inside = path.trim_start_matches('/');
    let whole = path.starts_with('/').then(|| PathBuf::from(path));
    whole.into_iter().chain(mounts.iter().map(|mount| mount.join(inside))).collect()
}

/// `device place type options 0 0`, with spaces of the place as `\040`.
fn cgroup2_mounts(mounts: &str) -> Vec<PathBuf> {
    let fields = mounts.lines().map(|line| line.split(' '));
    let places = fields.filter_map(|mut fields| {
        let place = fields.nth(1)?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(place.replace("\\040", " ")))
    });
    places.collect()
}

const MOUNTS: &str = "/proc/self/mounts";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hierarchies_of_version_2_count() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n\
                      cgroup2 /mnt/a\\040b cgroup2 rw 0 0\n";
        let expected = ["/sys/fs/cgroup/unified", "/mnt/a b"].map(PathBuf::from);
        assert_eq!(cgroup2_mounts(mounts), expected);
    }

    #[test]
    fn a_path_is_tried_as_it_is_and_below_each_hierarchy() {
        let mounts = [PathBuf::from("/c")];
        assert_eq!(candidates(&mounts, "/c/a"), ["/c/a", "/c/c/a"].map(PathBuf::from));
        assert_eq!(candidates(&mounts, "a"), ["/c/a"].map(PathBuf::from));
    }
}
