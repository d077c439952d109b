//! `RLIMIT_FSIZE`, a full disk that needs no root. It holds for the process, so this test has one of its own.

mod kit;

use std::fs;

use kit::{Served, bytes, envelopes};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use sockeye_record::Format;
use sockeye_sink::{FileSettings, FileSink, PathPattern};

#[test]
fn a_limit_on_the_size_of_files_is_waited_out_like_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sockets");
    // The daemon ignores it; here it stays pending, for this thread and the sink's.
    SigSet::from(Signal::SIGXFSZ).thread_block().unwrap();
    let all = bytes(&envelopes(Format::ProtobufList, 50));
    let settings = FileSettings {
        path: PathPattern::parse(path.to_str().unwrap()).unwrap(),
        rotate_bytes: None,
        rotate_age: None,
        zstd: false,
        header: Vec::new(),
        format: Format::ProtobufList,
    };
    let (soft, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    let served = Served::start(FileSink::open(settings).unwrap());
    setrlimit(Resource::RLIMIT_FSIZE, all.len() as u64 / 2, hard).unwrap();
    served.offer(envelopes(Format::ProtobufList, 50));
    served.wait("a retry", |ledger| ledger.retries > 1);
    setrlimit(Resource::RLIMIT_FSIZE, soft, hard).unwrap();
    served.wait("the rest", |ledger| ledger.delivered == 100);
    assert_eq!(served.close().dropped_rows(), 0);
    assert_eq!(fs::read(&path).unwrap(), all);
}
