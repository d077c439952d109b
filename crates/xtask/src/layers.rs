//! `layers`: the layer table of docs/ARCHITECTURE.md against the workspace as it is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::layer_dependencies::{self, Member};
use crate::layer_sources::{self, SourceFile};
use crate::{cargo, layer_table};

/// Checks dependencies and sources of every crate; prints each violation, and fails when there is one.
pub(crate) fn layers(root: &Path) -> Result<()> {
    let page = fs::read_to_string(root.join(PAGE)).context(PAGE)?;
    let rows = layer_table::parse(&page).context(PAGE)?;
    let metadata = cargo::output(root, &["metadata", "--no-deps", "--format-version", "1"])?;
    let members = layer_dependencies::members(&metadata)?;

    let mut violations = layer_dependencies::violations(&rows, &members);
    let mut files = Vec::new();
    for member in &members {
        files.extend(sources(member)?);
    }
    violations.extend(layer_sources::violations(&rows, &files));
    for violation in &violations {
        eprintln!("{violation}");
    }
    if violations.is_empty() {
        println!("{} crates and {} source files keep to {PAGE}", members.len(), files.len());
        return Ok(());
    }
    bail!("{} violations of the layers of {PAGE}", violations.len())
}

/// Every Rust file of a crate: its sources, tests, benches and fuzz targets.
fn sources(member: &Member) -> Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    let mut folders = vec![member.folder.clone()];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<PathBuf> = fs::read_dir(&folder)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .with_context(|| format!("reading {}", folder.display()))?;
        entries.sort();
        for path in entries {
            if path.is_dir() {
                if !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path)
                    .with_context(|| format!("reading {}", path.display()))?;
                let inside =
                    path.strip_prefix(&member.folder).unwrap_or(&path).display().to_string();
                let is_root = member.roots.contains(&path);
                files.push(SourceFile { member: member.name.clone(), path: inside, is_root, text });
            }
        }
    }
    Ok(files)
}

const PAGE: &str = "docs/ARCHITECTURE.md";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rust_file_of_a_crate_is_looked_at_but_those_that_cargo_makes() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for file in [
            "src/lib.rs",
            "src/deep/a.rs",
            "tests/t.rs",
            "fuzz/target/made.rs",
            "fuzz/f.rs",
            "src/notes.md",
        ] {
            fs::create_dir_all(folder.join(file).parent().unwrap()).unwrap();
            fs::write(folder.join(file), file).unwrap();
        }
        let member = Member {
            name: "wire".to_owned(),
            folder: folder.to_owned(),
            roots: vec![folder.join("src/lib.rs")],
            dependencies: Vec::new(),
        };
        let mut found: Vec<(String, bool)> =
            sources(&member).unwrap().into_iter().map(|file| (file.path, file.is_root)).collect();
        found.sort();
        let expected = [
            ("fuzz/f.rs", false),
            ("src/deep/a.rs", false),
            ("src/lib.rs", true),
            ("tests/t.rs", false),
        ];
        assert_eq!(found, expected.map(|(path, is_root)| (path.to_owned(), is_root)));
    }
}
