//! `bench`: what polls cost, against the same bytes thrown away; prints a table and writes benches/RESULTS.md.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use sockeye_testkit::netns::is_root;

use crate::bench_cases::Bench;
use crate::bench_machine::{Machine, Quiet};
use crate::bench_programs::{Effort, Programs};
use crate::bench_table::Report;
use crate::{bench_sandbox, dist, prerequisites};

/// What `bench` takes.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct BenchArguments {
    /// Fewer rounds, and nothing is written.
    #[arg(long)]
    quick: bool,
    /// A million sockets as well, which takes 6 GB of memory and some minutes.
    #[arg(long)]
    large: bool,
    /// Only these: 1 to 12, avx512, closed, growth, io-uring, kafka, pgo; repeatable. Nothing is written.
    #[arg(long = "case", value_name = "CASE", value_parser = wanted)]
    cases: Vec<String>,
    /// Writes benches/RESULTS.md whatever was left out; the page says what it has.
    #[arg(long)]
    write: bool,
    /// Measures this program in place of the release build.
    #[arg(long, value_name = "PROGRAM")]
    sockeye: Option<PathBuf>,
    /// Set by the command itself, once it is where it can measure.
    #[arg(long, hide = true)]
    inside: bool,
}

/// Builds what is measured, and measures it in namespaces that go with this command.
///
/// # Errors
/// This is not root; something could not be built or started; a poll did not bring the rows that are there.
pub(crate) fn bench(root: &Path, arguments: &BenchArguments) -> Result<()> {
    if arguments.inside {
        return measure(root, arguments);
    }
    ensure!(is_root(), "this makes network namespaces: run it as root");
    prerequisites::provide(root)?;
    Programs::build(root)?;
    if root.join(dist::PROFILE).is_file() && arguments.wants("pgo") {
        dist::program(root)?;
    }
    bench_sandbox::run(root, "bench", &arguments.again())
}

fn measure(root: &Path, arguments: &BenchArguments) -> Result<()> {
    let mut programs = Programs::built(root)?;
    if let Some(sockeye) = &arguments.sockeye {
        programs.sockeye = sockeye.canonicalize().context("--sockeye")?;
    }
    let machine = Machine::here(root, &programs.sockeye)?;
    let effort = if arguments.quick { Effort::QUICK } else { Effort::FULL };
    let quiet = Quiet::now();
    let mut report = Report::default();
    let mut bench = Bench { programs: &programs, effort, report: &mut report };
    let result = bench.run(&|case| arguments.wants(case), arguments.large);
    report.sort();
    print!("\n{}", report.text());
    let waited = quiet.waited();
    println!("{waited}");
    // What was measured until then is shown all the same.
    result?;
    let is_part = arguments.quick || !arguments.cases.is_empty() || arguments.sockeye.is_some();
    if is_part && !arguments.write {
        return Ok(());
    }
    let path = root.join(RESULTS);
    fs::write(&path, report.page(&machine, &waited)).with_context(|| RESULTS.to_owned())?;
    println!("wrote {RESULTS}");
    Ok(())
}

impl BenchArguments {
    fn wants(&self, case: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|wanted| wanted == case)
    }

    /// The command line that says the same, for the inside.
    fn again(&self) -> Vec<String> {
        let mut words = vec!["--inside".to_owned()];
        words.extend(self.quick.then(|| "--quick".to_owned()));
        words.extend(self.write.then(|| "--write".to_owned()));
        words.extend(self.large.then(|| "--large".to_owned()));
        words.extend(self.cases.iter().map(|case| format!("--case={case}")));
        words.extend(self.sockeye.iter().map(|path| format!("--sockeye={}", path.display())));
        words
    }
}

fn wanted(text: &str) -> Result<String> {
    let is_number = text.parse::<u8>().is_ok_and(|number| (1..=12).contains(&number));
    if is_number || NAMED.contains(&text) {
        return Ok(text.to_owned());
    }
    bail!("allowed: 1 to 12, {}", NAMED.join(", "))
}

const NAMED: [&str; 6] = ["avx512", "closed", "growth", "io-uring", "kafka", "pgo"];
const RESULTS: &str = "benches/RESULTS.md";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_numbers_or_have_names() {
        assert_eq!(wanted("7").unwrap(), "7");
        assert_eq!(wanted("io-uring").unwrap(), "io-uring");
        assert_eq!(
            wanted("13").unwrap_err().to_string(),
            "allowed: 1 to 12, avx512, closed, growth, io-uring, kafka, pgo"
        );
    }

    #[test]
    fn the_inside_is_told_what_the_outside_was() {
        let arguments = BenchArguments {
            quick: true,
            large: false,
            write: true,
            cases: vec!["1".to_owned(), "growth".to_owned()],
            sockeye: Some("/x/sockeye".into()),
            inside: false,
        };
        assert_eq!(
            arguments.again(),
            ["--inside", "--quick", "--write", "--case=1", "--case=growth", "--sockeye=/x/sockeye"]
        );
        assert!(arguments.wants("growth") && !arguments.wants("2"));
        assert!(BenchArguments { cases: Vec::new(), ..arguments }.wants("2"));
    }
}
