//! Sockets made of values: the message that a kernel would send of them, and the record that must come out.

pub(crate) mod expected;
pub(crate) mod pcap;
pub(crate) mod socket;
pub(crate) mod strategies;

use std::path::PathBuf;
use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use sockeye_record::{
    BufferPool, Builder, DumpContext, Encoder, Encoding, Format, Joined, Limits, Selection,
    SocketRow,
};
use sockeye_wire::{AttrSet, InetDiag};

use self::socket::{KernelStruct, Socket};

/// The rows of one dump.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    pub(crate) dump: Dump,
    pub(crate) sockets: Vec<Socket>,
}

/// A [`DumpContext`] that owns its text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dump {
    pub(crate) timestamp_ns: i64,
    pub(crate) boottime_ns: i64,
    pub(crate) hostname: String,
    pub(crate) location: String,
    pub(crate) netns: String,
    pub(crate) netns_inode: u64,
    pub(crate) nsid: Option<u32>,
    pub(crate) container_id: String,
    pub(crate) container_runtime: String,
    pub(crate) label: String,
    pub(crate) tag: String,
    pub(crate) record_kind: u32,
}

impl Dump {
    pub(crate) fn context(&self) -> DumpContext<'_> {
        DumpContext {
            schema_version: 1,
            daemon_version: "sockeye/test",
            timestamp_ns: self.timestamp_ns,
            boottime_ns: self.boottime_ns,
            hostname: &self.hostname,
            location: &self.location,
            netns: &self.netns,
            netns_inode: self.netns_inode,
            nsid: self.nsid,
            container_id: &self.container_id,
            container_runtime: &self.container_runtime,
            label: &self.label,
            tag: &self.tag,
            record_kind: self.record_kind,
        }
    }
}

/// An encoding with the format's own choice of everything.
pub(crate) fn plain(format: Format) -> Encoding {
    Encoding { format, columns: None, humanize: None }
}

/// An encoding of these columns.
pub(crate) fn of_columns(format: Format, columns: &str) -> Encoding {
    Encoding { format, columns: Some(columns.parse().unwrap()), humanize: None }
}

/// All that Sockeye fills, by name: csv of the kernel's rows and of decoded records then have the same columns.
pub(crate) fn of_filled(format: Format, humanize: Option<bool>) -> Encoding {
    Encoding { format, columns: Some(Selection::filled()), humanize }
}

/// Calls `with` for each socket, as a reader would.
pub(crate) fn with_row(socket: &Socket, with: impl FnOnce(&SocketRow<'_>)) {
    let payload = socket.payload();
    let diag = InetDiag::parse(&payload, AttrSet::ALL).unwrap();
    let row = SocketRow::new(&diag, socket.record_counter, socket.socket_fd, socket.netlinker_id);
    let joined = socket.known.as_ref().map(|known| Joined {
        cong: known.cong.as_deref().map(str::as_bytes),
        cgroup_id: known.cgroup_id,
        uid: known.uid,
        inode: known.inode,
        skmeminfo: known.skmem.as_ref().map(|skmem| skmem.bytes().try_into().unwrap()),
        first_seen_ns: known.first_seen_ns,
    });
    let row = socket.deltas.map_or(row, |deltas| row.deltas(deltas));
    with(&joined.as_ref().map_or(row, |joined| row.joined(joined)));
}

/// The bytes of all rows behind each other, without a frame.
pub(crate) fn encode(encoding: &Encoding, dumps: &[Rows]) -> Vec<u8> {
    let mut encoder = Encoder::new(encoding);
    let mut out = Vec::new();
    for rows in dumps {
        encoder.begin_dump(&rows.dump.context());
        for socket in &rows.sockets {
            with_row(socket, |row| encoder.row(row, &mut out));
        }
    }
    out
}

/// The bytes of one envelope that holds all rows.
pub(crate) fn envelope(encoding: &Encoding, dumps: &[Rows]) -> Vec<u8> {
    let limits = Limits { rows: u64::MAX, bytes: usize::MAX };
    let mut builder = Builder::new(Encoder::new(encoding), limits, BufferPool::new(1));
    for rows in dumps {
        builder.begin_dump(&rows.dump.context());
        for socket in &rows.sockets {
            with_row(socket, |row| builder.push(row, |_| panic!("cut without a limit")));
        }
    }
    builder.finish().map(|envelope| envelope.bytes().to_vec()).unwrap_or_default()
}

/// What the `.proto` file that consumers get says, compiled here and now.
pub(crate) fn descriptor(message: &str) -> MessageDescriptor {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        let include = repository().join("proto");
        let file = "xtcp_flat_record/v1/xtcp_flat_record.proto";
        DescriptorPool::from_file_descriptor_set(protox::compile([file], [include]).unwrap())
            .unwrap()
    });
    POOL.get_message_by_name(&format!("xtcp_flat_record.v1.{message}")).unwrap()
}

/// A message without its type.
pub(crate) fn dynamic(message: &str, bytes: &[u8]) -> DynamicMessage {
    DynamicMessage::decode(descriptor(message), bytes).unwrap()
}

pub(crate) fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
