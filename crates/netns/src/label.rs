//! The name of a network namespace, from what is known about it.

use std::path::Path;
use std::sync::Arc;

use sockeye_sys::netns::NetnsId;

use crate::Container;

/// The name of the host's own namespace.
pub const DEFAULT_NAME: &str = "default";

/// `default`, else the file name of a bind mount, else the container's id, else `netns:[inode]`.
///
/// Names come from outside: bytes that are not UTF-8 become U+FFFD.
pub(crate) fn name(
    id: NetnsId,
    is_default: bool,
    mount: Option<&Path>,
    container: Option<&Container>,
) -> Arc<str> {
    if is_default {
        DEFAULT_NAME.into()
    } else if let Some(file) = mount.and_then(Path::file_name) {
        file.to_string_lossy().into()
    } else if let Some(container) = container {
        Arc::clone(&container.id)
    } else {
        id.to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;
    use crate::Runtime;

    const ID: NetnsId = NetnsId { device: 4, inode: 4_026_532_008 };

    #[test]
    fn the_default_name_goes_before_mount_container_and_inode() {
        let mount = Some(Path::new("/run/netns/blue"));
        let container = Container { id: "0a1b".into(), runtime: Runtime::Docker };
        assert_eq!(&*name(ID, true, mount, Some(&container)), "default");
        assert_eq!(&*name(ID, false, mount, Some(&container)), "blue");
        assert_eq!(&*name(ID, false, None, Some(&container)), "0a1b");
        assert_eq!(&*name(ID, false, None, None), "netns:[4026532008]");
    }

    #[test]
    fn a_mount_name_that_is_not_utf8_is_kept_lossily() {
        let path = Path::new("/run/netns").join(OsStr::from_bytes(b"bl\xffe"));
        assert_eq!(&*name(ID, false, Some(&path), None), "bl\u{fffd}e");
    }

    #[test]
    fn a_path_without_a_file_name_is_no_name() {
        assert_eq!(&*name(ID, false, Some(Path::new("/")), None), "netns:[4026532008]");
    }
}
