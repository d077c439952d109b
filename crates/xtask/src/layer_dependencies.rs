//! The crates' dependencies on each other, held against the layer table.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::layer_table::{Layer, Row};

/// A crate of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its folder below `crates/`.
    pub(crate) name: String,
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// The files that its libraries and programs begin with.
    pub(crate) roots: Vec<PathBuf>,
    /// The crates beside it that it depends on, by folder.
    pub(crate) dependencies: Vec<(Kind, String)>,
}

/// What for a crate is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The crate itself, or its build script.
    Ships,
    /// Its tests, benches and examples.
    Tests,
}

/// Reads the output of `cargo metadata --no-deps --format-version 1`.
///
/// # Errors
/// It has another form.
pub(crate) fn members(metadata: &str) -> Result<Vec<Member>> {
    let metadata: Metadata = serde_json::from_str(metadata).context("output of cargo metadata")?;
    metadata.packages.into_iter().map(member).collect()
}

/// Everything about the dependencies that the table does not allow, a line each.
pub(crate) fn violations(rows: &[Row], members: &[Member]) -> Vec<String> {
    let mut wrong = Vec::new();
    for row in rows {
        check_row(rows, members, row, &mut wrong);
    }
    for member in members {
        let Some(row) = rows.iter().find(|row| row.name == member.name) else {
            wrong.push(format!("crates/{} is not in the table", member.name));
            continue;
        };
        for (kind, used) in &member.dependencies {
            if let Some(complaint) = complaint(rows, row, *kind, used) {
                wrong.push(format!("crates/{}: {complaint}", member.name));
            }
        }
    }
    wrong
}

/// The table itself has to keep its own rule.
fn check_row(rows: &[Row], members: &[Member], row: &Row, wrong: &mut Vec<String>) {
    let name = &row.name;
    if !members.iter().any(|member| member.name == *name) {
        wrong.push(format!("the table has crates/{name}, and the workspace has not"));
    }
    for used in &row.may_use {
        match layer_of(rows, used) {
            _ if used == name => {
                wrong.push(format!("crates/{name} may use itself, says the table"));
            }
            None => {
                wrong.push(format!("crates/{name} may use `{used}`, which is not in the table"));
            }
            Some(layer) if layer > row.layer => {
                wrong.push(format!(
                    "crates/{name} may use `{used}` of a higher layer, says the table"
                ));
            }
            Some(_) => {}
        }
    }
}

fn complaint(rows: &[Row], row: &Row, kind: Kind, used: &str) -> Option<String> {
    let higher = layer_of(rows, used).is_some_and(|layer| layer > row.layer);
    let may_use = row.may_use.iter().any(|name| name == used);
    match kind {
        Kind::Ships if higher => Some(format!("depends on `{used}` of a higher layer")),
        Kind::Ships if !may_use => Some(format!("depends on `{used}`, which it may not use")),
        // The kit knows none of the crates that it judges.
        Kind::Tests if used == TESTKIT => None,
        Kind::Tests if used == row.name => Some("its tests depend on itself".to_owned()),
        Kind::Tests if higher => Some(format!("its tests depend on `{used}` of a higher layer")),
        Kind::Tests if !may_use && layer_of(rows, used) == Some(row.layer) => {
            Some(format!("its tests depend on `{used}` of the same layer, which it may not use"))
        }
        Kind::Ships | Kind::Tests => None,
    }
}

fn layer_of(rows: &[Row], name: &str) -> Option<Layer> {
    rows.iter().find(|row| row.name == name).map(|row| row.layer)
}

fn member(package: Package) -> Result<Member> {
    let folder = package.manifest_path.parent().context("a manifest has a folder")?.to_owned();
    let ships = |target: &Target| {
        target.kind.iter().any(|kind| ["lib", "bin", "proc-macro"].contains(&kind.as_str()))
    };
    let dependencies = package.dependencies.into_iter().filter_map(|dependency| {
        let kind =
            if dependency.kind.as_deref() == Some("dev") { Kind::Tests } else { Kind::Ships };
        Some((kind, last_name(&dependency.path?)))
    });
    Ok(Member {
        name: last_name(&folder),
        dependencies: dependencies.collect(),
        roots: package.targets.into_iter().filter(ships).map(|target| target.src_path).collect(),
        folder,
    })
}

fn last_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Dependency {
    kind: Option<String>,
    /// Of a dependency that is a folder; those of a registry have none.
    path: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
    src_path: PathBuf,
}

const TESTKIT: &str = "testkit";

#[cfg(test)]
mod tests {
    use super::*;

    fn row(layer: Layer, name: &str, may_use: &[&str]) -> Row {
        Row {
            layer,
            name: name.to_owned(),
            may_use: may_use.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn table() -> Vec<Row> {
        vec![
            row(Layer::Product(0), "sys", &[]),
            row(Layer::Product(0), "wire", &[]),
            row(Layer::Product(1), "record", &["wire"]),
            row(Layer::Dev, "testkit", &[]),
        ]
    }

    fn crates(record: &[(Kind, &str)]) -> Vec<Member> {
        let member = |name: &str, dependencies: &[(Kind, &str)]| Member {
            name: name.to_owned(),
            folder: PathBuf::from("/w/crates").join(name),
            roots: Vec::new(),
            dependencies: dependencies
                .iter()
                .map(|(kind, name)| (*kind, (*name).to_owned()))
                .collect(),
        };
        vec![
            member("sys", &[]),
            member("wire", &[]),
            member("record", record),
            member("testkit", &[]),
        ]
    }

    #[test]
    fn what_the_table_allows_is_no_violation() {
        let allowed = [(Kind::Ships, "wire"), (Kind::Tests, "testkit"), (Kind::Tests, "sys")];
        assert_eq!(violations(&table(), &crates(&allowed)), [""; 0]);
    }

    #[test]
    fn a_dependency_that_the_table_does_not_name_is_a_violation() {
        for (kind, used, expected) in [
            (Kind::Ships, "sys", "depends on `sys`, which it may not use"),
            (Kind::Ships, "testkit", "depends on `testkit` of a higher layer"),
            (Kind::Ships, "elsewhere", "depends on `elsewhere`, which it may not use"),
            (Kind::Tests, "record", "its tests depend on itself"),
        ] {
            let expected = format!("crates/record: {expected}");
            assert_eq!(violations(&table(), &crates(&[(kind, used)])), [expected]);
        }
    }

    #[test]
    fn tests_see_no_higher_layer_and_no_sibling() {
        let mut members = crates(&[]);
        members[1].dependencies =
            vec![(Kind::Tests, "record".to_owned()), (Kind::Tests, "sys".to_owned())];
        assert_eq!(
            violations(&table(), &members),
            [
                "crates/wire: its tests depend on `record` of a higher layer",
                "crates/wire: its tests depend on `sys` of the same layer, which it may not use",
            ]
        );
    }

    #[test]
    fn a_crate_without_a_line_and_a_line_without_a_crate_are_violations() {
        let (mut rows, members) = (table(), crates(&[]));
        rows[1].name = "wires".to_owned();
        assert_eq!(
            violations(&rows, &members),
            [
                "the table has crates/wires, and the workspace has not",
                "crates/record may use `wire`, which is not in the table",
                "crates/wire is not in the table",
            ]
        );
    }

    #[test]
    fn the_table_may_not_allow_what_its_layers_forbid() {
        let mut rows = table();
        rows[0].may_use = vec!["record".to_owned(), "sys".to_owned()];
        assert_eq!(
            violations(&rows, &crates(&[])),
            [
                "crates/sys may use `record` of a higher layer, says the table",
                "crates/sys may use itself, says the table"
            ]
        );
    }

    #[test]
    fn the_output_of_cargo_is_understood() {
        let metadata = r#"{"packages": [{"name": "sockeye-record", "manifest_path": "/w/crates/record/Cargo.toml",
            "targets": [{"kind": ["lib"], "src_path": "/w/crates/record/src/lib.rs", "name": "x"},
                        {"kind": ["test"], "src_path": "/w/crates/record/tests/t.rs"}],
            "dependencies": [{"name": "sockeye-wire", "kind": null, "path": "/w/crates/wire"},
                             {"name": "serde", "kind": null, "source": "registry"},
                             {"name": "sockeye-sys", "kind": "build", "path": "/w/crates/sys"},
                             {"name": "sockeye-testkit", "kind": "dev", "path": "/w/crates/testkit"}]}]}"#;
        let expected = Member {
            name: "record".to_owned(),
            folder: "/w/crates/record".into(),
            roots: vec!["/w/crates/record/src/lib.rs".into()],
            dependencies: vec![
                (Kind::Ships, "wire".to_owned()),
                (Kind::Ships, "sys".to_owned()),
                (Kind::Tests, "testkit".to_owned()),
            ],
        };
        assert_eq!(members(metadata).unwrap(), [expected]);
        assert!(members("{}").is_err());
    }
}
