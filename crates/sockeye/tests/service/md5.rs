//! `INET_DIAG_MD5SIG` carries the secret key of a socket: no row ever does.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::common::{output, text};

/// Listens with a key, says its port and waits.
const LISTENER: &str = r#"
import socket, struct, sys
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
listener.bind(("127.0.0.1", 0))
address = struct.pack("=HH4s120x", socket.AF_INET, 0, socket.inet_aton("127.0.0.9"))
key = b"skt-secret-key-of-md5"
option = address + struct.pack("=BBHi80s", 0, 0, len(key), 0, key)
try:
    listener.setsockopt(socket.IPPROTO_TCP, 14, option)
except OSError as error:
    print("none", error); sys.exit()
listener.listen()
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"#;

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_key_of_tcp_md5_is_in_no_format() {
    let mut listener = Command::new("python3")
        .args(["-c", LISTENER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut port = String::new();
    BufReader::new(listener.stdout.take().unwrap()).read_line(&mut port).unwrap();
    if port.starts_with("none") {
        // A kernel without CONFIG_TCP_MD5SIG has no keys to tell.
        listener.wait().unwrap();
        return;
    }
    // The kernel tells it: ss, as root, shows the peer that the key is for.
    let ss =
        Command::new("ss").args(["-tlinOHm", "sport", "=", &format!(":{}", port.trim())]).output();
    assert!(text(&ss.unwrap().stdout).contains("md5keys:"), "the kernel was asked in vain");
    for format in ["protobufList", "protoJson", "protoText", "msgpack", "jsonl", "csv", "table"] {
        let filter = format!("sport = :{}", port.trim());
        let arguments =
            ["snapshot", "--own-netns-only", "--deserializers", "all", "--marshal", format];
        let rows = output(&[&arguments[..], &["--filter", &filter]].concat());
        assert_eq!(rows.status.code(), Some(0));
        assert!(!rows.stdout.is_empty(), "{format}");
        let all = text(&rows.stdout);
        for secret in ["skt-secret", "c2t0LXNlY3JldA", "736b742d736563726574"] {
            assert!(!all.contains(secret), "{format}");
        }
    }
    drop(listener.stdin.take());
    listener.wait().unwrap();
}
