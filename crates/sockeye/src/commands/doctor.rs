//! `sockeye doctor`: what works on this host, what does not, and why.

use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use sockeye_netns::{NetnsFd, Origin, Scan, Scanner, sockstat_of};
use sockeye_pipeline::{Completeness, Incomplete, Stop};
use sockeye_source::sockdiag::{Dump, DumpStats};
use sockeye_sys::avx512::Avx512;
use sockeye_sys::{DiagSocket, Ring};
use sockeye_wire::{AttrSet, Request, StateSet};

use super::{doctor_cost as cost, print};
use crate::cli::NetnsArgs;
use crate::config::settings;
use crate::exit::{Failure, Status};
use crate::privileges::Privileges;

/// Checks everything and prints a line each; 1 when rows can't be read at all.
pub(crate) fn run(arguments: &NetnsArgs) -> Result<Status, Failure> {
    let privileges = Privileges::current();
    let options = settings::scan(arguments, privileges);
    let mut report = Report::default();
    kernel(&mut report);
    sock_diag(&mut report);
    capabilities(&mut report, privileges);
    hash_table(&mut report);
    io_uring(&mut report);
    avx512(&mut report);
    open_files(&mut report);
    let scan = Scanner::new(options).scan();
    namespaces(&mut report, &scan, privileges);
    print(report.text.as_bytes())?;
    Ok(if report.broken { Status::Incomplete } else { Status::Done })
}

#[derive(Default)]
pub(super) struct Report {
    text: String,
    broken: bool,
}

impl Report {
    fn line(&mut self, verdict: &str, subject: &str, finding: &str) {
        // A String takes every write.
        let _ = writeln!(self.text, "{verdict:<5} {subject:<13} {finding}");
    }

    pub(super) fn ok(&mut self, subject: &str, finding: &str) {
        self.line("ok", subject, finding);
    }

    /// Something is missing, and rows are still read.
    pub(super) fn less(&mut self, subject: &str, finding: &str) {
        self.line("less", subject, finding);
    }

    fn fail(&mut self, subject: &str, finding: &str) {
        self.broken = true;
        self.line("FAIL", subject, finding);
    }
}

fn kernel(report: &mut Report) {
    let release =
        nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    report.ok(
        "kernel",
        &format!("Linux {}, {}", release.unwrap_or_default(), std::env::consts::ARCH),
    );
}

/// Asks for listeners, which is cheap everywhere, and for one connection's `tcp_info`, whose length tells the columns.
fn sock_diag(report: &mut Report) {
    let mut longest = None;
    let mut answers = false;
    match listeners(&mut longest) {
        Ok(DumpStats { completeness: Completeness::Complete, sockets, .. }) => {
            let info = longest.map_or("no tcp_info seen".to_owned(), |bytes| {
                format!("tcp_info of {bytes} bytes")
            });
            report.ok(
                "sock_diag",
                &format!("answers: listeners in this namespace: {sockets}, {info}"),
            );
            answers = true;
        }
        Ok(DumpStats {
            completeness: Completeness::Incomplete(Incomplete::Refused(errno)),
            ..
        }) if errno == Errno::ENOENT as i32 => {
            report.fail(
                "sock_diag",
                "refused: the modules inet_diag and tcp_diag are missing; try modprobe tcp_diag",
            );
        }
        Ok(DumpStats { completeness: Completeness::Incomplete(why), .. }) => {
            report.fail("sock_diag", &format!("a dump of the listeners failed: {why}"));
        }
        Err(error) => report.fail("sock_diag", &format!("no netlink socket: {error}")),
    }
    modules(report, answers);
}

/// After the question above, since the kernel loads them when asked.
fn modules(report: &mut Report, answers: bool) {
    let release =
        nix::sys::utsname::uname().map(|name| name.release().to_owned()).unwrap_or_default();
    let list = Path::new("/lib/modules").join(release).join("modules.builtin");
    let list = fs::read_to_string(list).unwrap_or_default();
    let found = MODULES.map(|name| {
        let loaded = Path::new("/sys/module").join(name).exists();
        (name, module_state(loaded, list.contains(&format!("/{name}.ko")), answers))
    });
    let finding = found.map(|(name, state)| format!("{name} {state}")).join(", ");
    if found.iter().all(|(_, state)| *state != NOT_LOADED) {
        report.ok("modules", &finding);
    } else {
        report.less("modules", &finding);
    }
}

/// What answers and is no module is part of the kernel, whether a list says so or not.
fn module_state(loaded: bool, listed: bool, answers: bool) -> &'static str {
    match (listed, loaded, answers) {
        // Parts of the kernel that have parameters are shown among the modules as well.
        (true, _, _) | (_, false, true) => "built in",
        (false, true, _) => "loaded",
        (false, false, false) => NOT_LOADED,
    }
}

fn listeners(longest: &mut Option<usize>) -> std::io::Result<DumpStats> {
    let mut socket = DiagSocket::open(Duration::from_millis(200))?;
    let states = "listening".parse::<StateSet>().expect("a state's name");
    let dump = Dump {
        request: Request { states, attrs: AttrSet::DEFAULT, bytecode: &[] },
        seq: 1,
        wanted: AttrSet::DEFAULT,
        timeout: Duration::from_secs(5),
        stop: &Stop::default(),
    };
    Ok(dump.run(
        &mut socket,
        &mut vec![0; 32768],
        || true,
        |row| {
            *longest = row.info().map(|info| info.delivered_bytes()).max(*longest);
        },
    ))
}

fn io_uring(report: &mut Report) {
    match Ring::probe() {
        Ok(()) => report.ok("io_uring", "allowed: --io-uring can be used"),
        Err(error) => report.less("io_uring", &format!("blocking reads only: {error}")),
    }
}

fn avx512(report: &mut Report) {
    if Avx512::detect().is_some() {
        report.ok("avx512", "rows of protobufList are written eight columns at a time");
    } else if cfg!(target_arch = "x86_64") {
        report.less("avx512", "no VBMI2: rows of protobufList are written column by column");
    }
}

fn capabilities(report: &mut Report, privileges: Privileges) {
    match privileges.shortfall() {
        None => {
            let finding = "CAP_SYS_ADMIN and CAP_SYS_PTRACE: others can be found and entered";
            report.ok("namespaces", finding);
        }
        Some(shortfall) => report.less("namespaces", shortfall),
    }
    if privileges.read_mark {
        report.ok("mark", "CAP_NET_ADMIN: the column mark is filled");
    } else {
        report.less("mark", "without CAP_NET_ADMIN the kernel leaves the column mark out");
    }
}

fn hash_table(report: &mut Report) {
    match fs::read_to_string("/proc/sys/net/ipv4/tcp_ehash_entries")
        .map(|text| text.trim().parse::<i64>())
    {
        // A negative number says that the namespace uses the host's table.
        Ok(Ok(entries)) => {
            let whose = if entries < 0 { "shared with the host" } else { "of this namespace" };
            let entries = entries.unsigned_abs();
            report
                .ok("hash table", &format!("{entries} buckets, {whose}; a dump walks all of them"));
        }
        Err(error) if error.kind() == ErrorKind::NotFound && Path::new("/proc/self").exists() => {
            report.less("hash table", "its size is not told: tcp_ehash_entries needs Linux 6.1");
        }
        Err(error) => report.less("hash table", &format!("its size can't be read: {error}")),
        Ok(Err(_)) => report.less("hash table", "its size is no number"),
    }
}

fn open_files(report: &mut Report) {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) if soft < hard => {
            report.ok("open files", &format!("limit {soft}, raised to {hard} by run"));
        }
        Ok((soft, _)) => report.ok("open files", &format!("limit {soft}")),
        Err(errno) => report.less("open files", &format!("limit unknown: {errno}")),
    }
}

fn namespaces(report: &mut Report, scan: &Scan, privileges: Privileges) {
    let mounted = scan
        .namespaces
        .iter()
        .filter(|netns| matches!(netns.origins.first(), Some(Origin::Mount(_))))
        .count();
    let all = scan.namespaces.len();
    let stats = scan.stats;
    let finding = format!("{all} found: {mounted} mounted, {} by processes only", all - mounted);
    report.ok("found", &finding);
    if stats.denied > 0 {
        let why = match privileges {
            Privileges { find_others: false, .. } => "CAP_SYS_PTRACE is missing",
            Privileges { confined: true, .. } => "they are outside of this user namespace",
            _ => "the kernel or a security module refuses",
        };
        report.less(
            "found",
            &format!("processes or mounts not to be looked at: {}; {why}", stats.denied),
        );
    }
    if stats.not_nsfs + stats.other_kind > 0 {
        let ignored = stats.not_nsfs + stats.other_kind;
        report.less("found", &format!("entries of the mount directories that are no network namespaces, ignored: {ignored}"));
    }
    if let Some(errno) = scan.incomplete {
        report.less("found", &format!("the scan failed in places: {errno}"));
    }
    sockets(report, scan);
}

fn sockets(report: &mut Report, scan: &Scan) {
    let Ok(home) = NetnsFd::open("/proc/thread-self/ns/net") else {
        return report
            .fail("sockets", "our own network namespace can't be read; is /proc mounted?");
    };
    let (mut tcp, mut tcp6, mut time_wait, mut unread) = (0u64, 0u64, 0u64, 0u64);
    let mut in_use = Vec::new();
    for netns in &scan.namespaces {
        match sockstat_of(netns, &home) {
            Ok(stat) => {
                tcp += u64::from(stat.tcp_inuse);
                tcp6 += u64::from(stat.tcp6_inuse);
                time_wait += u64::from(stat.time_wait);
                in_use.push(u64::from(stat.tcp_inuse) + u64::from(stat.tcp6_inuse));
            }
            Err(_) => unread += 1,
        }
    }
    report.ok("sockets", &format!("{tcp} IPv4 and {tcp6} IPv6 in use, {time_wait} in TIME-WAIT"));
    if unread > 0 {
        report.less(
            "sockets",
            &format!("namespaces that could not be entered or have gone meanwhile: {unread}"),
        );
    }
    cost::put(report, &in_use);
}

const MODULES: [&str; 2] = ["inet_diag", "tcp_diag"];
const NOT_LOADED: &str = "not loaded";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_answers_and_is_not_loaded_is_built_in() {
        assert_eq!(module_state(false, false, true), "built in");
        assert_eq!(module_state(false, true, false), "built in");
        assert_eq!(module_state(false, false, false), "not loaded");
        assert_eq!(module_state(true, false, true), "loaded");
        assert_eq!(module_state(true, false, false), "loaded");
        assert_eq!(module_state(true, true, true), "built in");
    }
}
