//! `ci`: the one test command. What the tests need, everything that `quick` does, the tests that need root, what is
//! packaged, and whether rows take more instructions than before.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::leftovers::Before;
use crate::steps::Steps;
use crate::{cargo, instructions, package, pgo_stamp, prerequisites, quick, root_tests};

/// Runs every check and every test; what could not be run is no success.
pub(crate) fn ci(root: &Path) -> Result<()> {
    Steps::run(|steps| {
        steps.step("prerequisites", |_| prerequisites::provide(root))?;
        quick::look(steps, root)?;
        let before = Before::now(&cargo::programs()?)?;
        quick::test(steps, root)?;
        steps.step("root tests", |tally| root_tests::run(root, tally))?;
        package::check::steps(steps, root)?;
        steps.step("leftovers", |_| before.nothing_left(PATIENCE))?;
        steps.step("instructions", |_| instructions::instructions(root, false))?;
        steps.step("profile", |_| {
            // It makes nothing wrong, only slower than it could be.
            pgo_stamp::warnings(root)?.iter().for_each(|warning| println!("warning: {warning}"));
            Ok(())
        })
    })
}

/// What was killed takes a moment to go.
const PATIENCE: Duration = Duration::from_secs(3);
