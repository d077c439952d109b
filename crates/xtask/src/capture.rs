//! `capture`: netlink messages of a mix of sockets, and what `ss` says of the very same messages.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use sockeye_testkit::netns::{Netns as _, is_root};
use sockeye_testkit::pcap::{Direction, PcapWriter};
use sockeye_testkit::ss::parse;
use sockeye_testkit::ss_run::ARGUMENTS;

use crate::capture_sockets::Sockets;
use crate::cargo;

/// Makes the capture of the running kernel in a folder of its name below `out`.
///
/// # Errors
/// This is not root; sockets could not be made; or the capture does not hold what it should.
pub(crate) fn capture(root: &Path, out: Option<PathBuf>) -> Result<()> {
    ensure!(is_root(), "this makes network namespaces: run it as root");
    cargo::run(cargo::cargo(
        root,
        &["build", "--quiet", "--package", "sockeye-testkit", "--bin", "sockeye-load"],
    ))?;
    let release =
        fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel's release")?;
    let folder = out.unwrap_or_else(|| root.join(FOLDER)).join(version(&release)?);

    let sockets = Sockets::open()?;
    let (dump, text) = dump(&sockets)?;
    drop(sockets);

    let count = parse(&text).context("what ss printed")?.len();
    let rows =
        messages(&dump)?.iter().filter(|message| message.kind == SOCK_DIAG_BY_FAMILY).count();
    ensure!(rows == count, "{rows} sockets in the messages, and {count} in the text");
    for state in STATES {
        ensure!(text.lines().any(|line| line.starts_with(state)), "no socket in {state}");
    }
    let packets = folder.join(format!("tcp_{count}_sockets.pcap"));
    let lines = folder.join(format!("ss_tcp_{count}_sockets.txt"));
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    write_packets(&packets, &dump).with_context(|| format!("writing {}", packets.display()))?;
    fs::write(&lines, text).with_context(|| format!("writing {}", lines.display()))?;
    for path in [packets, lines] {
        println!("wrote {}: {} bytes", path.display(), fs::metadata(&path)?.len());
    }
    Ok(())
}

/// All messages of a dump of both families, and the text that `ss` makes of them.
///
/// `ss -D` writes what the kernel sends and prints nothing; with `TCPDIAG_FILE` it prints what such a file says and
/// asks nobody. So text and messages are of the same instant, to the last timer.
fn dump(sockets: &Sockets) -> Result<(Vec<u8>, String)> {
    let folder = std::env::temp_dir().join(format!("sks-capture-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let result = dump_in(&folder, sockets);
    fs::remove_dir_all(&folder)?;
    result
}

fn dump_in(folder: &Path, sockets: &Sockets) -> Result<(Vec<u8>, String)> {
    let (whole, joined) = (folder.join("whole"), folder.join("joined"));
    let whole_name = whole.display().to_string();
    sockets.netns().exec("ss", &[&["-D", &whole_name][..], &ARGUMENTS].concat())?;
    let dump = fs::read(&whole).context("what ss -D wrote")?;
    fs::write(&joined, joined_dumps(&dump)?)?;
    let file = format!("TCPDIAG_FILE={}", joined.display());
    // In the namespace, whose interfaces `ss` names.
    let text = sockets.netns().exec("env", &[&[&file, "ss"][..], &ARGUMENTS].concat())?;
    // `ss` fills lines up with spaces.
    let text = text.lines().flat_map(|line| [line.trim_end(), "\n"]).collect();
    Ok((dump, text))
}

/// One netlink message.
struct Message<'a> {
    kind: u16,
    bytes: &'a [u8],
}

/// The messages of one family end with `NLMSG_DONE`, and `ss` would read no further: it stays only at the end.
fn joined_dumps(dump: &[u8]) -> Result<Vec<u8>> {
    let messages = messages(dump)?;
    let done = messages
        .iter()
        .rposition(|message| message.kind == NLMSG_DONE)
        .context("a dump without an end")?;
    let kept = messages
        .iter()
        .enumerate()
        .filter(|(at, message)| message.kind != NLMSG_DONE || *at == done);
    Ok(kept.flat_map(|(_, message)| message.bytes).copied().collect())
}

fn messages(dump: &[u8]) -> Result<Vec<Message<'_>>> {
    let mut messages = Vec::new();
    let mut rest = dump;
    while !rest.is_empty() {
        let &[l0, l1, l2, l3, k0, k1, ..] = rest else {
            bail!("{} bytes that are no message", rest.len())
        };
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3]))?;
        ensure!(length >= HEADER_BYTES, "a message of {length} bytes");
        // `ss` writes the padding as well.
        let (bytes, after) =
            rest.split_at_checked(length.next_multiple_of(4)).context("a message is cut")?;
        messages.push(Message { kind: u16::from_ne_bytes([k0, k1]), bytes });
        rest = after;
    }
    Ok(messages)
}

fn write_packets(path: &Path, dump: &[u8]) -> Result<()> {
    let mut writer = PcapWriter::new(BufWriter::new(File::create(path)?))?;
    // When each was received is not known; that they are of one dump is.
    let now: Duration = SystemTime::now().duration_since(UNIX_EPOCH)?;
    for message in messages(dump)? {
        writer.write(now, Direction::FromKernel, NETLINK_SOCK_DIAG, message.bytes)?;
    }
    writer.finish()?;
    Ok(())
}

/// `6.18.44` of `6.18.44-1-amd64`: what a distribution adds says nothing about the messages.
fn version(release: &str) -> Result<&str> {
    let end = release.find(|character: char| !character.is_ascii_digit() && character != '.');
    let version =
        release.get(..end.unwrap_or(release.len())).unwrap_or_default().trim_end_matches('.');
    ensure!(!version.is_empty(), "no version in the kernel's release {release:?}");
    Ok(version)
}

const FOLDER: &str = "crates/testkit/captures";
const NETLINK_SOCK_DIAG: u16 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_DONE: u16 = 3;
const HEADER_BYTES: usize = 16;

/// A capture is to have at least one socket in each of these.
const STATES: [&str; 7] =
    ["ESTAB", "LISTEN", "SYN-SENT", "SYN-RECV", "TIME-WAIT", "FIN-WAIT-2", "CLOSE-WAIT"];

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut message = u32::try_from(HEADER_BYTES + body.len()).unwrap().to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend([0; 10]);
        message.extend(body);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    #[test]
    fn two_dumps_become_one_that_ends_once() {
        let (ipv4, ipv6, done) = (message(20, b"abc"), message(20, b"defgh"), message(3, &[0; 4]));
        let dump = [&ipv4[..], &done, &ipv6, &done].concat();
        let kinds: Vec<u16> = messages(&dump).unwrap().iter().map(|message| message.kind).collect();
        assert_eq!(kinds, [20, 3, 20, 3]);
        assert_eq!(joined_dumps(&dump).unwrap(), [&ipv4[..], &ipv6, &done].concat());
    }

    #[test]
    fn bytes_that_are_no_messages_are_an_error() {
        let whole = message(20, b"abcd");
        for cut in 1..whole.len() {
            assert!(messages(&whole[..cut]).is_err(), "cut at {cut}");
        }
        assert!(messages(&[0; 16]).is_err());
        assert!(joined_dumps(&whole).is_err());
    }

    #[test]
    fn a_folder_is_named_by_the_version_of_the_kernel() {
        assert_eq!(version("6.18.44-1-amd64\n").unwrap(), "6.18.44");
        assert_eq!(version("5.10.0+\n").unwrap(), "5.10.0");
        assert_eq!(version("6.1\n").unwrap(), "6.1");
        assert!(version("next\n").is_err());
    }
}
