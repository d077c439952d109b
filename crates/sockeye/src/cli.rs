//! The command line. Every option here is also a key of the file and a variable `SOCKEYE_<OPTION>`.

#![expect(
    clippy::doc_markdown,
    rustdoc::bare_urls,
    reason = "these are the texts of --help, not Markdown"
)]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use sockeye_record::{Format, Selection};
use sockeye_source::sockdiag::{Netlinkers, PlanMode};
use sockeye_sys::CpuList;
use sockeye_telemetry::endpoint::Listen;
use sockeye_wire::{AttrSet, StateSet};

use crate::cli_kafka::{KafkaArgs, KafkaConnectionArgs};
use crate::cli_service::{CheckConfigArgs, ServiceArgs};
use crate::config::values::{
    Brokers, Dest, From, Topic, When, bytes, bytes_or_none, cpus, directory, netlinkers, nice,
    number, packet_bytes, plan, positive_duration,
};

/// An eye on every socket: reads every TCP socket of every network namespace, and ships rows.
///
/// Every option of a command is also a key of the TOML file named by --config (jitter = 10) and an environment variable
/// (SOCKEYE_JITTER=10; an empty one counts as not set). A flag wins over the environment, which wins over the file.
#[derive(Debug, Parser)]
#[command(
    name = "sockeye",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Poll for ever and send rows to the destinations.
    Run(Box<RunArgs>),
    /// Poll everything once, print it, and exit.
    Snapshot(SnapshotArgs),
    /// Print each connection when it ends.
    Closed(Box<ClosedArgs>),
    /// Turn a protobufList file back into any format.
    Decode(DecodeArgs),
    /// Read a Kafka topic and print its rows in any format.
    Consume(ConsumeArgs),
    /// List the network namespaces as the daemon sees them.
    Netns(NetnsArgs),
    /// Say what works on this host, what does not, and why.
    Doctor(NetnsArgs),
    /// Say whether run would take a file, and what is wrong with it.
    CheckConfig(CheckConfigArgs),
    /// Print the completions of a shell, to be put where it looks for them.
    Completions(CompletionsArgs),
    /// Print a manual page in roff: of sockeye, or of one of its commands.
    Man(ManArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Time from the start of a poll to the start of the next one.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = positive_duration, help_heading = "Polling")]
    pub(crate) frequency: Duration,

    /// Put each poll off by a random part of this share of the frequency, in percent; 0 for none.
    #[arg(long, value_name = "PERCENT", default_value = "20", value_parser = number::<u8>(0..=100), help_heading = "Polling")]
    pub(crate) jitter: u8,

    /// Make so many polls, flush, and exit; 0 for ever.
    #[arg(long, value_name = "N", default_value = "0", value_parser = number::<u64>(0..=u64::MAX), help_heading = "Polling")]
    pub(crate) max_loops: u64,

    /// Where rows go: stdout, stderr, null, file:PATH or kafka:HOST:PORT[,HOST:PORT...]; repeatable, each with a queue of
    /// its own.
    ///
    /// A PATH with strftime conversions (file:/var/log/tcp-%Y%m%dT%H%M%S.jsonl) is written as PATH.partial and renamed
    /// when it is complete. In the environment, several are separated by blanks. In the file, several are an array, or
    /// tables [[sink]] with a dest and whatever else is different there: marshal, columns, humanize, queue-bytes,
    /// file-rotate-bytes, file-rotate-age, file-zstd, and everything about Kafka.
    #[arg(long, value_name = "DEST", default_value = "stdout", help_heading = "Output")]
    pub(crate) dest: Vec<Dest>,

    /// Format of the rows: protobufList, protoJson, protoText, msgpack, jsonl, csv, tsv or table. What goes to Kafka is
    /// protobufList in any case.
    #[arg(long, value_name = "FORMAT", default_value = "jsonl", help_heading = "Output")]
    pub(crate) marshal: Format,

    /// Complete a file and begin a new one when it would have more bytes than this; a file has at least one envelope.
    #[arg(long, value_name = "BYTES", value_parser = bytes, help_heading = "Output")]
    pub(crate) file_rotate_bytes: Option<u64>,

    /// Complete a file and begin a new one when it is so old.
    #[arg(long, value_name = "DURATION", value_parser = positive_duration, help_heading = "Output")]
    pub(crate) file_rotate_age: Option<Duration>,

    /// Compress files with zstd, a frame for each envelope; .zst is added to names that do not end so.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", help_heading = "Output")]
    pub(crate) file_zstd: bool,

    /// Bytes that may wait for one destination, at least two envelopes; above half of it polls are skipped.
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = bytes, help_heading = "Output")]
    pub(crate) queue_bytes: u64,

    /// Where to answer scrapes and questions: HOST:PORT, unix:PATH, or off (or nothing).
    ///
    /// /metrics, /healthz, /readyz, /debug/polls, /debug/pprof/ and a page at / that leads to them. It asks nobody who they
    /// are: choose an address that only those who may look can reach.
    #[arg(
        long,
        value_name = "PLACE",
        default_value = "127.0.0.1:9088",
        help_heading = "Telemetry"
    )]
    pub(crate) listen: Listen,

    /// Namespaces that have metrics of their own, those with most sockets; all others are added up.
    #[arg(long, value_name = "N", default_value = "10", value_parser = number::<u8>(0..=100), help_heading = "Telemetry")]
    pub(crate) metrics_top_netns: u8,

    /// Export what connections are like as metrics: states, round-trip times, retransmits, rates; for those who have no
    /// table of rows. At most 132 series for each of --metrics-top-netns and one more.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", help_heading = "Telemetry")]
    pub(crate) tcp_metrics: bool,

    /// How long a signal to stop leaves the destinations to deliver what they have.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = positive_duration, help_heading = "Other")]
    pub(crate) shutdown_timeout: Duration,

    /// A row for each connection that ends, with its last counters: auto (where the kernel lets us), on (or it does not
    /// start), or off.
    ///
    /// All namespaces take CAP_NET_BROADCAST and CAP_SYS_ADMIN; without them, only its own.
    #[arg(long, value_name = "WHEN", default_value = "auto", help_heading = "Closed sockets")]
    pub(crate) closed: When,

    /// Bytes and segments since the row before of the same socket, in the columns delta_*.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", help_heading = "Closed sockets")]
    pub(crate) deltas: bool,

    #[command(flatten)]
    pub(crate) track: TrackArgs,

    #[command(flatten)]
    pub(crate) service: ServiceArgs,

    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,

    #[command(flatten)]
    pub(crate) collect: CollectArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    /// The same as --filter, as one word or several: sockeye snapshot dport = :443
    #[arg(value_name = "EXPRESSION", conflicts_with = "filter")]
    pub(crate) expression: Vec<String>,

    /// Format of the rows: protobufList, protoJson, protoText, msgpack, jsonl, csv, tsv or table.
    #[arg(long, value_name = "FORMAT", default_value = "table", help_heading = "Output")]
    pub(crate) marshal: Format,

    #[command(flatten)]
    pub(crate) collect: CollectArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ClosedArgs {
    /// The same as --filter, as one word or several: sockeye closed dport = :443
    #[arg(value_name = "EXPRESSION", conflicts_with = "filter")]
    pub(crate) expression: Vec<String>,

    /// End after so many connections.
    #[arg(long, value_name = "N", value_parser = number::<u64>(1..=u64::MAX), help_heading = "Output")]
    pub(crate) count: Option<u64>,

    /// End after this time.
    #[arg(long, value_name = "DURATION", value_parser = positive_duration, help_heading = "Output")]
    pub(crate) duration: Option<Duration>,

    /// Rows instead of lines for people: protobufList, protoJson, protoText, msgpack, jsonl, csv, tsv or table.
    #[arg(long, value_name = "FORMAT", help_heading = "Output")]
    pub(crate) marshal: Option<Format>,

    #[command(flatten)]
    pub(crate) track: TrackArgs,

    #[command(flatten)]
    pub(crate) collect: CollectArgs,
}

/// How much is kept for closed sockets, by the kernel and by us.
#[derive(Debug, Args)]
pub(crate) struct TrackArgs {
    /// Bytes of the kernel's buffer for closed sockets that are not read yet. What it has no room for is lost, and
    /// counted.
    #[arg(long, value_name = "BYTES", default_value = "16MiB", value_parser = bytes, help_heading = "Closed sockets")]
    pub(crate) closed_buffer: u64,

    /// Bytes of memory for what polls have seen of sockets, about 100 a socket; 0 for none.
    ///
    /// Closed sockets get from it what the kernel does not tell any more: user, cgroup, congestion control, memory. So do
    /// deltas.
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = bytes_or_none, help_heading = "Closed sockets")]
    pub(crate) track_bytes: u64,
}

#[derive(Debug, Args)]
pub(crate) struct CollectArgs {
    /// How long the dump of one namespace may take before it is abandoned and counted; for run less than the
    /// frequency.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = positive_duration, help_heading = "Polling")]
    pub(crate) timeout: Duration,

    /// States to read, by the names and groups of ss, separated by commas.
    ///
    /// established, syn-sent, syn-recv, fin-wait-1, fin-wait-2, time-wait, closed, close-wait, last-ack, listening, closing,
    /// bound-inactive; all, connected, synchronized, bucket, big. The default is all but time-wait and syn-recv, which can be
    /// many and carry little.
    #[arg(long, value_name = "LIST", default_value = "big", help_heading = "Sockets")]
    pub(crate) states: StateSet,

    /// Which sockets to read, in the language of ss: 'dport = :443 and not dst 10.0.0.0/8'.
    ///
    /// src, dst, sport, dport, dev, fwmark, cgroup and autobound; and, or, not and parentheses; as man ss has them under
    /// EXPRESSION and HOST SYNTAX, and ranges of ports (sport = :1000-2000). As in ss, and and or have the same rank. The
    /// kernel sends no others, where it can tell.
    #[arg(long, value_name = "EXPRESSION", help_heading = "Sockets")]
    pub(crate) filter: Option<String>,

    /// Attributes to ask the kernel for: default (all but meminfo), all, none, or a list.
    ///
    /// info, cong, meminfo, skmem, bbr, dctcp, vegas, tos, tc, shut, classid, cgroup, sockopt, mark, ulp.
    #[arg(long, value_name = "LIST", default_value = "default", help_heading = "Sockets")]
    pub(crate) deserializers: AttrSet,

    /// Read one in N sockets, chosen by a hash of the cookie, so that a chosen connection stays chosen.
    #[arg(long, value_name = "N", default_value = "1", value_parser = number::<u32>(1..=u64::from(u32::MAX)), help_heading = "Sockets")]
    pub(crate) modulus: u32,

    /// Columns to write, separated by commas, in this order where order shows; tcp_info_* for all that begin so.
    #[arg(long, value_name = "LIST", help_heading = "Output")]
    pub(crate) columns: Option<Selection>,

    /// Names for states and RFC 3339 times; in csv, tsv and table on by default.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Output")]
    pub(crate) humanize: Option<bool>,

    /// Write rows of protobufList eight columns at a time where the processor has AVX-512 VBMI2 (Intel's servers since Ice Lake,
    /// AMD since Zen 4). The rows are the same.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", help_heading = "Output")]
    pub(crate) avx512: bool,

    /// Rows of an envelope at the most.
    #[arg(long, value_name = "N", default_value = "10000", value_parser = number::<u64>(1..=u64::MAX), help_heading = "Output")]
    pub(crate) envelope_flush_rows: u64,

    /// Bytes of an envelope at the most.
    #[arg(long, value_name = "BYTES", default_value = "786432", value_parser = bytes, help_heading = "Output")]
    pub(crate) envelope_flush_bytes: u64,

    /// How a namespace is read: auto (what is sure to bring everything at the least cost) or full (always the whole table).
    ///
    /// With auto, the namespace's counters are read first. Where they prove that nothing was missed, listeners alone are
    /// asked for, or each of the sockets that are known from the poll before. Now and then the result is compared with
    /// that of the whole table.
    #[arg(long, value_name = "PLAN", default_value = "auto", value_parser = plan, help_heading = "Readers")]
    pub(crate) plan: PlanMode,

    /// Readers of a namespace with 10000 sockets or more, each with its share of the ports: auto, or 1 to 64.
    ///
    /// More readers end sooner and cost more, since each walks the whole table. auto is one, and from 200000 sockets on one
    /// for each processor, up to four.
    #[arg(long, value_name = "N", default_value = "auto", value_parser = netlinkers, help_heading = "Readers")]
    pub(crate) netlinkers: Netlinkers,

    /// Read through io_uring: up to four threads serve all namespaces, each many of them by one system call.
    ///
    /// Where the kernel refuses it, a warning says why, and blocking reads are used. The rows are the same.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", help_heading = "Readers")]
    pub(crate) io_uring: bool,

    /// With --io-uring: namespaces that a thread has open, and receives that it has in flight, 1 to 4096.
    ///
    /// Each receive in flight takes a buffer of --packet-size bytes while a poll runs.
    #[arg(long, value_name = "N", default_value = "64", value_parser = number::<u16>(1..=4096), help_heading = "Readers")]
    pub(crate) io_uring_recv_batch: u16,

    /// With --io-uring: completions that a thread takes at once, 1 to 4096.
    #[arg(long, value_name = "N", default_value = "128", value_parser = number::<u16>(1..=4096), help_heading = "Readers")]
    pub(crate) io_uring_cqe_batch: u16,

    /// Reader threads in all; namespaces beyond share a few of them.
    #[arg(long, value_name = "N", default_value = "32", value_parser = number::<u16>(1..=4096), help_heading = "Readers")]
    pub(crate) max_threads: u16,

    /// Processors to run on, by number: 0,2,4-7. By default all.
    #[arg(long, value_name = "LIST", value_parser = cpus, help_heading = "Readers")]
    pub(crate) cpus: Option<CpuList>,

    /// Niceness, -20 (first) to 19 (last); below 0 needs CAP_SYS_NICE.
    #[arg(long, value_name = "NICE", value_parser = nice, help_heading = "Readers")]
    pub(crate) nice: Option<i8>,

    /// Bytes of a receive buffer, 8192 to 1048576; the kernel fills at most 32768.
    #[arg(long, value_name = "BYTES", default_value = "32768", value_parser = packet_bytes, help_heading = "Readers")]
    pub(crate) packet_size: u64,

    /// What the column hostname says; by default the host's name.
    #[arg(long, value_name = "TEXT", help_heading = "Row text")]
    pub(crate) hostname: Option<String>,

    /// What the column location says.
    #[arg(long, value_name = "TEXT", default_value = "", help_heading = "Row text")]
    pub(crate) location: String,

    /// What the column label says.
    #[arg(long, value_name = "TEXT", default_value = "", help_heading = "Row text")]
    pub(crate) label: String,

    /// What the column tag says.
    #[arg(long, value_name = "TEXT", default_value = "", help_heading = "Row text")]
    pub(crate) tag: String,

    #[command(flatten)]
    pub(crate) netns: NetnsArgs,
}

#[derive(Debug, Args)]
pub(crate) struct NetnsArgs {
    /// A further directory of bind-mounted namespaces, besides /run/netns and /run/docker/netns; repeatable.
    ///
    /// In the file, several are an array; in the environment, they are separated by blanks.
    #[arg(long, value_name = "DIR", value_parser = directory(), help_heading = "Namespaces")]
    pub(crate) netns_dir: Vec<PathBuf>,

    /// Read only the namespace that Sockeye itself is in.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", help_heading = "Namespaces")]
    pub(crate) own_netns_only: bool,

    #[command(flatten)]
    pub(crate) file: FileArgs,
}

#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// A TOML file whose keys are the options' names.
    #[arg(long, value_name = "FILE", help_heading = "Configuration")]
    pub(crate) config: Option<PathBuf>,

    /// Print every option's value and where it came from, as TOML, and exit: 2 when something is wrong.
    #[arg(long, help_heading = "Configuration")]
    pub(crate) print_config: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConsumeArgs {
    /// Where the topic is: kafka:HOST:PORT[,HOST:PORT...]
    #[arg(value_name = "BROKERS")]
    pub(crate) brokers: Brokers,

    /// The topic.
    #[arg(long, value_name = "TOPIC", default_value = "xtcp", help_heading = "Reading")]
    pub(crate) topic: Topic,

    /// Where to begin: beginning, end, or the first message since a time such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "FROM", default_value = "beginning", help_heading = "Reading")]
    pub(crate) from: From,

    /// Go on with what comes; without it reading ends with what the topic had when it began.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", help_heading = "Reading")]
    pub(crate) follow: bool,

    /// Which rows to write, in the language of ss: 'dport = :443 and not dst 10.0.0.0/8'; dev by index.
    #[arg(long, value_name = "EXPRESSION", help_heading = "Reading")]
    pub(crate) filter: Option<String>,

    #[command(flatten)]
    pub(crate) output: OutputArgs,

    #[command(flatten)]
    pub(crate) connection: KafkaConnectionArgs,

    #[command(flatten)]
    pub(crate) file: FileArgs,
}

/// How rows that come from somewhere else than the kernel are written.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Format to write: protobufList, protoJson, protoText, msgpack, jsonl, csv, tsv or table.
    #[arg(long, value_name = "FORMAT", default_value = "jsonl", help_heading = "Output")]
    pub(crate) to: Format,

    /// Columns to write, separated by commas, in this order where order shows; tcp_info_* for all that begin so.
    #[arg(long, value_name = "LIST", help_heading = "Output")]
    pub(crate) columns: Option<Selection>,

    /// Names for states and RFC 3339 times; in csv, tsv and table on by default.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Output")]
    pub(crate) humanize: Option<bool>,
}

#[derive(Debug, Args)]
pub(crate) struct DecodeArgs {
    /// The file to decode, - for standard input; as written by --marshal protobufList, zstd included.
    #[arg(value_name = "FILE", default_value = "-")]
    pub(crate) input: PathBuf,

    #[command(flatten)]
    pub(crate) output: OutputArgs,

    #[command(flatten)]
    pub(crate) file: FileArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The command whose page it is.
    #[arg(value_name = "COMMAND")]
    pub(crate) page: Option<String>,
}
