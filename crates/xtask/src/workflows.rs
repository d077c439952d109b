//! What can be said of .github/workflows without GitHub: they are YAML of the right shape, ask for no more than they
//! need, and every command in them is one that there is.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use clap::CommandFactory as _;
use serde_json::{Map, Value};

use crate::cargo;
use crate::package::chart::yaml;

/// Checks every workflow.
///
/// # Errors
/// The first thing that is wrong, with the file and the job.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut count = 0;
    for entry in fs::read_dir(root.join(FOLDER)).context(FOLDER)? {
        let path = entry?.path();
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        let text = fs::read_to_string(&path).with_context(|| name.clone())?;
        let workflow = yaml(&text).with_context(|| name.clone())?;
        count += workflow_is_right(root, &workflow).with_context(|| name.clone())?;
    }
    ensure!(count > 0, "no workflow has a command");
    println!("{count} commands of workflows exist");
    Ok(())
}

/// The number of commands.
fn workflow_is_right(root: &Path, workflow: &Value) -> Result<usize> {
    ensure!(workflow["name"].is_string(), "no name");
    ensure!(workflow["on"].is_object(), "nothing says when");
    let reads = serde_json::json!({ "contents": "read" });
    ensure!(workflow["permissions"] == reads, "permissions of all jobs are not: contents: read");
    let jobs = workflow["jobs"].as_object().context("no jobs")?;
    let mut count = 0;
    for (name, job) in jobs {
        count += job_is_right(root, job, jobs).with_context(|| format!("job {name}"))?;
    }
    Ok(count)
}

fn job_is_right(root: &Path, job: &Value, jobs: &Map<String, Value>) -> Result<usize> {
    ensure!(job["runs-on"].is_string(), "no runs-on");
    ensure!(job["timeout-minutes"].is_u64(), "no timeout-minutes");
    let needs = match &job["needs"] {
        Value::Array(needs) => needs.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    };
    for need in needs {
        let name = need.as_str().context("a need is a name")?;
        ensure!(jobs.contains_key(name), "it needs {name}, and there is no such job");
    }
    let mut count = 0;
    for step in job["steps"].as_array().context("no steps")? {
        match (step["uses"].as_str(), step["run"].as_str()) {
            (Some(action), None) => is_pinned(action)?,
            (None, Some(script)) => {
                for line in script.lines().filter(|line| !line.trim().is_empty()) {
                    exists(root, line).with_context(|| line.to_owned())?;
                    count += 1;
                }
            }
            _ => bail!("a step has not one of uses and run"),
        }
    }
    Ok(count)
}

/// `owner/action@vN`
fn is_pinned(action: &str) -> Result<()> {
    let version = action.split_once("@v").map(|(_, version)| version);
    let is_major = version.is_some_and(|version| version.parse::<u32>().is_ok());
    ensure!(is_major, "{action} is not pinned to a major version");
    Ok(())
}

/// Every command of a line, with pipes: the program, what xtask makes of its arguments, and files of ours.
fn exists(root: &Path, line: &str) -> Result<()> {
    for part in without_expressions(line).split('|') {
        let mut words = part.split_whitespace().map(|word| word.trim_matches('"')).peekable();
        if words.peek() == Some(&"sudo") {
            words.next();
            while words.next_if(|word| word.starts_with('-')).is_some() {}
        }
        let words: Vec<&str> = words.collect();
        let (program, arguments) = words.split_first().context("no command")?;
        let is_there = RUNNERS.contains(program) || cargo::find(program).is_some();
        ensure!(is_there, "there is no {program}");
        if let ("cargo", ["xtask", rest @ ..]) = (*program, arguments) {
            let line = std::iter::once(&"xtask").chain(rest);
            crate::Arguments::command()
                .try_get_matches_from(line)
                .map_err(|error| anyhow::anyhow!("{}", error.to_string().trim()))?;
        }
        for word in arguments.iter().filter(|word| word.starts_with("packaging/")) {
            ensure!(root.join(word).exists(), "there is no {word}");
        }
    }
    Ok(())
}

/// `${{ … }}` is one word.
fn without_expressions(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, behind)) = rest.split_once("${{") {
        text.push_str(before);
        text.push('x');
        rest = behind.split_once("}}").map_or("", |(_, behind)| behind);
    }
    text + rest
}

const FOLDER: &str = ".github/workflows";
/// What GitHub's machines have, or a step before has installed.
const RUNNERS: [&str; 6] = ["apt-get", "cargo", "gh", "helm", "nix", "sudo"];

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(line: &str) -> String {
        exists(Path::new("/"), line).unwrap_err().to_string()
    }

    #[test]
    fn a_command_that_does_not_exist_is_found_wherever_it_stands() {
        exists(Path::new("/"), "sudo --preserve-env=PATH cargo xtask ci").unwrap();
        exists(Path::new("/"), "cargo xtask dist --target ${{ matrix.target }} | cat").unwrap();
        assert_eq!(wrong("cat a | no-such-program b"), "there is no no-such-program");
        assert!(wrong("sudo cargo xtask sing").contains("unrecognized subcommand 'sing'"));
        assert!(wrong("cargo xtask dist --fast").contains("unexpected argument '--fast'"));
        assert_eq!(wrong("cat packaging/nowhere"), "there is no packaging/nowhere");
    }

    #[test]
    fn actions_are_pinned_to_a_major_version() {
        is_pinned("actions/checkout@v5").unwrap();
        for action in ["actions/checkout@main", "actions/checkout", "actions/checkout@v5.1"] {
            let error = is_pinned(action).unwrap_err().to_string();
            assert_eq!(error, format!("{action} is not pinned to a major version"));
        }
    }
}
