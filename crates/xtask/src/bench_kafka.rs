//! Case kafka: rows from the kernel until a broker has acknowledged them, beside the same rows to null.
//!
//! Each turn is three runs in the same rhythm: two that differ in the number of polls alone tell what a row costs, and
//! one that finds no sockets tells how much of the wall clock is not the last poll's.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use sockeye_testkit::kafka::{Broker, Settings};
use sockeye_testkit::kafka_files;
use sockeye_testkit::netns::enter;

use crate::bench_cases::{Bench, PROTO};
use crate::bench_child::Used;
use crate::bench_load::Crowd;
use crate::bench_polls::{Contender, Summary, WARM_UP, patiently, rhythm};
use crate::bench_sample::Sample;
use crate::cargo;

/// Rows to one destination, and the same program where there are none.
struct Way {
    rows: Contender,
    none: Contender,
}

/// What rows to one destination cost, round by round.
#[derive(Default)]
struct Rows {
    /// Processor time of a row, in nanoseconds.
    cpu_ns: Sample,
    /// Rows of a poll by the time from its start to the last acknowledgement.
    per_second: Sample,
    /// That time, in milliseconds.
    took_ms: Sample,
}

impl Bench<'_> {
    /// Case kafka. The broker is in the crowd's namespace, where Sockeye is too, and speaks on loopback.
    pub(crate) fn kafka(&mut self, crowd: &Crowd, has_kafka: bool) -> Result<()> {
        if !has_kafka || !broker_can_start() {
            self.not_available("kafka", PER_SECOND);
            return Ok(());
        }
        self.say("a broker in the namespace");
        let folder = Path::new(BROKER);
        // A folder of its own: who is gone, as a broker without one asks, can't be told from within our namespace.
        fs::create_dir_all(folder)?;
        let settings = Settings { folder: Some(folder.to_owned()), ..Settings::default() };
        let broker = enter(&crowd.path(), || {
            let broker = Broker::start(&settings)?;
            broker.create_topic(TOPIC, 3, &[])?;
            anyhow::Ok(broker)
        })??;
        let dest = format!("kafka:{}", broker.bootstrap());
        let null = self.way(crowd, "null");
        let kafka = self.way(crowd, &dest);
        // Time for what the broker does between two polls.
        let every = rhythm(&[null.rows.clone(), kafka.rows.clone()])? * 2;
        self.say(&format!("in turn, a poll every {} ms: null, kafka", every.as_millis()));
        let polls = self.effort.polls(crowd.sockets);
        let (mut to_null, mut to_kafka) = (Rows::default(), Rows::default());
        for _ in 0..self.effort.rounds {
            to_null.add(&null, polls, every)?;
            to_kafka.add(&kafka, polls, every)?;
        }
        self.tell(&to_kafka, &to_null);
        drop(broker);
        fs::remove_dir_all(folder)?;
        Ok(())
    }

    fn way(&self, crowd: &Crowd, dest: &str) -> Way {
        let poll = |rows| {
            let program = &self.programs.sockeye;
            Contender::poll(program, Some(&crowd.path()), rows, PROTO).to(dest)
        };
        Way {
            rows: poll(crowd.sockets).give_or_take(OF_THE_BROKER),
            // The kernel has a table of its own for them, and so does not walk that of the others.
            none: poll(0).give_or_take(OF_THE_BROKER).with(&["--states", "bound-inactive"]),
        }
    }

    fn tell(&mut self, kafka: &Rows, null: &Rows) {
        let detail = format!(
            "a poll in {:.0} ms; to null {:.0} rows/s, {:.0} ms",
            kafka.took_ms.median(),
            null.per_second.median(),
            null.took_ms.median()
        );
        self.add("kafka", PER_SECOND, &kafka.per_second, " rows/s", None, detail);
        for (what, sample) in [
            ("CPU of a row, protobufList to kafka", &kafka.cpu_ns),
            ("CPU of a row, protobufList to null", &null.cpu_ns),
        ] {
            self.add("kafka", what, sample, " ns", None, String::new());
        }
        let (upper, lower) = (&kafka.cpu_ns, &null.cpu_ns);
        let detail = format!("{:.0} ns / {:.0} ns", upper.median(), lower.median());
        self.add("kafka", "CPU of a row, kafka / null", &upper.over(lower), "", None, detail);
    }
}

impl Rows {
    fn add(&mut self, way: &Way, polls: u32, every: Duration) -> Result<()> {
        let turn = patiently(every, |every| Turn::take(way, polls, every))?;
        let took = turn.last_poll(every)?.as_secs_f64();
        self.cpu_ns.0.push(turn.cpu_ns());
        self.took_ms.0.push(took * 1e3);
        self.per_second.0.push(turn.rows_of_a_poll() / took);
        Ok(())
    }
}

/// The three runs of a turn.
struct Turn {
    short: (Used, Summary),
    long: (Used, Summary),
    none: (Used, Summary),
    polls: u32,
}

impl Turn {
    fn take(way: &Way, polls: u32, every: Duration) -> Result<Self> {
        let punctual = |contender: &Contender, polls| -> Result<(Used, Summary)> {
            let used = contender.attempt(polls, every)?;
            let summary = Summary::read(&used.stderr)?;
            // The wall clocks of two runs can be compared when both polled at the same ticks.
            let skipped = summary.late + summary.high_water;
            ensure!(skipped == 0, "{skipped} ticks skipped, of {} ms", every.as_millis());
            Ok((used, summary))
        };
        let turn = Self {
            short: punctual(&way.rows, WARM_UP)?,
            long: punctual(&way.rows, WARM_UP + polls)?,
            none: punctual(&way.none, WARM_UP)?,
            polls,
        };
        turn.last_poll(every)?;
        Ok(turn)
    }

    /// From the start of the last poll to the last acknowledgement: what the run took longer than one without rows.
    fn last_poll(&self, every: Duration) -> Result<Duration> {
        let took = self.short.0.wall.saturating_sub(self.none.0.wall);
        ensure!(took > Duration::ZERO, "a run with rows ended before one without");
        ensure!(took < every, "{} ms: the poll before was not acknowledged", took.as_millis());
        Ok(took)
    }

    fn cpu_ns(&self) -> f64 {
        let ((long, _), (short, _)) = (&self.long, &self.short);
        let cpu = long.cpu.as_secs_f64() - short.cpu.as_secs_f64();
        cpu * 1e9 / f64::from(self.polls) / self.rows_of_a_poll()
    }

    fn rows_of_a_poll(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 rows")]
        let rows = (self.long.1.rows - self.short.1.rows) as f64;
        rows / f64::from(self.polls)
    }
}

fn broker_can_start() -> bool {
    cargo::find("java").is_some() && kafka_files::folder().join(kafka_files::VERSION).is_dir()
}

const PER_SECOND: &str = "rows from kernel to acknowledged";
const TOPIC: &str = "xtcp";
/// On the sandbox's own /run, which goes with it.
const BROKER: &str = "/run/kafka";
/// Sockets of the broker and of its clients, beside the crowd: listeners and both ends of some connections.
const OF_THE_BROKER: u64 = 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(cpu_ms: u64, wall_ms: u64, rows: u64) -> (Used, Summary) {
        let (cpu, wall) = (Duration::from_millis(cpu_ms), Duration::from_millis(wall_ms));
        let summary = Summary { rows, ..Summary::default() };
        (Used { cpu, wall, stderr: String::new() }, summary)
    }

    fn turn() -> Turn {
        Turn {
            short: ran(300, 2_250, 3_000),
            long: ran(500, 4_250, 5_000),
            none: ran(10, 2_050, 0),
            polls: 2,
        }
    }

    #[test]
    fn a_row_costs_what_more_polls_cost_and_a_poll_takes_what_a_run_without_rows_does_not() {
        assert_eq!(turn().last_poll(Duration::from_secs(1)).unwrap(), Duration::from_millis(200));
        assert!((turn().rows_of_a_poll() - 1_000.0).abs() < 1e-9);
        assert!((turn().cpu_ns() - 100_000.0).abs() < 1e-6);
    }

    #[test]
    fn a_poll_that_is_acknowledged_after_the_next_has_begun_is_no_measurement() {
        let error = turn().last_poll(Duration::from_millis(200)).unwrap_err().to_string();
        assert_eq!(error, "200 ms: the poll before was not acknowledged");
        let backwards = Turn { none: ran(10, 2_250, 0), ..turn() };
        assert!(backwards.last_poll(Duration::from_secs(1)).is_err());
    }
}
