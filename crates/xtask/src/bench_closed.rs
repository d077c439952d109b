//! Case closed: connections that end by the thousand a second, what a row of one costs, and what is remembered of sockets.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use sockeye_testkit::brief::{BriefLoad, BriefOptions, End};
use sockeye_testkit::netns::{Netns as _, TestNetns};
use sockeye_testkit::procfs::cpu_time;

use crate::bench_cases::{Bench, PROTO};
use crate::bench_load::Crowd;
use crate::bench_polls::Contender;
use crate::bench_sample::Sample;

/// A daemon that is told of closed sockets, on one processor; killed when dropped.
struct Listening(Child);

impl Bench<'_> {
    /// How many connections a second it keeps up with, and what each of their rows costs.
    pub(crate) fn closed(&mut self) -> Result<()> {
        self.say("connections that end at once");
        let netns = TestNetns::new("brief")?;
        let (mut per_second, mut cpu_us) = (Sample::default(), Sample::default());
        let mut lost = 0;
        for _ in 0..self.effort.rounds {
            let listening = self.listen()?;
            let options = BriefOptions {
                netns: Some(netns.path()),
                connections: CONNECTIONS,
                bytes: 1..=1,
                life_us: 0..=0,
                rate: PER_SECOND,
                end: End::Reset,
                tells: false,
                ..BriefOptions::default()
            };
            let mut load = BriefLoad::spawn_program(&self.programs.brief, &options)?;
            let before = cpu_time(listening.0.id())?;
            load.go()?;
            let (_, done) = load.finish()?;
            // What waits for an envelope is sent by then.
            thread::sleep(Duration::from_secs(2));
            let cpu = cpu_time(listening.0.id())?.saturating_sub(before);
            let told = Told::read(&listening.stop()?)?;
            ensure!(told.rows + told.lost >= 2 * done.connections, "{told:?} of {done:?}");
            lost += told.lost;
            #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 of each")]
            let (connections, took, rows) =
                (done.connections as f64, done.took_us as f64, told.rows as f64);
            per_second.0.push(connections * 1e6 / took);
            cpu_us.0.push(cpu.as_secs_f64() * 1e6 / rows);
        }
        let what = "connections that ended, protobufList to null on one processor";
        self.add("closed", what, &per_second, "/s", None, format!("{lost} rows lost"));
        self.add("closed", "CPU of a closed row", &cpu_us, " us", None, String::new());
        Ok(())
    }

    /// What a poll remembers of a socket.
    pub(crate) fn remembered(&mut self, crowd: &Crowd) -> Result<()> {
        let poll =
            Contender::poll(&self.programs.sockeye, Some(&crowd.path()), crowd.sockets, PROTO);
        let used = poll.with(&["--closed", "on"]).attempt(3, Duration::from_secs(2))?;
        let told = Told::read(&used.stderr)?;
        ensure!(told.sockets > 0, "nothing is remembered: {}", used.stderr);
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 bytes")]
        let each = told.bytes as f64 / told.sockets as f64;
        let detail = format!("{} bytes for {} sockets", told.bytes, told.sockets);
        let target = Some(crate::bench_table::Target::AtMost(96.0));
        self.add("closed", "memory of a socket", &Sample(vec![each]), " bytes", target, detail);
        Ok(())
    }

    fn listen(&self) -> Result<Listening> {
        let mut command = Command::new(&self.programs.sockeye);
        command.args([
            "run",
            "--closed",
            "on",
            "--dest",
            "null",
            "--marshal",
            PROTO,
            "--cpus",
            "0",
            "--listen=off",
        ]);
        command.args(["--frequency", "10m", "--log-level", "debug"]);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut listening = Listening(command.spawn().context("sockeye")?);
        // The first poll has found the namespace and its id.
        let deadline = Instant::now() + Duration::from_secs(10);
        let stderr = listening.0.stderr.as_mut().context("stderr was piped")?;
        let (mut said, mut chunk) = (Vec::new(), [0; 4096]);
        while !String::from_utf8_lossy(&said).contains("polled") {
            ensure!(Instant::now() < deadline, "no poll");
            let read = stderr.read(&mut chunk)?;
            ensure!(read > 0, "sockeye ended: {}", String::from_utf8_lossy(&said));
            said.extend_from_slice(chunk.get(..read).unwrap_or_default());
        }
        thread::sleep(Duration::from_millis(500));
        Ok(listening)
    }
}

impl Listening {
    /// Ends it; what it said.
    fn stop(mut self) -> Result<String> {
        let pid = self.0.id().to_string();
        let killed = Command::new("kill").args(["-s", "TERM", &pid]).status()?;
        ensure!(killed.success(), "kill {pid}");
        let mut said = String::new();
        self.0.stderr.take().context("stderr was piped")?.read_to_string(&mut said)?;
        let status = self.0.wait()?;
        ensure!(status.success(), "sockeye: {status}: {said}");
        Ok(said)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `sockeye run` says of closed sockets at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    rows: u64,
    lost: u64,
    sockets: u64,
    bytes: u64,
}

impl Told {
    /// `sockeye: closed sockets: 8 rows, 7 of them seen by a poll, 0 lost; 5 sockets remembered in 400 bytes`
    fn read(stderr: &str) -> Result<Self> {
        let line = stderr.lines().find(|line| line.contains("closed sockets: "));
        let line = line.with_context(|| format!("no closed sockets in {stderr:?}"))?;
        let before = |name: &str| -> Result<u64> {
            let (before, _) = line.split_once(name).with_context(|| line.to_owned())?;
            let word = before.rsplit(' ').next().unwrap_or_default();
            word.parse().with_context(|| line.to_owned())
        };
        Ok(Self {
            rows: before(" rows,")?,
            lost: before(" lost;")?,
            sockets: before(" sockets remembered")?,
            bytes: before(" bytes")?,
        })
    }
}

/// About four seconds.
const CONNECTIONS: usize = 80_000;
const PER_SECOND: u64 = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_closed_sockets_is_read() {
        let line = "sockeye: 1 polls, 9 rows, 0 incomplete namespaces; skipped 0 late, 0 at high water\n\
                    sockeye: closed sockets: 8 rows, 7 of them seen by a poll, 1 lost; 5 sockets remembered in 400 bytes\n";
        let told = Told { rows: 8, lost: 1, sockets: 5, bytes: 400 };
        assert_eq!(Told::read(line).unwrap(), told);
        assert!(Told::read("sockeye: no\n").is_err());
    }
}
