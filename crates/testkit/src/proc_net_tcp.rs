//! `/proc/net/tcp` and `tcp6` of the calling thread's namespace: state and queues of sockets by inode.
//!
//! For waiting until a socket is what it is to be. It needs no `unsafe` ioctl and no netlink, which is what is tested.

use std::collections::HashMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// What `/proc/net/tcp` tells of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The state, as the kernel numbers them: 1 is established, 5 is FIN-WAIT-2.
    pub state: u8,
    /// Whether there is anything unacknowledged or unread.
    pub busy: bool,
}

/// All sockets with an inode in the namespace of the calling thread.
pub fn entries() -> HashMap<u64, Entry> {
    let mut entries = HashMap::new();
    for table in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
        // IPv6 can be switched off; then there is no table.
        let text = fs::read_to_string(table).unwrap_or_default();
        entries.extend(text.lines().filter_map(parse).filter(|(inode, _)| *inode != 0));
    }
    entries
}

/// Waits until `done` says so of the entries, looking every few milliseconds.
///
/// # Errors
/// It did not come true within `patience`; `what` says in the error what was waited for.
pub fn wait_until(
    what: &str,
    patience: Duration,
    mut done: impl FnMut(&HashMap<u64, Entry>) -> bool,
) -> Result<()> {
    let deadline = Instant::now() + patience;
    while !done(&entries()) {
        if Instant::now() > deadline {
            bail!("not within {patience:?}: {what}");
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// `0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 4711 …`
fn parse(line: &str) -> Option<(u64, Entry)> {
    let mut fields = line.split_whitespace().skip(3);
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let busy = fields.next()? != "00000000:00000000";
    let inode = fields.nth(4)?.parse().ok()?;
    Some((inode, Entry { state, busy }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_gives_inode_state_and_queues() {
        let line = "   1: 0100007F:1F90 0100007F:9C40 05 00000000:00000003 00:00000000 00000000  1000        0 4711 1 x";
        assert_eq!(parse(line), Some((4711, Entry { state: 5, busy: true })));
        let idle = line.replace(":00000003", ":00000000");
        assert_eq!(parse(&idle), Some((4711, Entry { state: 5, busy: false })));
        assert_eq!(
            parse("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when"),
            None
        );
    }
}
