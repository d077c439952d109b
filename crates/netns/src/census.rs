//! What a namespace says of its sockets without being asked for each: its counter files, opened from inside.

use std::cell::OnceCell;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::uio::pread;
use sockeye_sys::with_task_dir;

use crate::sockstat::{SockStat, SockStatError};

/// The counters of one namespace, to be read as often as needed.
///
/// The open files keep the namespace alive: drop it when the dump that it was opened for begins to take long.
#[derive(Debug)]
pub struct Census {
    sockstat: OwnedFd,
    /// A kernel without IPv6 has none.
    sockstat6: Option<OwnedFd>,
    /// Opened when it is needed.
    snmp: OnceCell<OwnedFd>,
    proc_root: PathBuf,
}

impl Census {
    /// Opens `sockstat` and `sockstat6` of the namespace that the calling thread is in.
    ///
    /// # Errors
    /// The files can't be opened: without counters, the namespace has to be dumped to know.
    pub fn open(proc_root: &Path) -> Result<Self, Errno> {
        let sockstat = open(proc_root, "net/sockstat")?;
        let sockstat6 = match open(proc_root, "net/sockstat6") {
            Ok(file) => Some(file),
            Err(Errno::ENOENT) => None,
            Err(errno) => return Err(errno),
        };
        Ok(Self { sockstat, sockstat6, snmp: OnceCell::new(), proc_root: proc_root.to_owned() })
    }

    /// The counters now. Can be called from anywhere.
    ///
    /// # Errors
    /// [`SockStatError::Read`] or [`SockStatError::Malformed`].
    pub fn sockstat(&self) -> Result<SockStat, SockStatError> {
        let (mut v4, mut v6) = ([0; SMALL_FILE_BYTES], [0; SMALL_FILE_BYTES]);
        // In this order: what `sockstat6` does not count any more by then may be a mini-socket, which `sockstat` counts for both.
        let sockstat6 = match &self.sockstat6 {
            Some(file) => Some(read(file, &mut v6)?),
            None => None,
        };
        let sockstat = read(&self.sockstat, &mut v4)?;
        SockStat::parse(sockstat, sockstat6).ok_or(SockStatError::Malformed)
    }

    /// How many connections were ever opened, by either side and of either family: `ActiveOpens + PassiveOpens` of
    /// `snmp`. The first call has to be made inside the namespace.
    ///
    /// # Errors
    /// As of [`Census::sockstat`].
    pub fn opens(&self) -> Result<u64, SockStatError> {
        let mut buffer = [0; LARGE_FILE_BYTES];
        let file = if let Some(file) = self.snmp.get() {
            file
        } else {
            let file = open(&self.proc_root, "net/snmp").map_err(SockStatError::Read)?;
            self.snmp.get_or_init(|| file)
        };
        opens_in(read(file, &mut buffer)?).ok_or(SockStatError::Malformed)
    }

    /// How many sockets are in use by the count of every protocol, TCP included: `protocols`. Together with
    /// [`SockStat::used`] it tells whether there are sockets that no protocol counts, such as those that are bound and
    /// neither listen nor connect. To be called inside the namespace.
    ///
    /// # Errors
    /// As of [`Census::sockstat`].
    pub fn in_use_by_protocols(&self) -> Result<u64, SockStatError> {
        let mut buffer = [0; LARGE_FILE_BYTES];
        let file = open(&self.proc_root, "net/protocols").map_err(SockStatError::Read)?;
        in_use_in(read(&file, &mut buffer)?).ok_or(SockStatError::Malformed)
    }
}

/// A file of the calling thread.
fn open(proc_root: &Path, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    with_task_dir(proc_root, |task| openat(task, name, flags, Mode::empty()))
}

/// The whole file; one that fills the buffer may be longer and is not believed.
fn read<'b>(file: &OwnedFd, buffer: &'b mut [u8]) -> Result<&'b [u8], SockStatError> {
    let capacity = buffer.len();
    let len = pread(file, buffer, 0).map_err(SockStatError::Read)?;
    if len == capacity {
        return Err(SockStatError::Malformed);
    }
    buffer.get(..len).ok_or(SockStatError::Malformed)
}

/// `snmp` has a line of names and a line of numbers for each protocol.
fn opens_in(snmp: &[u8]) -> Option<u64> {
    let text = str::from_utf8(snmp).ok()?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp:"));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let number = |wanted| {
        let place = names.split_ascii_whitespace().position(|name| name == wanted)?;
        numbers.split_ascii_whitespace().nth(place)?.parse::<u64>().ok()
    };
    number("ActiveOpens")?.checked_add(number("PassiveOpens")?)
}

/// `protocols` is a table; the third column counts sockets, and is -1 where a protocol does not.
fn in_use_in(protocols: &[u8]) -> Option<u64> {
    let mut lines = str::from_utf8(protocols).ok()?.lines();
    let mut titles = lines.next()?.split_ascii_whitespace();
    let place = titles.position(|title| title == "sockets")?;
    let mut sum = 0u64;
    for line in lines {
        let count: i64 = line.split_ascii_whitespace().nth(place)?.parse().ok()?;
        sum = sum.checked_add(u64::try_from(count).unwrap_or(0))?;
    }
    Some(sum)
}

const SMALL_FILE_BYTES: usize = 1024;
const LARGE_FILE_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const SNMP: &[u8] = b"Ip: Forwarding DefaultTTL\nIp: 2 64\n\
        Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails\n\
        Tcp: 1 200 120000 -1 40 2 0\nUdp: InDatagrams\nUdp: 7\n";
    const PROTOCOLS: &[u8] =
        b"protocol  size sockets  memory press maxhdr  slab module     cl co\n\
        UNIX-STREAM 1024     10      -1   NI       0   yes  kernel      y  y\n\
        PINGv6    1200     -1      -1   NI       0   yes  kernel      y  y\n\
        TCP       2448      3      1   no      320   yes  kernel      y  y\n";

    #[test]
    fn opens_are_those_of_both_sides() {
        assert_eq!(opens_in(SNMP), Some(42));
        assert_eq!(opens_in(b"Tcp: ActiveOpens\nTcp: 1\n"), None);
        assert_eq!(opens_in(b"Tcp: ActiveOpens PassiveOpens\nTcp: 1\n"), None);
        assert_eq!(opens_in(b"Udp: InDatagrams\nUdp: 7\n"), None);
    }

    #[test]
    fn sockets_of_all_protocols_that_count_are_added_up() {
        assert_eq!(in_use_in(PROTOCOLS), Some(13));
        assert_eq!(in_use_in(b"protocol size\nTCP 1\n"), None);
        assert_eq!(in_use_in(b"protocol size sockets\nTCP 1\n"), None);
    }

    #[test]
    fn the_files_of_the_own_namespace_can_be_read_again_and_again() {
        let census = Census::open(Path::new("/proc")).unwrap();
        let before = census.sockstat().unwrap();
        let _listeners: Vec<_> =
            (0..50).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let after = census.sockstat().unwrap();
        assert!(after.tcp_inuse >= 50 && after.used >= 50, "{before:?} {after:?}");
        assert!(census.in_use_by_protocols().unwrap() >= 50);
        census.opens().unwrap();
    }

    #[test]
    fn a_file_that_may_be_longer_than_the_buffer_is_not_believed() {
        let file = open(Path::new("/proc"), "net/snmp").unwrap();
        assert!(matches!(read(&file, &mut [0; 100]), Err(SockStatError::Malformed)));
    }
}
