//! What `ss` prints of a row: the tokens that `tcp_show_info` and its callers in iproute2's misc/ss.c make of it.
//!
//! The rules are those of iproute2 6.1 and of the later version that made the captures of kernel 6.6. `ss` prints most
//! numbers only when they are not zero, so a column that is 0 and one that is absent look the same here.

use serde_json::Value;

use crate::Row;
use crate::ss_format::{c_g, float, milliseconds, rates, timer};

/// One token that `ss` prints, or may print, of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The key, as [`crate::ss::SsToken`] has it.
    pub key: String,
    /// The values that are right; more than one where versions of `ss` print the same number in different ways.
    pub accepted: Vec<String>,
    /// Whether every version prints it. The ones that learned a token late do not miss it in older texts.
    pub always_printed: bool,
}

/// All tokens that `ss -n -i -e -m -o --tos` prints of `row`, but for the cgroup, which is a path.
pub fn expect(row: &Row) -> Vec<Expected> {
    let mut tokens = Tokens { row, list: Vec::new() };
    tokens.details();
    tokens.options();
    tokens.memory();
    if INFO_COLUMNS.iter().any(|column| row.contains_key(*column)) {
        tokens.info();
        tokens.counters();
        tokens.congestion();
        tokens.rates();
        tokens.path();
        tokens.late_arrivals();
    }
    if let Some(name) = row.get("ulp_name").and_then(Value::as_str).filter(|name| !name.is_empty())
    {
        tokens.must(&format!("tcp-ulp-{name}"), String::new());
    }
    tokens.list
}

/// The number in a column; a boolean counts as 0 or 1. `None` when the kernel did not deliver it.
pub fn number(row: &Row, column: &str) -> Option<u64> {
    match row.get(column)? {
        Value::Bool(flag) => Some(u64::from(*flag)),
        value => value.as_u64(),
    }
}

struct Tokens<'a> {
    row: &'a Row,
    list: Vec<Expected>,
}

impl Tokens<'_> {
    /// `timer`, `sock_details_print`, `v6only`, and the arrow of the shutdown state.
    fn details(&mut self) {
        let timer_kind = self.or_zero("inet_diag_msg_timer");
        if timer_kind != 0 {
            let name = match timer_kind {
                1 => "on",
                2 => "keepalive",
                3 => "timewait",
                4 => "persist",
                _ => "unknown",
            };
            let expires = timer(self.or_zero("inet_diag_msg_expires"));
            self.must(
                "timer",
                format!("({name},{expires},{})", self.or_zero("inet_diag_msg_retrans")),
            );
        }
        self.unless_zero("uid", "inet_diag_msg_uid");
        self.must("ino", self.or_zero("inet_diag_msg_inode").to_string());
        self.must("sk", format!("{:x}", self.or_zero("inet_diag_msg_socket_cookie")));
        if let mark @ 1.. = self.or_zero("mark") {
            self.must("fwmark", format!("{mark:#x}"));
        }
        if let (Some(only), Some(AF_INET6)) =
            (self.number("ipv6_only"), self.number("inet_diag_msg_family"))
        {
            self.must("v6only", only.to_string());
        }
        if let Some(mask) = self.number("shutdown_state") {
            let receive = if mask & 1 != 0 { '-' } else { '<' };
            let send = if mask & 2 != 0 { '-' } else { '>' };
            self.must("shutdown", format!("{receive}-{send}"));
        }
    }

    /// What `--tos` adds. C's `%#x` prints no prefix for 0.
    fn options(&mut self) {
        for (key, column) in
            [("tos", "type_of_service"), ("tclass", "traffic_class"), ("class_id", "class_id")]
        {
            match self.number(column) {
                Some(0) => self.must(key, "0".to_owned()),
                Some(value) => self.must(key, format!("{value:#x}")),
                None => {}
            }
        }
    }

    /// What `-m` adds: `skmem` where the kernel sends it, otherwise `mem`.
    fn memory(&mut self) {
        if self.number("sk_mem_info_rmem_alloc").is_some() {
            let mut parts = Vec::new();
            for (prefix, column) in SKMEM {
                // `bl` and `d` came later than the others: shorter attributes end before them.
                parts.extend(self.number(column).map(|value| format!("{prefix}{value}")));
            }
            self.must("skmem", format!("({})", parts.join(",")));
        } else if self.number("mem_info_rmem").is_some() {
            let [r, w, f, t] = ["rmem", "wmem", "fmem", "tmem"]
                .map(|name| self.or_zero(&format!("mem_info_{name}")));
            self.must("mem", format!("(r{r},w{w},f{f},t{t})"));
        }
    }

    /// The options, windows and times at the head of `tcp_stats_print`.
    fn info(&mut self) {
        let options = self.or_zero("tcp_info_options");
        for (flag, bit) in OPTIONS {
            if options & bit != 0 {
                self.must(flag, String::new());
            }
        }
        for (flag, bit) in LATE_OPTIONS {
            if options & bit != 0 {
                self.may(flag, vec![String::new()]);
            }
        }
        if let Some(name) = self.row.get("congestion_algorithm_string").and_then(Value::as_str)
            && !name.is_empty()
        {
            self.must("congestion", name.to_owned());
        }
        if options & TCPI_OPT_WSCALE != 0 {
            let scales = (self.or_zero("tcp_info_send_scale"), self.or_zero("tcp_info_rcv_scale"));
            self.must("wscale", format!("{},{}", scales.0, scales.1));
        }
        if self.or_zero("tcp_info_rto") != INITIAL_RTO_US {
            self.unless_zero_us("rto", "tcp_info_rto");
        }
        self.unless_zero("backoff", "tcp_info_backoff");
        if let rtt @ 1.. = self.or_zero("tcp_info_rtt") {
            self.must(
                "rtt",
                format!("{}/{}", milliseconds(rtt), milliseconds(self.or_zero("tcp_info_rtt_var"))),
            );
        }
        self.unless_zero_us("ato", "tcp_info_ato");
        for (key, column) in WINDOWS {
            self.unless_zero(key, column);
        }
        // TCP_INFINITE_SSTHRESH and everything else from 0xFFFF on is not printed.
        if self.or_zero("tcp_info_snd_ssthresh") < 0xFFFF {
            self.unless_zero("ssthresh", "tcp_info_snd_ssthresh");
        }
    }

    fn counters(&mut self) {
        for (key, column) in COUNTERS {
            self.unless_zero(key, column);
        }
        if self.or_zero("tcp_info_delivery_rate_app_limited") != 0 {
            self.must("app_limited", String::new());
        }
        let retrans = (self.or_zero("tcp_info_retrans"), self.or_zero("tcp_info_total_retrans"));
        if retrans != (0, 0) {
            self.must("retrans", format!("{}/{}", retrans.0, retrans.1));
        }
        // For a listener this is the limit of its accept queue, which is Send-Q already.
        if self.or_zero("inet_diag_msg_state") != LISTEN {
            self.unless_zero("sacked", "tcp_info_sacked");
        }
        if let Some(reordering) =
            self.number("tcp_info_reordering").filter(|reordering| *reordering != 3)
        {
            self.must("reordering", reordering.to_string());
        }
    }

    fn congestion(&mut self) {
        match self.number("dctcp_info_enabled") {
            Some(0) => self.must("dctcp", "fallback_mode".to_owned()),
            Some(_) => {
                let [ce_state, alpha, ab_ecn, ab_tot] = ["ce_state", "alpha", "ab_ecn", "ab_tot"]
                    .map(|name| self.or_zero(&format!("dctcp_info_{name}")).to_string());
                self.must(
                    "dctcp",
                    format!("(ce_state:{ce_state},alpha:{alpha},ab_ecn:{ab_ecn},ab_tot:{ab_tot})"),
                );
            }
            None => {}
        }
        if self.number("bbr_info_bw_lo").is_some() {
            let bytes = self.or_zero("bbr_info_bw_hi") << 32 | self.or_zero("bbr_info_bw_lo");
            let mut rest = vec![format!("mrtt:{}", milliseconds(self.or_zero("bbr_info_min_rtt")))];
            for name in ["pacing_gain", "cwnd_gain"] {
                if let gain @ 1.. = self.or_zero(&format!("bbr_info_{name}")) {
                    rest.push(format!("{name}:{}", c_g(float(gain) / 256.0)));
                }
            }
            let rest = rest.join(",");
            let accepted = rates(float(bytes) * 8.0).map(|rate| format!("(bw:{rate},{rest})"));
            self.push("bbr", accepted.to_vec(), true);
        }
    }

    fn rates(&mut self) {
        let mut rtt = self.or_zero("tcp_info_rtt");
        let vegas_rtt = self.or_zero("vegas_info_rtt");
        if self.or_zero("vegas_info_enabled") != 0 && vegas_rtt != 0 && vegas_rtt != VEGAS_NO_RTT {
            rtt = vegas_rtt;
        }
        let (cwnd, mss) = (self.or_zero("tcp_info_snd_cwnd"), self.or_zero("tcp_info_snd_mss"));
        if rtt != 0 && cwnd != 0 && mss != 0 {
            // In this order: floating point products depend on it.
            let send = float(cwnd) * float(mss) * 8_000_000.0 / float(rtt);
            self.push("send", rates(send).to_vec(), true);
        }
        if let Some(pacing) = self.rate("tcp_info_pacing_rate") {
            let max = self.rate("tcp_info_max_pacing_rate");
            let accepted = pacing.iter().enumerate().map(|(way, pacing)| match &max {
                Some(max) => format!("{pacing}/{}", max.get(way).map_or("", String::as_str)),
                None => pacing.clone(),
            });
            self.push("pacing_rate", accepted.collect(), true);
        }
        if let Some(delivery) = self.rate("tcp_info_delivery_rate") {
            self.push("delivery_rate", delivery.to_vec(), true);
        }
    }

    fn path(&mut self) {
        if let busy @ 1.. = self.or_zero("tcp_info_busy_time") {
            self.must("busy", format!("{}ms", busy / 1000));
            for (key, column) in [
                ("rwnd_limited", "tcp_info_rwnd_limited"),
                ("sndbuf_limited", "tcp_info_sndbuf_limited"),
            ] {
                if let limited @ 1.. = self.or_zero(column) {
                    let percent = 100.0 * float(limited) / float(busy);
                    self.must(key, format!("{}ms({percent:.1}%)", limited / 1000));
                }
            }
        }
        self.unless_zero_us("rcv_rtt", "tcp_info_rcv_rtt");
        if self.or_zero("tcp_info_min_rtt") != u64::from(u32::MAX) {
            self.unless_zero_us("minrtt", "tcp_info_min_rtt");
        }
    }

    /// Tokens that iproute2 6.1 does not print yet, and the 4.19 one fewer still.
    fn late_arrivals(&mut self) {
        for (key, column) in LATE_COUNTERS {
            if let value @ 1.. = self.or_zero(column) {
                self.may(key, vec![value.to_string()]);
            }
        }
    }

    /// Bytes per second in a column as bits per second; `~0` means unlimited and is not printed.
    fn rate(&self, column: &str) -> Option<[String; 3]> {
        let bytes = self.number(column).filter(|bytes| *bytes != 0 && *bytes != u64::MAX)?;
        Some(rates(float(bytes) * 8.0))
    }

    fn unless_zero(&mut self, key: &str, column: &str) {
        if let value @ 1.. = self.or_zero(column) {
            self.must(key, value.to_string());
        }
    }

    fn unless_zero_us(&mut self, key: &str, column: &str) {
        if let us @ 1.. = self.or_zero(column) {
            self.must(key, milliseconds(us));
        }
    }

    fn must(&mut self, key: &str, value: String) {
        self.push(key, vec![value], true);
    }

    fn may(&mut self, key: &str, accepted: Vec<String>) {
        self.push(key, accepted, false);
    }

    fn push(&mut self, key: &str, accepted: Vec<String>, always_printed: bool) {
        self.list.push(Expected { key: key.to_owned(), accepted, always_printed });
    }

    fn number(&self, column: &str) -> Option<u64> {
        number(self.row, column)
    }

    fn or_zero(&self, column: &str) -> u64 {
        self.number(column).unwrap_or(0)
    }
}

const AF_INET6: u64 = 10;
const LISTEN: u64 = 10;
const TCPI_OPT_WSCALE: u64 = 4;
/// `TCP_TIMEOUT_INIT` of old kernels; `ss` takes it for "not measured".
const INITIAL_RTO_US: u64 = 3_000_000;
const VEGAS_NO_RTT: u64 = 0x7fff_ffff;

/// Columns of which a row with `INET_DIAG_INFO` has at least one: `tcp_info` always reached that far.
const INFO_COLUMNS: [&str; 3] = ["tcp_info_state", "tcp_info_options", "tcp_info_snd_cwnd"];

/// The bits `TCPI_OPT_…`, and what `ss` calls them.
const OPTIONS: [(&str, u64); 5] =
    [("ts", 1), ("sack", 2), ("ecn", 8), ("ecnseen", 16), ("fastopen", 32)];

/// The same, of kernels and iproute2 versions after 6.1.
const LATE_OPTIONS: [(&str, u64); 2] = [("usec_ts", 64), ("tfo_child", 128)];

const SKMEM: [(&str, &str); 9] = [
    ("r", "sk_mem_info_rmem_alloc"),
    ("rb", "sk_mem_info_rcv_buf"),
    ("t", "sk_mem_info_wmem_alloc"),
    ("tb", "sk_mem_info_snd_buf"),
    ("f", "sk_mem_info_fwd_alloc"),
    ("w", "sk_mem_info_wmem_queued"),
    ("o", "sk_mem_info_optmem"),
    ("bl", "sk_mem_info_backlog"),
    ("d", "sk_mem_info_drops"),
];

const WINDOWS: [(&str, &str); 5] = [
    ("mss", "tcp_info_snd_mss"),
    ("pmtu", "tcp_info_pmtu"),
    ("rcvmss", "tcp_info_rcv_mss"),
    ("advmss", "tcp_info_adv_mss"),
    ("cwnd", "tcp_info_snd_cwnd"),
];

/// Printed as they are when not zero.
const COUNTERS: [(&str, &str); 23] = [
    ("bytes_sent", "tcp_info_bytes_sent"),
    ("bytes_retrans", "tcp_info_bytes_retrans"),
    ("bytes_acked", "tcp_info_bytes_acked"),
    ("bytes_received", "tcp_info_bytes_received"),
    ("segs_out", "tcp_info_segs_out"),
    ("segs_in", "tcp_info_segs_in"),
    ("data_segs_out", "tcp_info_data_segs_out"),
    ("data_segs_in", "tcp_info_data_segs_in"),
    ("lastsnd", "tcp_info_last_data_sent"),
    ("lastrcv", "tcp_info_last_data_recv"),
    ("lastack", "tcp_info_last_ack_recv"),
    ("delivered", "tcp_info_delivered"),
    ("delivered_ce", "tcp_info_delivered_ce"),
    ("unacked", "tcp_info_unacked"),
    ("lost", "tcp_info_lost"),
    ("dsack_dups", "tcp_info_dsack_dups"),
    ("fackets", "tcp_info_fackets"),
    ("reord_seen", "tcp_info_reord_seen"),
    ("rcv_space", "tcp_info_rcv_space"),
    ("rcv_ssthresh", "tcp_info_rcv_ssthresh"),
    ("notsent", "tcp_info_not_sent_bytes"),
    ("rcv_ooopack", "tcp_info_rcv_ooopack"),
    ("snd_wnd", "tcp_info_snd_wnd"),
];

/// Printed as they are when not zero, by iproute2 6.7 and later.
const LATE_COUNTERS: [(&str, &str); 5] = [
    ("rcv_wnd", "tcp_info_rcv_wnd"),
    ("rehash", "tcp_info_rehash"),
    ("total_rto", "tcp_info_total_rto"),
    ("total_rto_recoveries", "tcp_info_total_rto_recoveries"),
    ("total_rto_time", "tcp_info_total_rto_time"),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The first accepted value of each token of a row, as `key:value`.
    fn printed(row: &Value) -> Vec<String> {
        let tokens = expect(row.as_object().unwrap());
        let printed = tokens.iter().map(|token| format!("{}:{}", token.key, token.accepted[0]));
        printed.filter(|text| text != "ino:0" && text != "sk:0").collect()
    }

    #[test]
    fn what_a_congestion_algorithm_says_of_itself_is_printed() {
        let dctcp = json!({
            "tcp_info_state": 1, "dctcp_info_enabled": 1, "dctcp_info_ce_state": 2, "dctcp_info_alpha": 347,
            "dctcp_info_ab_ecn": 3, "dctcp_info_ab_tot": 4
        });
        assert_eq!(printed(&dctcp), ["dctcp:(ce_state:2,alpha:347,ab_ecn:3,ab_tot:4)"]);
        let fallback = json!({ "tcp_info_state": 1, "dctcp_info_enabled": 0 });
        assert_eq!(printed(&fallback), ["dctcp:fallback_mode"]);
        let bbr = json!({
            "tcp_info_state": 1, "bbr_info_bw_lo": 5, "bbr_info_bw_hi": 1, "bbr_info_min_rtt": 133,
            "bbr_info_pacing_gain": 739, "bbr_info_cwnd_gain": 0
        });
        assert_eq!(printed(&bbr), ["bbr:(bw:34359738408bps,mrtt:0.133,pacing_gain:2.88672)"]);
    }

    #[test]
    fn vegas_measures_the_round_trip_for_the_send_rate() {
        let mut row = json!({
            "tcp_info_state": 1, "tcp_info_snd_mss": 1000, "tcp_info_snd_cwnd": 10, "tcp_info_rtt": 100,
            "tcp_info_rtt_var": 7, "vegas_info_enabled": 1, "vegas_info_rtt": 50
        });
        let rest = ["rtt:0.1/0.007", "mss:1000", "cwnd:10"];
        let printed_with =
            |row: &Value, send: &str| assert_eq!(printed(row), [&rest[..], &[send]].concat());
        printed_with(&row, "send:1600000000bps");
        row["vegas_info_rtt"] = json!(VEGAS_NO_RTT);
        printed_with(&row, "send:800000000bps");
        row["vegas_info_rtt"] = json!(50);
        row["vegas_info_enabled"] = json!(0);
        printed_with(&row, "send:800000000bps");
    }

    #[test]
    fn values_that_mean_none_are_not_printed() {
        let row = json!({
            "tcp_info_state": 1, "tcp_info_snd_ssthresh": 0x7fff_ffff, "tcp_info_pacing_rate": u64::MAX,
            "tcp_info_min_rtt": u32::MAX, "tcp_info_rto": 3_000_000, "tcp_info_reordering": 3,
            "tcp_info_rwnd_limited": 9
        });
        assert_eq!(printed(&row), Vec::<String>::new());
    }

    #[test]
    fn a_listener_has_no_sacked_segments_but_a_queue_limit() {
        let mut row =
            json!({ "tcp_info_state": 10, "inet_diag_msg_state": 10, "tcp_info_sacked": 128 });
        assert_eq!(printed(&row), Vec::<String>::new());
        row["inet_diag_msg_state"] = json!(1);
        assert_eq!(printed(&row), ["sacked:128"]);
    }

    #[test]
    fn short_and_missing_memory_attributes_are_printed_as_they_are() {
        let old = json!({ "mem_info_rmem": 1, "mem_info_wmem": 2, "mem_info_fmem": 3, "mem_info_tmem": 4 });
        assert_eq!(printed(&old), ["mem:(r1,w2,f3,t4)"]);
        let short = json!({ "sk_mem_info_rmem_alloc": 1, "sk_mem_info_rcv_buf": 2, "sk_mem_info_optmem": 3 });
        assert_eq!(printed(&short), ["skmem:(r1,rb2,o3)"]);
    }

    #[test]
    fn details_are_printed_in_their_own_bases() {
        let row = json!({
            "inet_diag_msg_family": 10, "inet_diag_msg_socket_cookie": 0x1f, "mark": 255, "ipv6_only": 1,
            "shutdown_state": 1, "type_of_service": 0, "traffic_class": 16, "ulp_name": "tls"
        });
        let expected = [
            "sk:1f",
            "fwmark:0xff",
            "v6only:1",
            "shutdown:-->",
            "tos:0",
            "tclass:0x10",
            "tcp-ulp-tls:",
        ];
        assert_eq!(printed(&row), expected);
    }
}
