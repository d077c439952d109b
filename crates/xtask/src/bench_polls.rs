//! Polls and drains side by side: all run at once and poll by turns, so that what disturbs one disturbs the others.
//!
//! Every contender says itself what each poll cost it; starting and the first polls do not count. A neighbour on the same
//! hardware can make all of them slower for a second or two: the ratio of two polls that follow each other hardly notices.
//! Where the host takes a processor away in the midst of a poll, the ratio does notice: the rounds in which it took least count.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::bench_child::{ByTurns, Used, run, run_by_turns};
use crate::bench_programs::Effort;
use crate::bench_sample::Sample;

/// Something that reads all sockets at each tick.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    program: PathBuf,
    /// The one namespace that it reads; `None`: all.
    netns: Option<PathBuf>,
    /// Where rows go.
    dest: String,
    arguments: Vec<String>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `sockeye run`: its summary has to tell of so many rows a poll, give or take some, and its ledger that all of them
    /// were delivered.
    Poll {
        rows: u64,
        slack: u64,
    },
    Drain,
}

/// What one contender cost, poll by poll.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    /// Processor time of a poll, in microseconds.
    pub(crate) cpu_us: Sample,
    /// Wall clock of a poll, in milliseconds.
    pub(crate) took_ms: Sample,
    /// Processor time that the host took in the turn of a poll, in ticks of /proc/stat.
    pub(crate) stolen_ticks: Sample,
}

impl Cost {
    /// With what was measured later.
    pub(crate) fn append(&mut self, later: Self) {
        self.cpu_us.0.extend(later.cpu_us.0);
        self.took_ms.0.extend(later.took_ms.0);
        self.stolen_ticks.0.extend(later.stolen_ticks.0);
    }

    fn only(&self, polls: &[usize]) -> Self {
        let of = |sample: &Sample| {
            Sample(polls.iter().filter_map(|poll| sample.0.get(*poll).copied()).collect())
        };
        Self {
            cpu_us: of(&self.cpu_us),
            took_ms: of(&self.took_ms),
            stolen_ticks: of(&self.stolen_ticks),
        }
    }
}

/// What all of them cost in those rounds in which the host took least from them together: a quarter at the least, and all in
/// which it took no more than that.
pub(crate) fn undisturbed<const N: usize>(costs: [&Cost; N]) -> [Cost; N] {
    let rounds = costs.iter().map(|cost| cost.stolen_ticks.0.len()).min().unwrap_or(0);
    let stolen =
        |round: usize| costs.iter().filter_map(|cost| cost.stolen_ticks.0.get(round)).sum::<f64>();
    let stolen = Sample((0..rounds).map(stolen).collect());
    let most = stolen.lower_quartile();
    let quiet: Vec<_> = stolen
        .0
        .iter()
        .enumerate()
        .filter(|(_, stolen)| **stolen <= most)
        .map(|(at, _)| at)
        .collect();
    costs.map(|cost| cost.only(&quiet))
}

impl Contender {
    /// `sockeye run` to null, in one namespace (or, with `None`, all of them), where a poll has so many rows.
    pub(crate) fn poll(sockeye: &Path, netns: Option<&Path>, rows: u64, format: &str) -> Self {
        let mut contender = Self {
            program: sockeye.to_owned(),
            netns: netns.map(Path::to_owned),
            dest: "null".to_owned(),
            arguments: Vec::new(),
            kind: Kind::Poll { rows, slack: 0 },
        };
        if netns.is_some() {
            contender.arguments.push("--own-netns-only".to_owned());
        }
        contender.with(&["--marshal", format])
    }

    /// A loop that throws away what a poll of the namespace reads.
    pub(crate) fn drain(drain: &Path, netns: &Path) -> Self {
        Self {
            program: drain.to_owned(),
            netns: Some(netns.to_owned()),
            dest: String::new(),
            arguments: Vec::new(),
            kind: Kind::Drain,
        }
    }

    /// The same with more arguments.
    pub(crate) fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// The same to another destination than null.
    pub(crate) fn to(mut self, dest: &str) -> Self {
        dest.clone_into(&mut self.dest);
        self
    }

    /// The same where connections come and go: a twentieth of the rows more or less.
    pub(crate) fn moving(self) -> Self {
        match self.kind {
            Kind::Poll { rows, .. } => self.give_or_take(rows / 20),
            Kind::Drain => self,
        }
    }

    /// The same where so many rows of a poll may be there or not.
    pub(crate) fn give_or_take(mut self, some: u64) -> Self {
        if let Kind::Poll { slack, .. } = &mut self.kind {
            *slack = some;
        }
        self
    }

    /// The command for so many polls, one `every` so often.
    pub(crate) fn command(&self, polls: u32, every: Duration) -> Command {
        let mut command = match &self.netns {
            Some(netns) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", netns.display())).arg("--").arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SOCKEYE_") {
                command.env_remove(name);
            }
        }
        // Polls alone, unless an argument says otherwise. A program that knows of no closed sockets looks past it.
        command.env("SOCKEYE_CLOSED", "off");
        // A listener would be one more socket.
        command.env("SOCKEYE_LISTEN", "off");
        let every_ms = every.as_millis();
        match self.kind {
            Kind::Drain => {
                command.args(["--loops", &polls.to_string(), "--every-ms", &every_ms.to_string()]);
            }
            Kind::Poll { .. } => {
                command.args([
                    "run",
                    "--dest",
                    &self.dest,
                    "--jitter",
                    "0",
                    "--log-level",
                    "debug",
                ]);
                command.args(["--max-loops", &polls.to_string()]);
                command.args(["--frequency", &format!("{every_ms}ms")]);
                command.args(["--timeout", &format!("{}ms", every_ms - 1)]);
            }
        }
        command.args(&self.arguments);
        command
    }

    /// Runs it until it did what is measured: on a busy host a poll can take longer than from tick to tick. Then it gets
    /// more time, which it waits for and does not use.
    fn turn(&self, polls: u32, every: Duration) -> Result<Used> {
        patiently(every, |every| self.attempt(polls, every))
    }

    /// Runs it once.
    ///
    /// # Errors
    /// It failed, or did not do what is measured.
    pub(crate) fn attempt(&self, polls: u32, every: Duration) -> Result<Used> {
        let used = run(self.command(polls, every))?;
        self.check(polls, &used.stderr)?;
        Ok(used)
    }

    /// Whether so many polls did what is measured, by what was said.
    fn check(&self, polls: u32, stderr: &str) -> Result<()> {
        if let Kind::Poll { rows, slack } = self.kind {
            let summary = Summary::read(stderr)?;
            let (polls, expected) = (u64::from(polls), rows * u64::from(polls));
            ensure!(
                summary.is_whole(polls, expected, slack * polls),
                "{:?}: {summary:?} in place of {expected} rows",
                self.arguments
            );
        }
        Ok(())
    }

    /// Whether each of its polls was in its own turn: behind a tick that was skipped, all are in later ones.
    fn check_turns(&self, stderr: &str) -> Result<()> {
        if self.kind == Kind::Drain {
            return Ok(());
        }
        let summary = Summary::read(stderr)?;
        ensure!(
            (summary.late, summary.high_water) == (0, 0),
            "{:?}: ticks were skipped: {summary:?}",
            self.arguments
        );
        Ok(())
    }
}

/// How often to poll, so that the slowest contender has ended well before its next tick once it knows what there is.
///
/// # Errors
/// A contender failed, or a poll of it did not bring what it should.
pub(crate) fn rhythm(contenders: &[Contender]) -> Result<Duration> {
    let mut slowest = 0.0_f64;
    for contender in contenders {
        let sockets = if let Kind::Poll { rows, .. } = contender.kind { rows } else { 0 };
        // Three seconds for a million, which take longer than that on a busy host: then it is tried with more.
        let time = Duration::from_millis(500 + sockets / 400);
        let used = contender.turn(WARM_UP + 2, time)?;
        slowest = slowest.max(each(&used.stderr, "cpu_us")?.highest());
    }
    // Whole hundredths of a second, with time for what is not the processor's.
    let slowest = Duration::try_from_secs_f64(slowest / 1e6)?;
    let ms = u64::try_from(slowest.as_millis())?.saturating_mul(5) / 4;
    Ok(Duration::from_millis((ms / 10 + 5) * 10))
}

/// Measures all of them, where a poll sees `sockets` sockets, each in its `turn`.
///
/// On a busy host a poll can take longer than its turn. Then all get more time, which they wait for and do not use.
///
/// # Errors
/// As of [`rhythm`].
pub(crate) fn measure(
    contenders: &[Contender],
    sockets: u64,
    turn: Duration,
    effort: Effort,
) -> Result<Vec<Cost>> {
    let polls = WARM_UP + effort.polls(sockets);
    patiently(turn, |turn| side_by_side(contenders, polls, turn))
}

/// Tries with this much time, and where that fails with twice and with five times as much.
///
/// # Errors
/// The last attempt's.
pub(crate) fn patiently<T>(time: Duration, attempt: impl Fn(Duration) -> Result<T>) -> Result<T> {
    let again = |error, time| {
        println!("   once more: {error}");
        attempt(time)
    };
    attempt(time).or_else(|error| again(error, time * 2)).or_else(|error| again(error, time * 5))
}

fn side_by_side(contenders: &[Contender], polls: u32, turn: Duration) -> Result<Vec<Cost>> {
    let every = turn * u32::try_from(contenders.len())?;
    let commands = contenders.iter().map(|contender| contender.command(polls, every));
    let ByTurns { stderr, stolen_ticks } = run_by_turns(commands, turn)?;
    let cost = |(place, (contender, stderr)): (usize, (&Contender, &String))| {
        contender.check(polls, stderr)?;
        contender.check_turns(stderr)?;
        let cpu_us = each(stderr, "cpu_us")?;
        let took_ms = each(stderr, "took_ms")?;
        let own = stolen_ticks.iter().skip(place).step_by(contenders.len());
        #[expect(clippy::cast_precision_loss, reason = "ticks of one turn")]
        let own = own.map(|ticks| *ticks as f64).skip(WARM_UP as usize);
        Ok(Cost { stolen_ticks: Sample(own.collect()), cpu_us, took_ms })
    };
    let costs = contenders.iter().zip(&stderr).enumerate().map(cost).collect::<Result<Vec<_>>>()?;
    // Who watched for stolen time was late itself, and has not seen the last turns; rounds are of turns of all.
    let rounds = |cost: &Cost| cost.cpu_us.0.len().min(cost.stolen_ticks.0.len());
    let rounds: Vec<_> = (0..costs.iter().map(rounds).min().unwrap_or(0)).collect();
    Ok(costs.iter().map(|cost| cost.only(&rounds)).collect())
}

/// What `sockeye run` says at its end: its summary, and the ledger of its one destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) polls: u64,
    pub(crate) rows: u64,
    pub(crate) incomplete: u64,
    /// Ticks skipped because the poll before still ran.
    pub(crate) late: u64,
    /// Ticks skipped because the queue was full.
    pub(crate) high_water: u64,
    pub(crate) delivered: u64,
    pub(crate) dropped: u64,
}

impl Summary {
    /// Whether it tells of so many polls and rows, and of the delivery of every row.
    fn is_whole(&self, polls: u64, rows: u64, slack: u64) -> bool {
        self.polls == polls
            && self.rows.abs_diff(rows) <= slack
            && self.incomplete == 0
            && self.delivered == self.rows
            && self.dropped == 0
    }

    /// `sockeye: 3 polls, 12 rows, 0 incomplete namespaces; skipped 0 late, 0 at high water` and
    /// `sockeye: null: read 12 = delivered 12 + dropped 0 + in flight 0`
    ///
    /// # Errors
    /// One of both is not there.
    pub(crate) fn read(stderr: &str) -> Result<Self> {
        let line = |part: &str| {
            let line = stderr.lines().find(|line| line.contains(part));
            line.with_context(|| format!("no line with {part:?} in {stderr:?}"))
        };
        let (summary, ledger) = (line(" polls, ")?, line(" = delivered ")?);
        let before = |name: &str| -> Result<u64> {
            let (before, _) = summary.split_once(name).with_context(|| summary.to_owned())?;
            let word = before.rsplit(' ').next().unwrap_or_default();
            word.parse().with_context(|| summary.to_owned())
        };
        let behind = |name: &str| -> Result<u64> {
            let (_, behind) = ledger.split_once(name).with_context(|| ledger.to_owned())?;
            let word = behind.split(' ').next().unwrap_or_default();
            word.parse().with_context(|| ledger.to_owned())
        };
        Ok(Self {
            polls: before(" polls,")?,
            rows: before(" rows,")?,
            incomplete: before(" incomplete")?,
            late: before(" late,")?,
            high_water: before(" at high water")?,
            delivered: behind(" = delivered ")?,
            dropped: behind(" + dropped ")?,
        })
    }
}

/// A number of each poll behind the first ones, as `sockeye run` and the drain tell it:
/// `… polled poll=4 rows=2 namespaces=1 took_ms=118 cpu_us=117200`
fn each(stderr: &str, name: &str) -> Result<Sample> {
    let number = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        words.find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    };
    let numbers = Sample(stderr.lines().filter_map(number).skip(WARM_UP as usize).collect());
    ensure!(!numbers.0.is_empty(), "no poll tells its {name}: {stderr:?}");
    Ok(numbers)
}

/// Polls until buffers have their size and caches are warm.
pub(crate) const WARM_UP: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_a_run_is_read() {
        let stderr = "sockeye: 3 polls, 12 rows, 1 incomplete namespaces; skipped 4 late, 5 at high water\n\
                      sockeye: null: read 12 = delivered 10 + dropped 2 (queue_full 2) + in flight 0\n";
        let summary = Summary {
            polls: 3,
            rows: 12,
            incomplete: 1,
            late: 4,
            high_water: 5,
            delivered: 10,
            dropped: 2,
        };
        assert_eq!(Summary::read(stderr).unwrap(), summary);
        assert!(Summary::read("sockeye: no luck\n").is_err());
    }

    #[test]
    fn what_each_poll_tells_counts_behind_the_first_ones() {
        let line = |poll: u32| {
            format!("2026 DEBUG polled poll={poll} rows=4 took_ms={poll}0 cpu_us={poll}1\nother\n")
        };
        let log: String = (1..=5).map(line).collect();
        assert_eq!(each(&log, "took_ms").unwrap(), Sample(vec![40.0, 50.0]));
        assert_eq!(each(&log, "cpu_us").unwrap(), Sample(vec![41.0, 51.0]));
        assert!(each(&log, "us").is_err() && each(&line(1), "cpu_us").is_err());
    }

    #[test]
    fn behind_a_skipped_tick_polls_are_in_turns_of_others() {
        let contender = Contender::poll(Path::new("sockeye"), None, 7, "jsonl");
        let stderr = |late, high_water| {
            format!(
                "sockeye: 3 polls, 12 rows, 0 incomplete namespaces; skipped {late} late, {high_water} at high water\n\
                 sockeye: null: read 12 = delivered 12 + dropped 0 + in flight 0\n"
            )
        };
        assert!(contender.check_turns(&stderr(0, 0)).is_ok());
        assert!(contender.check_turns(&stderr(1, 0)).is_err());
        assert!(contender.check_turns(&stderr(0, 1)).is_err());
    }

    #[test]
    fn rounds_count_in_which_the_host_took_least_from_all_together() {
        let cost = |cpu_us: &[f64], stolen: &[f64]| {
            let cpu_us = Sample(cpu_us.to_vec());
            Cost { cpu_us, took_ms: Sample::default(), stolen_ticks: Sample(stolen.to_vec()) }
        };
        let upper = cost(&[1.0, 2.0, 3.0, 4.0, 5.0], &[0.0, 7.0, 1.0, 0.0, 9.0]);
        let lower = cost(&[6.0, 7.0, 8.0, 9.0, 10.0], &[1.0, 0.0, 0.0, 4.0, 9.0]);
        let [upper_quiet, lower_quiet] = undisturbed([&upper, &lower]);
        assert_eq!(upper_quiet, cost(&[1.0, 3.0], &[0.0, 1.0]));
        assert_eq!(lower_quiet, cost(&[6.0, 8.0], &[1.0, 0.0]));
        let calm = cost(&[1.0, 2.0, 3.0], &[0.0; 3]);
        assert_eq!(undisturbed([&calm]), [calm]);
    }

    #[test]
    fn a_run_counts_when_every_row_of_every_poll_was_delivered() {
        let whole = Summary { polls: 3, rows: 12, delivered: 12, ..Summary::default() };
        assert!(whole.is_whole(3, 12, 0) && whole.is_whole(3, 10, 2));
        assert!(!whole.is_whole(4, 12, 0) && !whole.is_whole(3, 10, 1));
        assert!(!Summary { delivered: 11, ..whole }.is_whole(3, 12, 2));
        assert!(!Summary { dropped: 1, ..whole }.is_whole(3, 12, 2));
        assert!(!Summary { incomplete: 1, ..whole }.is_whole(3, 12, 2));
    }

    #[test]
    fn a_poll_of_one_namespace_runs_inside_it_and_a_drain_has_the_same_rhythm() {
        let netns = Path::new("/run/netns/x");
        let every = Duration::from_millis(400);
        let words = |contender: &Contender| {
            let command = contender.command(5, every);
            let words = std::iter::once(command.get_program()).chain(command.get_args());
            words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        let poll = Contender::poll(Path::new("sockeye"), Some(netns), 7, "jsonl");
        assert_eq!(
            words(&poll.with(&["--netlinkers", "2"])),
            "nsenter --net=/run/netns/x -- sockeye run --dest null --jitter 0 --log-level debug --max-loops 5 \
             --frequency 400ms --timeout 399ms --own-netns-only --marshal jsonl --netlinkers 2"
        );
        assert_eq!(
            words(&Contender::drain(Path::new("drain"), netns)),
            "nsenter --net=/run/netns/x -- drain --loops 5 --every-ms 400"
        );
        let all = Contender::poll(Path::new("sockeye"), None, 7, "jsonl");
        assert!(words(&all.clone().to("kafka:h:1")).contains("run --dest kafka:h:1 --jitter"));
        assert!(words(&all).starts_with("sockeye run") && !words(&all).contains("own-netns"));
    }
}
