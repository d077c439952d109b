//! Netlink captures in the classic pcap format: reader and writer.
//!
//! Read: both byte orders, micro- and nanoseconds, any link type; of link type 253 (netlink) the 16-byte cooked header
//! is taken off. Written: this machine's byte order, microseconds, link type 253.

use std::io::{Read, Write};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

/// Which way a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A request: user space to the kernel.
    ToKernel,
    /// An answer or an event: the kernel to user space.
    FromKernel,
}

/// One captured packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Since the Unix epoch.
    pub timestamp: Duration,
    /// Which way it went; `None` when it is not netlink, or too short to tell.
    ///
    /// Told by `NLM_F_REQUEST` of the first message: libpcap writes 4 (outgoing) for both directions of most families.
    pub direction: Option<Direction>,
    /// The netlink family (4 is `NETLINK_SOCK_DIAG`), from the cooked header; `None` when it is not netlink.
    pub netlink_family: Option<u16>,
    /// What the wire had, in bytes, header included; more than was captured if the capture cut it short.
    pub original_length: u32,
    /// The packet without the cooked header: one or more netlink messages.
    pub payload: Vec<u8>,
}

/// Reads packets from a capture; an iterator that ends with the file.
#[derive(Debug)]
pub struct PcapReader<R> {
    source: R,
    little_endian: bool,
    nanoseconds: bool,
    link_type: u32,
}

impl<R: Read> PcapReader<R> {
    /// Reads the file header.
    ///
    /// # Errors
    /// The source fails, or holds no classic pcap (pcapng among them).
    pub fn new(mut source: R) -> Result<Self> {
        let mut header = [0; FILE_HEADER_LENGTH];
        source.read_exact(&mut header).context("header of the capture")?;
        let [magic, .., link_type] = words_of::<6>(&header, true);
        let (little_endian, nanoseconds) = match magic {
            MAGIC_US => (true, false),
            MAGIC_NS => (true, true),
            magic if magic.swap_bytes() == MAGIC_US => (false, false),
            magic if magic.swap_bytes() == MAGIC_NS => (false, true),
            magic => bail!("not a classic pcap file: it starts with {magic:#010x}"),
        };
        let link_type = if little_endian { link_type } else { link_type.swap_bytes() };
        // The upper bits hold the length of a frame check sequence, which netlink has none of.
        Ok(Self { source, little_endian, nanoseconds, link_type: link_type & 0xffff })
    }

    /// The link type of the file; 253 is netlink.
    pub fn link_type(&self) -> u32 {
        self.link_type
    }

    fn read_packet(&mut self) -> Result<Option<Packet>> {
        let mut header = [0; RECORD_HEADER_LENGTH];
        match self.source.read(&mut header).context("header of a packet")? {
            0 => return Ok(None),
            read => self
                .source
                .read_exact(header.get_mut(read..).unwrap_or_default())
                .context("header of a packet")?,
        }
        let [seconds, fraction, captured, original_length] = words_of(&header, self.little_endian);
        ensure!(captured <= MAX_PACKET, "a packet of {captured} bytes: the capture is damaged");
        let mut payload = Vec::new();
        let read = self.source.by_ref().take(u64::from(captured)).read_to_end(&mut payload)?;
        ensure!(u32::try_from(read)? == captured, "the capture ends inside a packet");

        let fraction_ns = if self.nanoseconds { fraction } else { fraction.saturating_mul(1000) };
        let timestamp =
            Duration::from_secs(u64::from(seconds)) + Duration::from_nanos(u64::from(fraction_ns));
        let mut packet =
            Packet { timestamp, direction: None, netlink_family: None, original_length, payload };
        if self.link_type == LINKTYPE_NETLINK {
            self.strip_cooked_header(&mut packet)?;
        }
        Ok(Some(packet))
    }

    fn strip_cooked_header(&self, packet: &mut Packet) -> Result<()> {
        let (header, messages) = packet
            .payload
            .split_first_chunk::<COOKED_HEADER_LENGTH>()
            .context("a packet without its cooked header")?;
        // The cooked header is big-endian whatever the file is; its protocol field is the netlink family.
        let [.., high, low] = *header;
        packet.netlink_family = Some(u16::from_be_bytes([high, low]));
        packet.direction = match messages {
            // nlmsg_flags at offset 6, in the byte order of the host, which wrote the file as well.
            [_, _, _, _, _, _, first, second, ..] => {
                let flags = if self.little_endian { *first } else { *second };
                Some(if flags & NLM_F_REQUEST == 0 {
                    Direction::FromKernel
                } else {
                    Direction::ToKernel
                })
            }
            _ => None,
        };
        packet.payload = messages.to_vec();
        Ok(())
    }
}

impl<R: Read> Iterator for PcapReader<R> {
    type Item = Result<Packet>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read_packet().transpose()
    }
}

/// Writes netlink packets to a capture that [`PcapReader`], tcpdump and Wireshark read.
#[derive(Debug)]
pub struct PcapWriter<W> {
    sink: W,
}

impl<W: Write> PcapWriter<W> {
    /// Writes the file header.
    ///
    /// # Errors
    /// The sink fails.
    pub fn new(mut sink: W) -> Result<Self> {
        sink.write_all(&MAGIC_US.to_ne_bytes())?;
        for version in [2_u16, 4] {
            sink.write_all(&version.to_ne_bytes())?;
        }
        for word in [0, 0, MAX_PACKET, LINKTYPE_NETLINK] {
            sink.write_all(&word.to_ne_bytes())?;
        }
        Ok(Self { sink })
    }

    /// Writes one packet: the netlink messages of one `send` or `recv`. `timestamp` is since the Unix epoch.
    ///
    /// The direction goes into the cooked header's packet type (4 to the kernel, 0 from it). [`PcapReader`] tells it by
    /// the messages themselves.
    ///
    /// # Errors
    /// The sink fails, or the packet is too large for the format.
    pub fn write(
        &mut self,
        timestamp: Duration,
        direction: Direction,
        family: u16,
        messages: &[u8],
    ) -> Result<()> {
        let length =
            u32::try_from(messages.len() + COOKED_HEADER_LENGTH).context("packet length")?;
        ensure!(length <= MAX_PACKET, "a packet of {length} bytes is too large for a capture");
        let seconds = u32::try_from(timestamp.as_secs()).context("timestamp after 2106")?;
        for word in [seconds, timestamp.subsec_micros(), length, length] {
            self.sink.write_all(&word.to_ne_bytes())?;
        }
        let packet_type: u16 = match direction {
            Direction::ToKernel => 4,
            Direction::FromKernel => 0,
        };
        self.sink.write_all(&packet_type.to_be_bytes())?;
        self.sink.write_all(&ARPHRD_NETLINK.to_be_bytes())?;
        self.sink.write_all(&[0; 10])?;
        self.sink.write_all(&family.to_be_bytes())?;
        self.sink.write_all(messages).context("writing a packet")
    }

    /// Flushes, and gives the sink back.
    ///
    /// # Errors
    /// The sink fails.
    pub fn finish(mut self) -> Result<W> {
        self.sink.flush()?;
        Ok(self.sink)
    }
}

/// A header as 32-bit words. The version of the file header, two 16-bit fields, is never looked at.
fn words_of<const WORDS: usize>(header: &[u8], little_endian: bool) -> [u32; WORDS] {
    let (chunks, _) = header.as_chunks::<4>();
    let mut words = [0; WORDS];
    for (word, chunk) in words.iter_mut().zip(chunks) {
        *word = if little_endian { u32::from_le_bytes(*chunk) } else { u32::from_be_bytes(*chunk) };
    }
    words
}

const FILE_HEADER_LENGTH: usize = 24;
const RECORD_HEADER_LENGTH: usize = 16;
const COOKED_HEADER_LENGTH: usize = 16;
const MAGIC_US: u32 = 0xa1b2_c3d4;
const MAGIC_NS: u32 = 0xa1b2_3c4d;
const LINKTYPE_NETLINK: u32 = 253;
const ARPHRD_NETLINK: u16 = 824;
const NLM_F_REQUEST: u8 = 1;
/// The largest snapshot length that libpcap accepts.
const MAX_PACKET: u32 = 262_144;

#[cfg(test)]
mod tests {
    use super::*;

    /// A message header: length 16, type 20, the given flags, in this machine's byte order.
    fn message(flags: u16) -> Vec<u8> {
        let mut message = 16_u32.to_ne_bytes().to_vec();
        message.extend(20_u16.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend([7; 8]);
        message
    }

    fn read_all(bytes: &[u8]) -> Result<Vec<Packet>> {
        PcapReader::new(bytes)?.collect()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut writer = PcapWriter::new(Vec::new()).unwrap();
        let at = Duration::new(1_700_000_000, 123_456_000);
        writer.write(at, Direction::ToKernel, 4, &message(0x301)).unwrap();
        writer.write(at, Direction::FromKernel, 4, &message(2)).unwrap();
        let packets = read_all(&writer.finish().unwrap()).unwrap();
        let expected = |direction, flags| Packet {
            timestamp: at,
            direction: Some(direction),
            netlink_family: Some(4),
            original_length: 32,
            payload: message(flags),
        };
        assert_eq!(
            packets,
            [expected(Direction::ToKernel, 0x301), expected(Direction::FromKernel, 2)]
        );
    }

    #[test]
    fn both_byte_orders_and_both_resolutions_are_read() {
        for (magic, fraction) in [(MAGIC_US, 5), (MAGIC_NS, 5_000)] {
            let words = [magic, 0x0002_0004, 0, 0, 65_535, 1, 9, fraction, 3, 3];
            let mut big: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
            let mut little: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            big.extend([1, 2, 3]);
            little.extend([1, 2, 3]);
            let packets = read_all(&big).unwrap();
            assert_eq!(packets, read_all(&little).unwrap());
            assert_eq!(packets[0].timestamp, Duration::new(9, 5_000));
            assert_eq!(packets[0].payload, [1, 2, 3]);
            assert_eq!((packets[0].direction, packets[0].netlink_family), (None, None));
        }
    }

    #[test]
    fn a_cut_or_foreign_file_is_an_error_and_not_an_end() {
        let mut writer = PcapWriter::new(Vec::new()).unwrap();
        writer.write(Duration::ZERO, Direction::FromKernel, 4, &message(2)).unwrap();
        let whole = writer.finish().unwrap();
        assert_eq!(read_all(&whole[..24]).unwrap(), []);
        for cut in (1..24).chain(25..whole.len()) {
            assert!(read_all(&whole[..cut]).is_err(), "cut at {cut}");
        }
        assert!(read_all(&[0x0a; 64]).is_err());
    }
}
