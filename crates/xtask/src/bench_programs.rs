//! What takes part in a measurement: the programs, the options that this build has, and how much effort is made.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::cargo::{self, cargo};
use crate::dist;

/// The programs, built for release.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// What is measured.
    pub(crate) sockeye: PathBuf,
    /// The same, built with a profile; `None` where `xtask dist` has not been run.
    pub(crate) dist: Option<PathBuf>,
    pub(crate) load: PathBuf,
    pub(crate) spread: PathBuf,
    pub(crate) drain: PathBuf,
    pub(crate) rows: PathBuf,
    pub(crate) brief: PathBuf,
}

/// How often things are done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// How often what is no poll is measured.
    pub(crate) rounds: usize,
    /// Polls of each contender, for the number of sockets that a poll sees.
    polls: fn(u64) -> u32,
}

impl Effort {
    /// Half an hour.
    pub(crate) const FULL: Self = Self {
        rounds: 5,
        polls: |sockets| {
            if sockets > 200_000 {
                10
            } else if sockets > 20_000 {
                41
            } else {
                101
            }
        },
    };
    /// Some minutes.
    pub(crate) const QUICK: Self = Self {
        rounds: 3,
        polls: |sockets| {
            if sockets > 200_000 {
                3
            } else if sockets > 20_000 {
                11
            } else {
                31
            }
        },
    };

    pub(crate) fn polls(self, sockets: u64) -> u32 {
        (self.polls)(sockets)
    }
}

impl Programs {
    /// Builds them. What is measured is built alone, with the features that it ships with.
    pub(crate) fn build(root: &Path) -> Result<()> {
        cargo::run(cargo(root, &["build", "--release", "--package", "sockeye"]))?;
        let tools = ["--package", "sockeye-testkit", "--package", "sockeye-benches", "--bins"];
        cargo::run(cargo(root, &[&["build", "--release"][..], &tools].concat()))
    }

    /// Where they are.
    ///
    /// # Errors
    /// One is missing.
    pub(crate) fn built(root: &Path) -> Result<Self> {
        let folder = cargo::release_programs()?;
        let program = |name: &str| {
            let path = folder.join(name);
            ensure!(path.is_file(), "no {}", path.display());
            Ok(path)
        };
        Ok(Self {
            sockeye: program("sockeye")?,
            dist: Some(root.join(dist::PROGRAM)).filter(|path| path.is_file()),
            load: program("sockeye-load")?,
            spread: program("sockeye-spread")?,
            drain: program("sockeye-drain")?,
            rows: program("sockeye-rows")?,
            brief: program("sockeye-brief")?,
        })
    }
}
