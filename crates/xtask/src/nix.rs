//! What can be said of flake.nix and nix/ where nothing can be built by Nix: every file is parsed, the tests in
//! nix/tests are evaluated, and the daemon reads the file that the module makes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::cargo;

/// Parses, evaluates, and lets `program` read.
///
/// # Errors
/// A file is no Nix, a test fails, or the daemon refuses the file.
pub(crate) fn check(root: &Path, program: &Path) -> Result<()> {
    let mut files = vec![root.join("flake.nix")];
    for folder in ["nix", "nix/tests"] {
        files.extend(nix_files(&root.join(folder))?);
    }
    for file in &files {
        let mut parse = instantiate(root);
        parse.arg("--parse").arg(file).stdout(Stdio::null());
        cargo::run(parse)?;
    }
    let mut count = 0;
    for test in ["module", "flake"] {
        let file = format!("nix/tests/{test}.nix");
        let failures = evaluated(root, &file, "failures")?;
        ensure!(failures == "[]", "{file}: these failed: {failures}");
        count += evaluated(root, &file, "count")?.parse::<u64>().context("a count")?;
    }
    let example: String =
        serde_json::from_str(&evaluated(root, "nix/tests/module.nix", "example")?)?;
    let path = cargo::programs()?.join("nix-example.toml");
    fs::write(&path, &example)?;
    let mut read = cargo::command(root, program);
    read.args(["run", "--print-config", "--config"]).arg(&path);
    let read = read.output().with_context(|| program.display().to_string())?;
    ensure!(read.status.success(), "{example}\n{}", String::from_utf8_lossy(&read.stderr));
    println!("{} files parsed, {count} tests of the module and the flake passed", files.len());
    Ok(())
}

/// `--eval --strict --json` of an attribute.
fn evaluated(root: &Path, file: &str, attribute: &str) -> Result<String> {
    let mut eval = instantiate(root);
    eval.args(["--eval", "--strict", "--json", file, "-A", attribute]);
    let output = eval.output().context("running nix-instantiate")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{file}: {}", said.trim());
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Without a store: nothing is built, and there need not be one.
fn instantiate(root: &Path) -> Command {
    let mut command = cargo::command(root, "nix-instantiate");
    command.args(["--store", "dummy://"]);
    command
}

fn nix_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "nix") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
