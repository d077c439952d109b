//! One line for a connection that has ended: when, where, who, how long, how much, how far, and why where that can be told.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sockeye_record::table::put_text;
use sockeye_record::v1::XtcpFlatRecord;

/// Writes lines.
pub(super) struct Line {
    /// How often polls look: a connection that none has seen lived less.
    every: Duration,
}

impl Line {
    pub(super) fn new(every: Duration) -> Self {
        Self { every }
    }

    /// Appends a line. `knows_all`: a poll has seen everything that was there before.
    pub(super) fn put(&self, record: &XtcpFlatRecord, knows_all: bool, out: &mut String) {
        let closed_ns = u64::try_from(record.timestamp_ns).unwrap_or_default();
        let of_day = closed_ns / 1000 % (24 * 3600 * 1_000_000);
        let (seconds, us) = (of_day / 1_000_000, of_day % 1_000_000);
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        let mut netns = Vec::new();
        put_text(&mut netns, record.netns.as_bytes());
        let netns = String::from_utf8_lossy(&netns);
        let local =
            endpoint(&record.inet_diag_msg_socket_source, record.inet_diag_msg_socket_source_port);
        let remote = endpoint(
            &record.inet_diag_msg_socket_destination,
            record.inet_diag_msg_socket_destination_port,
        );
        // A String takes every write, here and below.
        let _ = write!(
            out,
            "{hours:02}:{minutes:02}:{:02}.{us:06} {netns} {local} > {remote} {}, sent {}, received {}, retrans {}, rtt {}",
            seconds % 60,
            self.lived(record, knows_all),
            or_dash(sent(record)),
            or_dash(has(record, 136).then_some(record.tcp_info_bytes_received)),
            or_dash(has(record, 104).then_some(record.tcp_info_total_retrans)),
            round_trips(record),
        );
        if let Some(why) = why(record) {
            let _ = write!(out, ": {why}");
        }
        out.push('\n');
    }

    /// `>1.2s`: a poll saw it so long ago; `<2s`: none has.
    fn lived(&self, record: &XtcpFlatRecord, knows_all: bool) -> String {
        if record.first_seen_ns == 0 {
            let most = self.every.as_secs();
            return if knows_all { format!("<{most}s") } else { "?".into() };
        }
        let ns = record.timestamp_ns.saturating_sub(record.first_seen_ns).max(0);
        let tenths = ns / 100_000_000;
        format!(">{}.{}s", tenths / 10, tenths % 10)
    }
}

/// Bytes of the application, without what was sent again; of kernels before 4.19 what was acknowledged.
fn sent(record: &XtcpFlatRecord) -> Option<u64> {
    if has(record, 216) {
        return Some(record.tcp_info_bytes_sent.saturating_sub(record.tcp_info_bytes_retrans));
    }
    has(record, 128).then_some(record.tcp_info_bytes_acked)
}

/// The lowest and the smoothed round trip time.
fn round_trips(record: &XtcpFlatRecord) -> String {
    let ms = |us: u32| {
        if us == 0 { "-".to_owned() } else { format!("{}.{:03}", us / 1000, us % 1000) }
    };
    format!("{}/{} ms", ms(record.tcp_info_min_rtt), ms(record.tcp_info_rtt))
}

/// What the last state of the connection says about its end; `None` for one that says nothing.
fn why(record: &XtcpFlatRecord) -> Option<String> {
    let count = |count: u32, what: &str| {
        (count > 0).then(|| format!("{count} {what}{}", if count == 1 { "" } else { "s" }))
    };
    let never = record.tcp_info_bytes_acked == 0 && record.tcp_info_rtt == 0;
    if has(record, 144) && never && record.tcp_info_segs_out > 0 {
        // A client alone sends before it has a round trip time.
        return Some(match record.tcp_info_segs_in {
            0 => "SYN not answered".into(),
            _ => "refused".into(),
        });
    }
    let timeouts = count(record.tcp_info_retransmits, "retransmission");
    let probes = count(record.tcp_info_probes, "probe");
    // A FIN counts as one, on either side.
    let left = |bytes: u32, what: &str| (bytes > 1).then(|| format!("{bytes} bytes {what}"));
    let reasons: Vec<String> = [
        timeouts.map(|timeouts| format!("{timeouts} not answered")),
        probes.map(|probes| format!("{probes} not answered")),
        left(record.inet_diag_msg_wqueue, "not acknowledged"),
        left(record.inet_diag_msg_rqueue, "not read"),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!reasons.is_empty()).then(|| reasons.join(", "))
}

fn has(record: &XtcpFlatRecord, bytes: u32) -> bool {
    record.tcp_info_length >= bytes
}

fn or_dash(number: Option<impl ToString>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

fn endpoint(address: &[u8], port: u32) -> String {
    let v4 = <[u8; 4]>::try_from(address).ok().map(IpAddr::from);
    let ip = v4.or_else(|| <[u8; 16]>::try_from(address).ok().map(IpAddr::from));
    let port = u16::try_from(port).unwrap_or_default();
    ip.map_or_else(|| format!("?:{port}"), |ip| SocketAddr::new(ip, port).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> XtcpFlatRecord {
        XtcpFlatRecord {
            timestamp_ns: 1_700_000_000_123_456_789,
            netns: "web".into(),
            record_kind: 2,
            inet_diag_msg_socket_source: vec![10, 0, 0, 1],
            inet_diag_msg_socket_source_port: 40000,
            inet_diag_msg_socket_destination: vec![10, 0, 0, 2],
            inet_diag_msg_socket_destination_port: 443,
            tcp_info_length: 280,
            tcp_info_bytes_sent: 5000,
            tcp_info_bytes_retrans: 1000,
            tcp_info_bytes_acked: 4001,
            tcp_info_bytes_received: 120_000,
            tcp_info_total_retrans: 2,
            tcp_info_min_rtt: 412,
            tcp_info_rtt: 12_583,
            tcp_info_segs_in: 90,
            tcp_info_segs_out: 80,
            ..XtcpFlatRecord::default()
        }
    }

    fn line(record: &XtcpFlatRecord, knows_all: bool) -> String {
        let mut out = String::new();
        Line::new(Duration::from_secs(2)).put(record, knows_all, &mut out);
        out
    }

    const HEAD: &str = "22:13:20.123456 web 10.0.0.1:40000 > 10.0.0.2:443";
    const REST: &str = "sent 4000, received 120000, retrans 2, rtt 0.412/12.583 ms";

    #[test]
    fn a_connection_that_no_poll_saw_lived_less_than_the_time_between_two() {
        assert_eq!(line(&record(), true), format!("{HEAD} <2s, {REST}\n"));
        assert_eq!(line(&record(), false), format!("{HEAD} ?, {REST}\n"));
    }

    #[test]
    fn a_connection_that_a_poll_saw_lived_longer_than_since_then() {
        let seen = XtcpFlatRecord { first_seen_ns: 1_699_999_987_800_000_000, ..record() };
        assert_eq!(line(&seen, true), format!("{HEAD} >12.3s, {REST}\n"));
    }

    #[test]
    fn what_an_old_kernel_does_not_tell_is_a_dash() {
        let old = XtcpFlatRecord { tcp_info_length: 104, tcp_info_min_rtt: 0, ..record() };
        let rest = "sent -, received -, retrans 2, rtt -/12.583 ms";
        assert_eq!(line(&old, true), format!("{HEAD} <2s, {rest}\n"));
        let acked = XtcpFlatRecord { tcp_info_length: 136, ..record() };
        assert!(line(&acked, true).contains("sent 4001, received 120000,"));
    }

    #[test]
    fn addresses_of_ipv6_stand_in_brackets_and_a_namespace_cannot_paint() {
        let ipv6 = XtcpFlatRecord {
            netns: "a\u{1b}[31m".into(),
            inet_diag_msg_socket_source: [vec![0; 15], vec![1]].concat(),
            inet_diag_msg_socket_destination: Vec::new(),
            ..record()
        };
        assert!(
            line(&ipv6, true).contains(" a?[31m [::1]:40000 > ?:443 "),
            "{}",
            line(&ipv6, true)
        );
    }

    #[test]
    fn a_reason_is_given_where_the_last_state_has_one() {
        let reason = |record: XtcpFlatRecord| why(&record);
        assert_eq!(reason(record()), None);
        let fins = XtcpFlatRecord { inet_diag_msg_wqueue: 1, inet_diag_msg_rqueue: 1, ..record() };
        assert_eq!(reason(fins), None);
        let timeouts = XtcpFlatRecord {
            tcp_info_retransmits: 3,
            tcp_info_probes: 1,
            inet_diag_msg_wqueue: 1448,
            inet_diag_msg_rqueue: 7,
            ..record()
        };
        assert_eq!(
            reason(timeouts).unwrap(),
            "3 retransmissions not answered, 1 probe not answered, 1448 bytes not acknowledged, 7 bytes not read"
        );
    }

    #[test]
    fn a_connection_that_never_was_is_refused_or_not_answered() {
        let syn = XtcpFlatRecord {
            tcp_info_bytes_acked: 0,
            tcp_info_rtt: 0,
            tcp_info_segs_out: 3,
            tcp_info_segs_in: 0,
            tcp_info_retransmits: 2,
            ..record()
        };
        assert_eq!(why(&syn).unwrap(), "SYN not answered");
        assert_eq!(why(&XtcpFlatRecord { tcp_info_segs_in: 1, ..syn }).unwrap(), "refused");
    }
}
