//! `kafka up|down`: a real Apache Kafka on this machine, for trying things out and for tests that share one.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sockeye_testkit::kafka::{Place, Settings, given};
use sockeye_testkit::kafka_files;
use sockeye_testkit::kafka_process::{java, wait_until};

use crate::cargo;

/// Starts a broker that stays, and prints its address; one that is up already is only named.
///
/// # Errors
/// Kafka could not be fetched or did not start.
pub(crate) fn up(port: u16) -> Result<()> {
    if let Some(bootstrap) = given() {
        println!("{bootstrap}");
        return Ok(());
    }
    let folder = kafka_files::folder().join("up");
    if let Some(running) = Running::of(&folder)? {
        println!("{}", running.bootstrap);
        return Ok(());
    }
    let port = if is_free(port) { port } else { 0 };
    let settings = Settings { folder: Some(folder.clone()), port, ..Settings::default() };
    let place = Place::prepare(&settings)?;
    let log = fs::File::options().create(true).append(true).open(place.log())?;
    let mut broker = java("kafka.Kafka")?
        .arg(place.properties())
        .stdout(log.try_clone()?)
        .stderr(Stdio::from(log))
        // What the terminal sends to us is not for the broker.
        .process_group(0)
        .spawn()
        .context("running java")?;
    let running =
        Running { pid: broker.id(), begin: begin(broker.id())?, bootstrap: place.bootstrap() };
    fs::write(note(&folder), serde_json::to_vec(&running)?).context("noting the broker")?;
    wait_until(|| place.is_open(), || broker.try_wait().ok().flatten(), &place.log())?;
    println!("{}", running.bootstrap);
    Ok(())
}

/// Stops the broker that [`up`] started, and no other process. Its data stays.
///
/// # Errors
/// It does not end.
pub(crate) fn down(root: &Path) -> Result<()> {
    let folder = kafka_files::folder().join("up");
    let Some(running) = Running::of(&folder)? else {
        println!("no broker is up");
        return Ok(());
    };
    for (signal, patience) in [("-TERM", 30), ("-KILL", 5)] {
        cargo::run({
            let mut kill = cargo::command(root, "kill");
            kill.args([signal, &running.pid.to_string()]);
            kill
        })?;
        let deadline = Instant::now() + Duration::from_secs(patience);
        while running.is_alive() {
            if Instant::now() > deadline {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        if !running.is_alive() {
            fs::remove_file(note(&folder))?;
            println!("stopped {}", running.bootstrap);
            return Ok(());
        }
    }
    bail!("process {} does not end", running.pid)
}

/// The broker that is up: process ids are used again, but not with the same moment of birth.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Running {
    pid: u32,
    /// In clock ticks since the host's start.
    begin: u64,
    bootstrap: String,
}

impl Running {
    fn of(folder: &Path) -> Result<Option<Self>> {
        let note = match fs::read(note(folder)) {
            Ok(note) => note,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context("the note of the broker"),
        };
        let running: Self = serde_json::from_slice(&note).context("the note of the broker")?;
        Ok(running.is_alive().then_some(running))
    }

    fn is_alive(&self) -> bool {
        begin(self.pid).is_ok_and(|begin| begin == self.begin)
    }
}

fn note(folder: &Path) -> PathBuf {
    folder.join("running.json")
}

/// When a process began; one that only waits for its parent to look has ended.
fn begin(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold blanks and brackets; state is field 3, the begin field 22.
    let (_, fields) = stat.rsplit_once(") ").context("no name in stat")?;
    let mut fields = fields.split(' ');
    ensure!(fields.next() != Some("Z"), "process {pid} has ended");
    Ok(fields.nth(18).context("no begin in stat")?.parse()?)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_the_same_id_and_another_begin_is_another_one() {
        let pid = std::process::id();
        let running = |begin| Running { pid, begin, bootstrap: "127.0.0.1:9092".to_owned() };
        let begin = begin(pid).unwrap();
        assert!(running(begin).is_alive());
        assert!(!running(begin + 1).is_alive());

        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Running::of(folder.path()).unwrap(), None);
        for (begin, expected) in [(begin, true), (begin + 1, false)] {
            fs::write(note(folder.path()), serde_json::to_vec(&running(begin)).unwrap()).unwrap();
            assert_eq!(Running::of(folder.path()).unwrap().is_some(), expected);
        }
    }
}
