//! `package`: what one installs, made of a program that is built already: .deb, .rpm, container image, chart, bill of
//! materials, sums.

pub(crate) mod chart;
pub(crate) mod check;
mod deb;
mod oci;
mod rpm;
mod sbom;
mod sums;
mod tree;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use crate::steps::Steps;
use crate::{cargo, dist};
pub(crate) use tree::Programs;
use tree::Tree;

/// What `package` takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct PackageArguments {
    /// The program to install.
    #[arg(long, value_name = "PROGRAM", default_value = dist::PROGRAM)]
    program: PathBuf,
    /// A build of the same version for this host, which prints manual pages and completions. Default: the program itself.
    #[arg(long, value_name = "PROGRAM")]
    native: Option<PathBuf>,
    /// The target that it was built for, as rustc names it. Default: this host's.
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// Where packages go.
    #[arg(long, value_name = "DIR", default_value = OUT)]
    out: PathBuf,
    /// How hard to compress.
    #[arg(long, value_name = "EFFORT", default_value = "most")]
    effort: Effort,
    /// Do what `ci` does: check flake.nix, workflows and chart, and make, install and remove packages of the debug program.
    #[arg(long, conflicts_with_all = ["program", "native", "target", "out", "effort"])]
    check: bool,
}

/// How hard to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Effort {
    Least,
    Most,
}

/// Processors that packages are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arch {
    X86_64,
    Aarch64,
}

impl Arch {
    /// That of a target.
    ///
    /// # Errors
    /// It is none of these.
    pub(crate) fn of(target: &str) -> Result<Self> {
        match target.split('-').next() {
            Some("x86_64") => Ok(Self::X86_64),
            Some("aarch64") => Ok(Self::Aarch64),
            _ => bail!("no packages for {target}: x86_64 and aarch64 are known"),
        }
    }

    /// As rustc, the kernel and RPM name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }
}

/// One release for one processor.
#[derive(Debug)]
pub(crate) struct Release<'a> {
    pub(crate) version: &'a str,
    pub(crate) target: &'a str,
    pub(crate) arch: Arch,
    pub(crate) effort: Effort,
    /// Where packages go.
    pub(crate) out: &'a Path,
    /// Where they are put together.
    pub(crate) work: &'a Path,
    /// Seconds since 1970 that files are said to be from.
    pub(crate) epoch: u64,
}

/// Makes the packages.
///
/// # Errors
/// The program is not there or does not do what it should; a tool is missing.
pub(crate) fn package(root: &Path, arguments: &PackageArguments) -> Result<()> {
    if arguments.check {
        return Steps::run(|steps| check::steps(steps, root));
    }
    let target = match &arguments.target {
        Some(target) => target.clone(),
        None => dist::host(root)?,
    };
    let program = root.join(&arguments.program);
    let native = arguments.native.as_ref().map_or(program.clone(), |native| root.join(native));
    let programs = Programs { installed: &program, asked: &native };
    let out = root.join(&arguments.out);
    let made = make(root, &programs, &target, &out, arguments.effort)?;
    for file in made {
        println!("made {}: {} bytes", file.display(), fs::metadata(&file)?.len());
    }
    Ok(())
}

/// Makes everything of one program. The sums are those of all that is in `out`.
pub(crate) fn make(
    root: &Path,
    programs: &Programs<'_>,
    target: &str,
    out: &Path,
    effort: Effort,
) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let work = root.join(WORK).join(target);
    fs::create_dir_all(&work)?;
    let release = Release {
        version: env!("CARGO_PKG_VERSION"),
        target,
        arch: Arch::of(target)?,
        effort,
        out,
        work: &work,
        epoch: epoch(root)?,
    };
    let tree = Tree::make(root, programs, work.join("tree"))?;
    let mut made = vec![
        deb::make(root, &release, &tree)?,
        rpm::make(root, &release, &tree)?,
        oci::make(&release, &tree)?,
        sbom::make(root, &release)?,
        chart::pack(root, &release)?,
        chart::manifest(root, &release)?,
    ];
    made.push(sums::write(out, &packages(out)?)?);
    Ok(made)
}

/// What has been made so far, of this and other targets.
fn packages(out: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(out)? {
        let path = entry?.path();
        if path.is_file() && path.file_name().is_some_and(|name| name != "SHA256SUMS") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// `SOURCE_DATE_EPOCH`, else the time of the commit, else 0: never that of the build.
fn epoch(root: &Path) -> Result<u64> {
    if let Some(epoch) = env::var_os("SOURCE_DATE_EPOCH") {
        return epoch.to_string_lossy().parse().context("SOURCE_DATE_EPOCH");
    }
    let mut git = cargo::command(root, "git");
    let said = git.args(["log", "-1", "--format=%ct"]).output();
    Ok(said.ok().and_then(|it| String::from_utf8(it.stdout).ok()?.trim().parse().ok()).unwrap_or(0))
}

/// Where packages go unless one says otherwise.
pub(crate) const OUT: &str = "target/packages";
const WORK: &str = "target/package";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_for_processors_that_we_know() {
        assert_eq!(Arch::of("x86_64-unknown-linux-musl").unwrap(), Arch::X86_64);
        assert_eq!(Arch::of("aarch64-unknown-linux-gnu").unwrap().name(), "aarch64");
        let error = Arch::of("riscv64gc-unknown-linux-gnu").unwrap_err().to_string();
        assert_eq!(
            error,
            "no packages for riscv64gc-unknown-linux-gnu: x86_64 and aarch64 are known"
        );
    }
}
