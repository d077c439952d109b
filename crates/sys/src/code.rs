//! The program's own code in memory. Much of it is for the start, and counts as resident for as long as it is mapped.

use std::fs;
use std::io;
use std::ops::Range;

use rustix::mm::{Advice, madvise};

/// Lets go of the pages of all code, the program's and its libraries'. They stay in the page cache, and what is still used
/// comes back from there, some tens of kilobytes at a time.
///
/// What somebody has written into the code of this process by now is lost: breakpoints of debuggers, uprobes.
///
/// # Errors
/// `/proc/self/maps` can't be read, or the kernel refuses, such as for memory that is locked; all that it permits is done.
#[expect(unsafe_code, reason = "it is about memory")]
pub fn let_go() -> io::Result<()> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let mut all = Ok(());
    for range in maps.lines().filter_map(code) {
        let start = std::ptr::with_exposed_provenance_mut(range.start);
        // SAFETY: the range is mapped from a file that has a name, privately and not writable; this program writes to none of its
        // code, so what is read again is the same. It is not unmapped meanwhile: the program unloads no code, nor does libc
        // unload what it loads by itself.
        let done = unsafe { madvise(start, range.len(), Advice::LinuxDontNeed) };
        all = all.and(done);
    }
    Ok(all?)
}

/// The range of a line of `maps`, if it is code out of a file. (What is not executable may have been written to before it became
/// read-only, by relocations.)
fn code(line: &str) -> Option<Range<usize>> {
    let mut words = line.split_ascii_whitespace();
    let (range, permissions, inode) = (words.next()?, words.next()?, words.nth(2)?);
    // Memory without a file may have a name that looks like one, but is then told to be deleted.
    let is_file = inode != "0" && words.next()?.starts_with('/') && words.next().is_none();
    if permissions != "r-xp" || !is_file {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    Some(address(start)?..address(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_what_is_executable_and_out_of_a_file() {
        let line = |permissions: &str, inode: &str, file: &str| {
            code(&format!("7f00-8f00 {permissions} 00026000 fe:00 {inode}    {file}"))
        };
        assert_eq!(line("r-xp", "326269", "/usr/lib/libc.so.6"), Some(0x7f00..0x8f00));
        for permissions in ["r--p", "rw-p", "rwxp", "r-xs"] {
            assert_eq!(line(permissions, "326269", "/bin/x"), None, "{permissions}");
        }
        for (inode, file) in [
            ("0", "[vdso]"),
            ("0", ""),
            ("7", "/memfd:jit (deleted)"),
            ("7", "/anon_hugepage (deleted)"),
            ("0", "/dev/zero"),
        ] {
            assert_eq!(line("r-xp", inode, file), None, "{file}");
        }
    }
}
