//! Runs cargo and other programs, at the top of the repository and without stdin.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::tally::Tally;

/// A command that runs at the top of the repository, without stdin, and finds programs of the system as well.
pub(crate) fn command(root: &Path, program: impl Into<OsString>) -> Command {
    let mut command = Command::new(program.into());
    command.current_dir(root).stdin(Stdio::null()).env("PATH", path());
    command
}

/// The same for the cargo that runs this program.
pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let mut command = command(root, program());
    command.args(arguments);
    command
}

/// The cargo that runs this program.
pub(crate) fn program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The folder of the programs that cargo builds: the one of this program.
///
/// # Errors
/// The system does not say where this program is.
pub(crate) fn programs() -> Result<PathBuf> {
    let own = env::current_exe().context("own path")?;
    Ok(own.parent().context("a program has a folder")?.to_owned())
}

/// The folder of those that it builds with `--release`, wherever its target directory is.
///
/// # Errors
/// As of [`programs`].
pub(crate) fn release_programs() -> Result<PathBuf> {
    let programs = programs()?;
    Ok(programs.parent().context("cargo's folder of programs has one")?.join("release"))
}

/// Where a program is, in `PATH` or where the system keeps those of administrators.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&path()).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Runs a command; its output goes where ours goes.
///
/// # Errors
/// It can't be run, or it failed.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let status = command.status().with_context(|| format!("running {}", text_of(&command)))?;
    ensure!(status.success(), "`{}` failed: {status}", text_of(&command));
    Ok(())
}

/// Runs cargo and returns what it printed; its complaints go where ours go.
///
/// # Errors
/// As of [`run`].
pub(crate) fn output(root: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = cargo(root, arguments);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("running {}", text_of(&command)))?;
    ensure!(output.status.success(), "`{}` failed: {}", text_of(&command), output.status);
    String::from_utf8(output.stdout).context("output of cargo")
}

/// Runs tests: prints their output as it comes, and adds their results to `tally`.
///
/// # Errors
/// As of [`run`]; the results before the failure are in `tally`.
pub(crate) fn test(mut command: Command, tally: &mut Tally) -> Result<()> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("running {}", text_of(&command)))?;
    let lines = BufReader::new(child.stdout.take().context("stdout was piped")?);
    pass_on(lines, &mut std::io::stdout().lock(), tally)?;
    let status = child.wait()?;
    ensure!(status.success(), "`{}` failed: {status}", text_of(&command));
    Ok(())
}

/// Line by line, so that one sees what a test says while others still run.
fn pass_on(mut lines: impl BufRead, out: &mut impl Write, tally: &mut Tally) -> Result<()> {
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        out.write_all(&line)?;
        out.flush()?;
        tally.read(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(())
}

/// The command as one types it; scripts are not written out.
fn text_of(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    let words = words.map(|word| word.to_string_lossy());
    words
        .map(|word| if word.len() > LONGEST_WORD { "…".into() } else { word })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Ordinary users often have no `/usr/sbin` in their `PATH`, where some systems keep `ip`.
fn path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    for folder in ["/usr/sbin", "/sbin"].map(PathBuf::from) {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    env::join_paths(folders).unwrap_or(path)
}

const LONGEST_WORD: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = command(Path::new("/"), "/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_failure_names_the_command_as_it_is_typed() {
        let error = run(shell("exit 3")).unwrap_err().to_string();
        assert_eq!(error, "`sh -c exit 3` failed: exit status: 3");
        let error = run(shell(&format!("exit 3{}", " ".repeat(60)))).unwrap_err().to_string();
        assert_eq!(error, "`sh -c …` failed: exit status: 3");
        run(shell("exit 0")).unwrap();
    }

    #[test]
    fn output_is_passed_on_as_it_is_while_results_are_summed() {
        let output: &[u8] =
            b"a \xff\r\ntest result: ok. 2 passed; 1 failed; 4 ignored; 0 measured\nno line break";
        let (mut passed_on, mut tally) = (Vec::new(), Tally::default());
        pass_on(output, &mut passed_on, &mut tally).unwrap();
        assert_eq!(passed_on, output);
        assert_eq!(tally, Tally { passed: 2, failed: 1, skipped: 4 });
    }

    #[test]
    fn tests_that_fail_fail_the_command() {
        let error = test(shell("exit 101"), &mut Tally::default()).unwrap_err().to_string();
        assert_eq!(error, "`sh -c exit 101` failed: exit status: 101");
    }

    #[test]
    fn children_have_no_stdin_and_the_administrators_programs() {
        run(shell(
            "test -z \"$(cat)\" && case :$PATH: in *:/usr/sbin:*) exit 0;; *) exit 1;; esac",
        ))
        .unwrap();
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program-anywhere"), None);
    }
}
