//! Any bytes as one chunk of a receive: cut into messages, viewed as sockets, written in every format, read back.
//!
//! `cargo +nightly fuzz run every_field` in crates/wire. A crash is a panic, a hang, or a row that does not come back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sockeye_record::decode::{Records, whole_prefix};
use sockeye_record::{BufferPool, Builder, Limits};
use sockeye_record::{
    DAEMON_VERSION, DumpContext, Encoder, Encoding, FORMATS, Format, POLL, SocketRow, table,
};
use sockeye_wire::attrs::Attrs;
use sockeye_wire::companions::{BbrInfo, DctcpInfo, MemInfo, SkMemInfo, VegasInfo};
use sockeye_wire::ulp::Ulp;
use sockeye_wire::{AttrSet, InetDiag, Messages, TcpInfo};

fuzz_target!(|chunk: &[u8]| {
    // The bytes as they are, as one message's payload, and as each attribute's.
    views(chunk);
    socket(chunk);
    for message in Messages::new(chunk).flatten() {
        assert!(message.errno().is_none_or(|errno| errno >= 0));
        socket(message.payload);
    }
    // The bytes as a file.
    let rows = Records::new(chunk).flatten();
    rows.for_each(|record| {
        for (format, ..) in FORMATS {
            let mut out = Vec::new();
            Encoder::for_records(&Encoding { format, columns: None, humanize: Some(true) })
                .record(&record, &mut out);
        }
    });
    assert!(whole_prefix(chunk).is_ok_and(|whole| whole <= chunk.len() as u64));
});

fn socket(payload: &[u8]) {
    for attr in payload.get(72..).into_iter().flat_map(Attrs::new).flatten() {
        views(attr.payload);
    }
    let Ok(diag) = InetDiag::parse(payload, AttrSet::ALL) else { return };
    print(&diag);
    print(&(diag.source().ip(), diag.destination().ip(), diag.unknown_attributes()));
    for (format, ..) in FORMATS {
        for humanize in [false, true] {
            rows(&Encoding { format, columns: None, humanize: Some(humanize) }, &diag);
        }
    }
}

/// Two rows in an envelope, and both again after decoding.
fn rows(encoding: &Encoding, diag: &InetDiag<'_>) {
    let limits = Limits { rows: 10, bytes: usize::MAX };
    let mut builder = Builder::new(Encoder::new(encoding), limits, BufferPool::new(1));
    builder.begin_dump(&CONTEXT);
    for counter in [1, 2] {
        builder.push(&SocketRow::new(diag, counter, 3, 0), |_| panic!("cut without a limit"));
    }
    let len = builder.sealed_len();
    let envelope = builder.finish().expect("two rows");
    assert_eq!((envelope.bytes().len(), envelope.rows()), (len, 2));
    match encoding.format {
        Format::ProtobufList => {
            assert_eq!(Records::new(envelope.bytes()).map(Result::unwrap).count(), 2)
        }
        Format::Table => {
            let lines = table::align(&Encoder::new(encoding).table_header(), envelope.bytes());
            assert_eq!(lines.split(|byte| *byte == b'\n').count(), 4);
        }
        Format::Jsonl | Format::ProtoJson | Format::ProtoText => {
            assert!(std::str::from_utf8(envelope.bytes()).is_ok())
        }
        _ => {}
    }
}

fn views(bytes: &[u8]) {
    let info = TcpInfo::new(bytes);
    print(&(info.state(), info.snd_wscale(), info.rcv_wscale(), info.delivery_rate_app_limited()));
    print(&(
        info.fastopen_client_fail(),
        info.rcv_ooopack(),
        info.total_rto(),
        info.accecn_word(),
        info.unknown_bytes(),
    ));
    print(&(
        MemInfo::new(bytes).tmem(),
        SkMemInfo::new(bytes).drops(),
        VegasInfo::new(bytes).min_rtt_us(),
    ));
    print(&(DctcpInfo::new(bytes).ab_tot(), BbrInfo::new(bytes).cwnd_gain()));
    let ulp = Ulp::new(bytes);
    print(&(ulp.name(), ulp.tls_version(), ulp.tls_cipher(), ulp.tls_tx_conf(), ulp.tls_rx_conf()));
    print(&(ulp.mptcp_map_seq(), ulp.mptcp_id_rem(), ulp.mptcp_id_loc(), ulp.mptcp_map_datalen()));
}

fn print(value: &impl std::fmt::Debug) {
    std::hint::black_box(format!("{value:?}"));
}

const CONTEXT: DumpContext<'static> = DumpContext {
    schema_version: 1,
    daemon_version: DAEMON_VERSION,
    timestamp_ns: 1,
    boottime_ns: 1,
    hostname: "fuzz",
    location: "",
    netns: "default",
    netns_inode: 1,
    nsid: Some(0),
    container_id: "",
    container_runtime: "",
    label: "",
    tag: "",
    record_kind: POLL,
};
