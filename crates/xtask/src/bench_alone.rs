//! The cases in which nobody takes turns: memory, threads, the start, a row without a kernel, and `ss`.

use std::net::TcpListener;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::bench_cases::{Bench, JSONL, PROTO};
use crate::bench_child::{Peak, run, until_first_byte, watch};
use crate::bench_load::{Churn, Crowd, Village};
use crate::bench_polls::{Contender, rhythm};
use crate::bench_sample::Sample;
use crate::bench_table::{RowCost, Target};

impl Bench<'_> {
    /// Case 3, and what a row costs in each format.
    pub(crate) fn rows(&mut self) -> Result<()> {
        self.say("rows of a capture");
        // Where its buffers lie in memory is decided at the start, and may matter.
        let mut runs = Vec::new();
        for _ in 0..self.effort.rounds * 2 - 1 {
            let output = Command::new(&self.programs.rows).output().context("sockeye-rows")?;
            let complaint = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "sockeye-rows: {}: {complaint}", output.status);
            let text = String::from_utf8(output.stdout).context("sockeye-rows")?;
            let cost = |line: &str| row_cost(line).with_context(|| line.to_owned());
            runs.push(text.lines().map(cost).collect::<Result<Vec<_>>>()?);
        }
        for cost in runs.first().into_iter().flatten() {
            let same = || runs.iter().flatten().filter(|other| other.case == cost.case);
            let medians = Sample(same().map(|one| one.median_ns).collect());
            let lowest = Sample(same().map(|one| one.lowest_ns).collect());
            let allocations = Sample(same().map(|one| one.allocations).collect()).highest();
            let case = cost.case.clone();
            let (median_ns, lowest_ns) = (medians.median(), lowest.median());
            let cost = RowCost { case, median_ns, lowest_ns, allocations };
            if cost.case == "row-protobufList" {
                // The same instructions each time: what takes longer is what else runs on the processor's core.
                let detail = format!("median {median_ns:.1} ns");
                let what = "decode and encode of a row, protobufList, lowest";
                self.add("3", what, &lowest, " ns", Some(Target::AtMost(100.0)), detail);
                let sample = Sample(vec![allocations]);
                let what = "allocations of a row";
                self.add("3", what, &sample, "", Some(Target::AtMost(0.0)), String::new());
            }
            self.report.rows.push(cost);
        }
        Ok(())
    }

    /// Case 11.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.say("starting");
        // A socket to see.
        let _listener = TcpListener::bind("127.0.0.1:0")?;
        let mut took = Sample::default();
        for _ in 0..self.effort.rounds * 3 {
            let mut command = Command::new(&self.programs.sockeye);
            command.args(["snapshot", "--marshal", JSONL]);
            took.0.push(until_first_byte(command)?.as_secs_f64() * 1000.0);
        }
        let what = "start to first row of a snapshot, idle host";
        self.add("11", what, &took, " ms", Some(Target::AtMost(30.0)), String::new());
        Ok(())
    }

    /// Case 8.
    pub(crate) fn thousand_namespaces(&mut self) -> Result<()> {
        self.say("1,000 namespaces");
        let village = Village::open(self.programs, 1_000, 0, Churn::None)?;
        let poll = Contender::poll(&self.programs.sockeye, None, village.sockets, PROTO);
        let every = rhythm(std::slice::from_ref(&poll))?;
        let peak = watch(poll.command(4, every))?;
        #[expect(clippy::cast_precision_loss, reason = "a number of threads")]
        let threads = Sample(vec![peak.threads as f64]);
        let what = "1,000 namespaces, threads";
        self.add("8", what, &threads, "", Some(Target::AtMost(64.0)), String::new());
        let what = "1,000 namespaces, resident memory at its peak";
        let memory = Sample(vec![mib(peak)]);
        self.add("8", what, &memory, " MiB", Some(Target::AtMost(32.0)), String::new());
        Ok(())
    }

    /// Case 9.
    pub(crate) fn memory(&mut self, crowd: &Crowd) -> Result<()> {
        let poll =
            Contender::poll(&self.programs.sockeye, Some(&crowd.path()), crowd.sockets, PROTO);
        let every = rhythm(std::slice::from_ref(&poll))?;
        let (mut peaks, mut threads) = (Sample::default(), 0);
        for _ in 0..self.effort.rounds {
            let peak = watch(poll.command(12, every))?;
            peaks.0.push(mib(peak));
            threads = threads.max(peak.threads);
        }
        let what = "case 1, resident memory at its peak";
        let detail = format!("{threads} threads");
        self.add("9", what, &peaks, " MiB", Some(Target::AtMost(12.0)), detail);
        Ok(())
    }

    /// Case 12.
    pub(crate) fn against_ss(&mut self, crowd: &Crowd) -> Result<()> {
        self.say("ss and a snapshot");
        let wall = |words: &[&str]| -> Result<f64> {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net={}", crowd.path().display())).arg("--").args(words);
            Ok(run(command)?.wall.as_secs_f64() * 1000.0)
        };
        let sockeye = self.programs.sockeye.display().to_string();
        let snapshot = [&sockeye, "snapshot", "--own-netns-only", "--marshal", JSONL];
        let (mut ss, mut ours) = (Sample::default(), Sample::default());
        for _ in 0..self.effort.rounds {
            ss.0.push(wall(&["ss", "-tinOH"])?);
            ours.0.push(wall(&snapshot)?);
        }
        let detail = format!("{:.0} ms / {:.0} ms", ss.median(), ours.median());
        let what = "ss -tinOH / snapshot in jsonl, wall";
        self.add("12", what, &ss.over(&ours), "", Some(Target::AtLeast(2.5)), detail);
        Ok(())
    }
}

fn mib(peak: Peak) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "below 2^52 bytes")]
    let bytes = peak.resident_bytes as f64;
    bytes / 1_048_576.0
}

/// A line of `sockeye-rows`.
fn row_cost(line: &str) -> Result<RowCost> {
    let line: serde_json::Value = serde_json::from_str(line)?;
    let number =
        |name: &str| line.get(name).and_then(serde_json::Value::as_f64).context("a number");
    Ok(RowCost {
        case: line.get("case").and_then(|case| case.as_str()).context("a case")?.to_owned(),
        median_ns: number("median_ps")? / 1000.0,
        lowest_ns: number("lowest_ps")? / 1000.0,
        allocations: number("allocations")? / number("rows")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_row_costs_is_read_as_nanoseconds_and_allocations_a_row() {
        let line = r#"{"case":"decode","rows":200,"allocations":50,"lowest_ps":11000,"median_ps":12500,"highest_ps":1}"#;
        let cost = row_cost(line).unwrap();
        assert_eq!(cost.case, "decode");
        let text = format!("{} {} {}", cost.median_ns, cost.lowest_ns, cost.allocations);
        assert_eq!(text, "12.5 11 0.25");
        assert!(row_cost("{}").is_err());
    }
}
