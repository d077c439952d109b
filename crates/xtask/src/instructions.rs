//! `instructions`: how many instructions a row takes, counted by callgrind, held against benches/instructions.toml.
//!
//! Counts do not depend on what else a machine does, so that a change of a few percent shows, and can stop a change.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context as _, Result, ensure};

use crate::cargo::{self, cargo};
use crate::instructions_file::{Counts, compare};

/// Counts, and compares; with `bless` it writes what it counted.
///
/// # Errors
/// A case takes over 3 % more than before, or is not in the file.
pub(crate) fn instructions(root: &Path, bless: bool) -> Result<()> {
    let package = ["--package", "sockeye-benches", "--bin", "sockeye-instructions"];
    cargo::run(cargo(root, &[&["build", "--release"][..], &package].concat()))?;
    let now = count(root)?;
    let path = root.join(FILE);
    if bless {
        fs::write(&path, now.text()?).context(FILE)?;
        println!("wrote {FILE}");
        return Ok(());
    }
    let then = fs::read_to_string(&path).with_context(|| format!("{FILE}; --bless writes it"))?;
    let then = Counts::read(&then).context(FILE)?;
    let comparison = compare(&then, &now);
    print!("{}", comparison.text);
    if !comparison.fewer.is_empty() {
        let fewer = comparison.fewer.join(", ");
        println!("less than before: {fewer}; keep it so: cargo xtask instructions --bless");
    }
    for wrong in &comparison.wrong {
        eprintln!("{wrong}");
    }
    ensure!(
        comparison.wrong.is_empty(),
        "not the instructions of {FILE}; where that is meant: cargo xtask instructions --bless"
    );
    Ok(())
}

fn count(root: &Path) -> Result<Counts> {
    let list = program(root, &[])?;
    let cases: Vec<&str> = list.lines().collect();
    let todo = Mutex::new(cases.iter().rev().copied().collect::<Vec<_>>());
    let counts = Mutex::new(Counts { rustc: rustc(root)?, ..Counts::default() });
    let work = || -> Result<()> {
        loop {
            let Some(case) = todo.lock().ok().and_then(|mut todo| todo.pop()) else {
                return Ok(());
            };
            let each = instructions_of_a_row(root, case).with_context(|| case.to_owned())?;
            if let Ok(mut counts) = counts.lock() {
                counts.instructions.insert(case.to_owned(), each);
            }
        }
    };
    let workers = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    counts.into_inner().context("a worker panicked")
}

/// Of two runs that differ in the number of rounds alone: starting and preparing do not count.
fn instructions_of_a_row(root: &Path, case: &str) -> Result<u64> {
    let (few, few_rows) = callgrind(root, case, FEW)?;
    let (many, many_rows) = callgrind(root, case, MANY)?;
    let rows = many_rows.checked_sub(few_rows).filter(|rows| *rows > 0).context("no rows")?;
    Ok(many.saturating_sub(few) / rows)
}

fn callgrind(root: &Path, case: &str, rounds: u64) -> Result<(u64, u64)> {
    let mut command = cargo::command(root, "valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(cargo::release_programs()?.join(PROGRAM)).args([case, &rounds.to_string()]);
    // The C library chooses its memcpy by the processor; this leaves one that all have.
    command.env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-ERMS,-FSRM:glibc.cpu.x86_rep_movsb_threshold=1048576");
    let output = command.output().context("running valgrind")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind: {}: {stderr}", output.status);
    let rows = String::from_utf8_lossy(&output.stdout).trim().parse().context("rows")?;
    Ok((collected(&stderr).with_context(|| format!("no count in {stderr}"))?, rows))
}

/// `==123== Collected : 4567`
fn collected(stderr: &str) -> Option<u64> {
    let line = stderr.lines().find(|line| line.contains("Collected"))?;
    line.rsplit_once(':')?.1.trim().parse().ok()
}

fn program(root: &Path, arguments: &[&str]) -> Result<String> {
    let output =
        cargo::command(root, cargo::release_programs()?.join(PROGRAM)).args(arguments).output()?;
    ensure!(output.status.success(), "{PROGRAM}: {}", output.status);
    String::from_utf8(output.stdout).context(PROGRAM)
}

fn rustc(root: &Path) -> Result<String> {
    let output = cargo::command(root, "rustc").arg("--version").output().context("rustc")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

const PROGRAM: &str = "sockeye-instructions";
const FILE: &str = "benches/instructions.toml";
const FEW: u64 = 10;
const MANY: u64 = 210;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callgrind_collected_is_read() {
        let stderr = "==9== Callgrind\n==9== Events    : Ir\n==9== Collected : 1234567\n==9== \n";
        assert_eq!(collected(stderr), Some(1_234_567));
        assert_eq!(collected("==9== Collected\n"), None);
    }
}
