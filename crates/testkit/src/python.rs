//! Python with what tests judge our bytes by: the engine of `ClickHouse` and Google's protobuf. Fetched once, to `target`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::{Flock, FlockArg};

/// The interpreter of an environment with the packages. Callers at the same time wait for one of them.
///
/// # Errors
/// There is no `python3` with `venv`, or the packages could not be fetched; what was said is part of the error.
pub fn interpreter() -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/python");
    fs::create_dir_all(&folder).context("target/python")?;
    let folder = folder.canonicalize()?;
    let lock = File::create(folder.join("lock")).context("the lock of the environment")?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    let environment = folder.join("environment");
    let (interpreter, note) = (environment.join("bin/python"), folder.join("packages"));
    let packages = [ENGINE, &PROTOBUF.join(" ")].join(" ");
    // Written last: what it names is there.
    if fs::read_to_string(&note).is_ok_and(|note| note == packages) {
        return Ok(interpreter);
    }
    let python = Path::new("python3");
    run(python, &["-m", "venv", "--clear", &environment.display().to_string()])?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    // Data frames and what goes with them are most of its size, and not for us.
    run(&interpreter, &[&install[..], &["--no-deps", ENGINE]].concat())?;
    run(&interpreter, &[&install[..], &PROTOBUF].concat())?;
    fs::write(&note, packages)?;
    Ok(interpreter)
}

fn run(program: &Path, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("running {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{} {}: {}{}",
        program.display(),
        arguments.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// `ClickHouse` 26.9 as a library.
const ENGINE: &str = "chdb-core==26.9.0";
/// Google's library, and its compiler of .proto files.
const PROTOBUF: [&str; 2] = ["protobuf==7.36.2", "grpcio-tools==1.85.1"];
