//! Google's protobuf for Python reads our bytes with the .proto file of the repository.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use sockeye_testkit::load::{Load, LoadOptions};
use sockeye_testkit::netns::{Netns as _, TestNetns, require_root};
use sockeye_testkit::python;

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn python_reads_every_field_of_every_row_with_the_proto_file_of_the_repository() {
    require_root();
    let folder = tempfile::tempdir().unwrap();
    let netns = TestNetns::new("python").unwrap();
    let load = LoadOptions {
        netns: Some(netns.path()),
        connections: 200,
        listen: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
        bytes: 1_000..=100_000,
        ..LoadOptions::default()
    };
    let load = Load::spawn(&load).unwrap();
    let (rows, decoded) = (folder.path().join("rows.pb"), folder.path().join("rows.jsonl"));
    let few = ["--own-netns-only", "--envelope-flush-rows", "70", "--label", "a label"];
    let list = [&["snapshot", "--marshal", "protobufList"][..], &few].concat();
    fs::write(&rows, netns.enter(|| common::stdout(&list)).unwrap()).unwrap();
    load.stop().unwrap();
    fs::write(&decoded, common::stdout(&["decode", rows.to_str().unwrap()])).unwrap();

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new(python::interpreter().unwrap())
        .arg("-B")
        .arg(root.join("crates/sockeye/tests/protobuf_python.py"))
        .args([root.join("proto"), folder.path().join("generated"), rows, decoded.clone()])
        .output()
        .unwrap();
    let said = common::text(&output.stdout);
    assert!(output.status.success(), "{said}{}", common::text(&output.stderr));
    let count = common::rows(&fs::read(decoded).unwrap()).len();
    assert!(count > 400, "{count}");
    assert_eq!(said.trim(), format!("{} envelopes, {count} rows are the same", count.div_ceil(70)));
}
