//! Steps: each with a headline and a duration, the first that fails ends them all, and a summary at the end.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::tally::Tally;

/// The steps of one command, and the tests that they ran.
#[derive(Debug)]
pub(crate) struct Steps {
    began: Instant,
    done: Vec<Step>,
    pub(crate) tally: Tally,
}

#[derive(Debug)]
struct Step {
    name: &'static str,
    took: Duration,
    passed: bool,
}

impl Steps {
    /// Runs the steps that `work` makes, and prints the summary whatever became of them.
    ///
    /// # Errors
    /// That of the first step that failed, with its name.
    pub(crate) fn run(work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let mut steps = Self::new();
        let result = work(&mut steps);
        print!("\n{}", steps.summary(steps.began.elapsed()));
        result
    }

    /// One step. Give its error to the caller with `?`, so that no other step follows.
    ///
    /// # Errors
    /// That of `work`, with the step's name.
    pub(crate) fn step(
        &mut self,
        name: &'static str,
        work: impl FnOnce(&mut Tally) -> Result<()>,
    ) -> Result<()> {
        println!("\n== {name}");
        let began = Instant::now();
        let result = work(&mut self.tally).with_context(|| format!("step `{name}` failed"));
        let step = Step { name, took: began.elapsed(), passed: result.is_ok() };
        println!("== {name}: {} in {}", step.outcome(), seconds(step.took));
        self.done.push(step);
        result
    }

    fn new() -> Self {
        Self { began: Instant::now(), done: Vec::new(), tally: Tally::default() }
    }

    /// A table of the steps, and the one line of the tests.
    fn summary(&self, total: Duration) -> String {
        let width =
            self.done.iter().map(|step| step.name.len()).max().unwrap_or_default().max(TOTAL.len());
        let mut text = String::new();
        // A String takes every write.
        for step in &self.done {
            let _ = writeln!(
                text,
                "{:width$}  {:>9}  {}",
                step.name,
                seconds(step.took),
                step.outcome()
            );
        }
        let _ = writeln!(text, "{TOTAL:width$}  {:>9}", seconds(total));
        let _ = writeln!(text, "{}", self.tally.line());
        text
    }
}

impl Step {
    fn outcome(&self) -> &'static str {
        if self.passed { "ok" } else { "FAILED" }
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

const TOTAL: &str = "total";

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn the_first_step_that_fails_is_named_and_no_other_follows() {
        let mut last = false;
        let error = Steps::run(|steps| {
            steps.step("first", |_| Ok(()))?;
            steps.step("second", |_| bail!("what went wrong"))?;
            last = true;
            Ok(())
        })
        .unwrap_err();
        assert_eq!(format!("{error:#}"), "step `second` failed: what went wrong");
        assert!(!last);
    }

    #[test]
    fn the_summary_has_a_line_a_step_and_one_of_the_tests() {
        let mut steps = Steps::new();
        let step = |name, ms, passed| Step { name, took: Duration::from_millis(ms), passed };
        steps.done = vec![step("format", 1_240, true), step("root tests", 123_456, false)];
        steps.tally = Tally { passed: 3, failed: 1, skipped: 2 };
        assert_eq!(
            steps.summary(Duration::from_secs(125)),
            "format          1.2 s  ok\n\
             root tests    123.5 s  FAILED\n\
             total         125.0 s\n\
             3 passed, 1 failed, 2 skipped\n"
        );
    }

    #[test]
    fn a_step_adds_to_the_tally_of_all() {
        let mut steps = Steps::new();
        for _ in 0..2 {
            steps
                .step("tests", |tally| {
                    tally.passed += 2;
                    Ok(())
                })
                .unwrap();
        }
        assert_eq!(steps.tally.passed, 4);
        assert_eq!(steps.done.len(), 2);
    }
}
