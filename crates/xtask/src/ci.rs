//! `ci`: the one test command. What the tests need, everything that `quick` does, and the tests that need root.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::leftovers::Before;
use crate::steps::Steps;
use crate::{cargo, prerequisites, quick, root_tests};

/// Runs every check and every test; what could not be run is no success.
pub(crate) fn ci(root: &Path) -> Result<()> {
    Steps::run(|steps| {
        steps.step("prerequisites", |_| prerequisites::provide(root))?;
        quick::look(steps, root)?;
        let before = Before::now(&cargo::programs()?)?;
        quick::test(steps, root)?;
        steps.step("root tests", |tally| root_tests::run(root, tally))?;
        steps.step("leftovers", |_| before.nothing_left(PATIENCE))
    })
}

/// What was killed takes a moment to go.
const PATIENCE: Duration = Duration::from_secs(3);
