//! How many tests passed, failed and were skipped, summed from what `cargo test` prints.

/// Sums of `test result:` lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
    /// Tests marked `#[ignore]` that no later run has made up for.
    pub(crate) skipped: u64,
}

impl Tally {
    /// Adds the numbers of a line of output, if it is one with numbers.
    pub(crate) fn read(&mut self, line: &str) {
        // test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.01s
        let Some(result) = line.trim_start().strip_prefix("test result: ") else { return };
        self.passed += number_before(result, "passed");
        self.failed += number_before(result, "failed");
        self.skipped += number_before(result, "ignored");
    }

    /// Adds a run of the tests that were ignored before: what ran in it was not skipped.
    pub(crate) fn add_run_of_ignored(&mut self, run: Self) {
        self.passed += run.passed;
        self.failed += run.failed;
        self.skipped = self.skipped.saturating_sub(run.passed + run.failed);
    }

    /// `12 passed, 0 failed, 3 skipped`
    pub(crate) fn line(self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

fn number_before(result: &str, word: &str) -> u64 {
    let mut words = result.split([' ', ';', ',']).filter(|word| !word.is_empty());
    let mut last = "";
    words
        .find_map(|found| {
            if found == word {
                last.parse().ok()
            } else {
                last = found;
                None
            }
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        for line in lines {
            tally.read(line);
        }
        tally
    }

    #[test]
    fn the_results_of_all_programs_are_summed() {
        let tally = of(&[
            "running 3 tests",
            "test a_test ... ok",
            "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 5 filtered out; finished in 0.01s",
            "test result: \u{1b}[32mok\u{1b}(B\u{1b}[m. 4 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0s",
            "I passed; 100 passed; not a result",
        ]);
        assert_eq!(tally, Tally { passed: 17, failed: 2, skipped: 4 });
        assert_eq!(tally.line(), "17 passed, 2 failed, 4 skipped");
    }

    #[test]
    fn ignored_tests_that_were_run_later_are_not_skipped() {
        let mut tally =
            of(&["test result: ok. 10 passed; 0 failed; 5 ignored; 0 measured; 0 filtered out"]);
        tally.add_run_of_ignored(of(&[
            "test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 10 filtered out",
        ]));
        assert_eq!(tally, Tally { passed: 13, failed: 1, skipped: 1 });
    }
}
