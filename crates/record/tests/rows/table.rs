//! `table`: the cells that people see without asking for columns, and columns that they chose.

use sockeye_record::Encoder;
use sockeye_record::Format::Table;
use sockeye_record::table::align;

use crate::common::socket::{Cut, Socket, TcpInfo};
use crate::common::{Dump, Rows, encode, of_columns, plain};
use crate::jsonl::{dump, everything};

#[test]
fn a_table_by_itself_has_states_endpoints_and_rates() {
    let listener = Socket { state: 10, sport: 22, wqueue: 128, ..Socket::default() };
    let rows = [Rows { dump: dump(), sockets: vec![everything(), listener] }];
    let text = align(&Encoder::new(&plain(Table)).table_header(), &encode(&plain(Table), &rows));
    let expected = [
        "NETNS  STATE   RECV-Q  SEND-Q  LOCAL                   PEER                   RTT  CWND  RETRANS  DELIVERY  PACING  CC",
        "blue   ESTAB        5       6  [::ffff:10.0.0.1]:8080  [2001:db8::1]:443  0.024ms    27       32    344bps  264bps  cubic",
        "blue   LISTEN       0     128  0.0.0.0:22              0.0.0.0:*",
        "",
    ];
    assert_eq!(String::from_utf8(text).unwrap(), expected.join("\n"));
}

#[test]
fn what_is_unknown_or_not_measured_yet_is_blank() {
    let info =
        TcpInfo { rtt: 0, snd_cwnd: 0, total_retrans: 0, delivery_rate: 0, ..TcpInfo::default() };
    let sockets =
        vec![everything(), Socket { state: 99, info: Some(Cut::whole(info)), ..Socket::default() }];
    let cells = encode(&plain(Table), &[Rows { dump: dump(), sockets }]);
    let last = cells.split(|byte| *byte == b'\n').nth(1).unwrap();
    assert_eq!(last, b"blue\x1f99\x1f0\x1f0\x1f0.0.0.0:*\x1f0.0.0.0:*\x1f\x1f\x1f0\x1f\x1f\x1f");
}

#[test]
fn chosen_columns_are_the_titles_and_control_characters_stay_out_of_the_terminal() {
    let encoding = of_columns(Table, "tcp_info_rtt,hostname,inet_diag_msg_state");
    let dump = Dump { hostname: "a\u{1f}b\n\u{1b}[2J\u{9b}é".into(), ..Dump::default() };
    let rows = [Rows { dump, sockets: vec![everything()] }];
    let text = align(&Encoder::new(&encoding).table_header(), &encode(&encoding, &rows));
    let expected =
        "tcp_info_rtt  hostname    inet_diag_msg_state\n          24  a?b??[2J?é  ESTAB\n";
    assert_eq!(String::from_utf8(text).unwrap(), expected);
}
