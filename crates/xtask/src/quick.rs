//! `quick`: what one runs after every change, and the first part of `ci`.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::cargo::{self, cargo};
use crate::steps::Steps;
use crate::{generate, layers};

/// Format, lints, layers, generated files, and the tests that need no root.
pub(crate) fn quick(root: &Path) -> Result<()> {
    Steps::run(|steps| {
        look(steps, root)?;
        test(steps, root)
    })
}

/// The steps that only look.
pub(crate) fn look(steps: &mut Steps, root: &Path) -> Result<()> {
    steps.step("format", |_| cargo::run(cargo(root, &["fmt", "--all", "--check"])))?;
    steps.step("layers", |_| layers::layers(root))?;
    steps.step("generated files", |_| generate::generate(root, true))?;
    steps.step("clippy", |_| {
        cargo::run(cargo(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    })
}

/// Builds the tests and the programs that they start, and runs the tests that need no root.
pub(crate) fn test(steps: &mut Steps, root: &Path) -> Result<()> {
    steps.step("build", |_| {
        // Beside the tests this builds the programs of every package with a tests folder, and with the features that
        // the tests will ask for: `cargo build` would build half of them once more.
        cargo::run(cargo(root, &["test", "--workspace", "--no-run"]))?;
        let folder = cargo::programs()?;
        for program in PROGRAMS {
            ensure!(folder.join(program).is_file(), "no {program} in {}", folder.display());
        }
        Ok(())
    })?;
    steps.step("tests", |tally| {
        cargo::test(cargo(root, &["test", "--workspace", "--no-fail-fast"]), tally)
    })
}

/// What tests start.
const PROGRAMS: [&str; 2] = ["sockeye", "sockeye-load"];
