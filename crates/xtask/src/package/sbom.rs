//! What is inside: a bill of materials in the JSON of `CycloneDX`, of what cargo says that the program is built of.

#![expect(clippy::indexing_slicing, reason = "what a JSON value does not have is null")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Release;
use crate::cargo;

/// Writes `sockeye-VERSION-ARCH.cdx.json` and returns its path.
///
/// # Errors
/// `cargo metadata` fails, or the lock file is not of its crates.
pub(crate) fn make(root: &Path, release: &Release<'_>) -> Result<PathBuf> {
    let target = release.target;
    let text = cargo::output(
        root,
        &["metadata", "--format-version=1", "--locked", "--filter-platform", target],
    )?;
    let metadata: Metadata = serde_json::from_str(&text).context("cargo metadata")?;
    let lock =
        toml::from_str(&fs::read_to_string(root.join("Cargo.lock"))?).context("Cargo.lock")?;
    let name = format!("sockeye-{}-{}.cdx.json", release.version, release.arch.name());
    let path = release.out.join(name);
    let text = serde_json::to_string_pretty(&bill(&metadata, &lock, release.version)?)?;
    fs::write(&path, text + "\n")?;
    Ok(path)
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    description: Option<String>,
    /// `None` for crates of the workspace.
    source: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Debug, Deserialize)]
struct DependencyKind {
    /// `None` is what is linked; the others build or test.
    kind: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Debug, Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

fn bill(metadata: &Metadata, lock: &Lock, version: &str) -> Result<Value> {
    let packages: BTreeMap<&str, &Package> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let top = metadata.packages.iter().find(|package| package.name == "sockeye");
    let top = top.context("there is no package sockeye")?;
    let linked = linked(metadata, &top.id);
    let package = |id: &str| packages.get(id).copied().context("a crate that is not listed");
    let mut components = Vec::new();
    for id in linked.keys().filter(|id| **id != top.id) {
        components.push(component(package(id)?, lock, "library"));
    }
    let mut dependencies = Vec::new();
    for (id, on) in &linked {
        let on: Result<Vec<String>> = on.iter().map(|id| Ok(reference(package(id)?))).collect();
        dependencies.push(json!({ "ref": reference(package(id)?), "dependsOn": on? }));
    }
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": component(top, lock, "application"),
            "tools": { "components": [{ "type": "application", "name": "cargo xtask package", "version": version }] },
        },
        "components": components,
        "dependencies": dependencies,
    }))
}

/// What is linked into a crate, each with what is linked into it.
fn linked<'a>(metadata: &'a Metadata, top: &'a str) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let nodes: BTreeMap<&str, &Node> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let mut linked = BTreeMap::new();
    let mut next = vec![top];
    while let Some(id) = next.pop() {
        if linked.contains_key(id) {
            continue;
        }
        let dependencies = nodes.get(id).map_or(&[][..], |node| &node.deps);
        let normal = dependencies
            .iter()
            .filter(|dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none()));
        let normal: BTreeSet<&str> = normal.map(|dependency| dependency.pkg.as_str()).collect();
        next.extend(&normal);
        linked.insert(id, normal);
    }
    linked
}

fn component(package: &Package, lock: &Lock, kind: &str) -> Value {
    let mut component = json!({
        "type": kind,
        "bom-ref": reference(package),
        "name": package.name,
        "version": package.version,
    });
    if let Some(description) = &package.description {
        component["description"] = description.trim().into();
    }
    if let Some(license) = &package.license {
        // The way of old crates to say OR.
        component["licenses"] = json!([{ "expression": license.replace('/', " OR ") }]);
    }
    if package.source.is_some() {
        component["purl"] = reference(package).into();
        let locked = lock
            .package
            .iter()
            .find(|locked| locked.name == package.name && locked.version == package.version);
        if let Some(sum) = locked.and_then(|locked| locked.checksum.as_ref()) {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
        }
    }
    component
}

/// A package URL: the plus of a version has a meaning there.
fn reference(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version.replace('+', "%2B"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_listed_and_what_only_builds_or_tests_is_not() {
        let package = |name: &str, source: Option<&str>| {
            json!({
                "id": name, "name": name, "version": "1.0.0+2", "license": "MIT/Apache-2.0",
                "description": null, "source": source,
            })
        };
        let on = |name: &str, kind: Option<&str>| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let metadata: Metadata = serde_json::from_value(json!({
            "packages": [
                package("sockeye", None), package("linked", Some("registry")), package("deep", Some("registry")),
                package("tested", Some("registry")), package("built", Some("registry")),
            ],
            "resolve": { "nodes": [
                { "id": "sockeye", "deps": [on("linked", None), on("tested", Some("dev")), on("built", Some("build"))] },
                { "id": "linked", "deps": [on("deep", None)] },
                { "id": "deep", "deps": [] },
            ] },
        }))
        .unwrap();
        let sum = Some("00ff".to_owned());
        let lock = Lock {
            package: vec![Locked { name: "deep".into(), version: "1.0.0+2".into(), checksum: sum }],
        };
        let bill = bill(&metadata, &lock, "0.1.0").unwrap();
        let components = bill["components"].as_array().unwrap();
        let names: Vec<&str> = components.iter().map(|it| it["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["deep", "linked"]);
        assert_eq!(
            components[0],
            json!({
                "type": "library", "bom-ref": "pkg:cargo/deep@1.0.0%2B2", "name": "deep", "version": "1.0.0+2",
                "licenses": [{ "expression": "MIT OR Apache-2.0" }],
                "purl": "pkg:cargo/deep@1.0.0%2B2",
                "hashes": [{ "alg": "SHA-256", "content": "00ff" }],
            })
        );
        assert_eq!(bill["metadata"]["component"]["name"], "sockeye");
        assert_eq!(bill["dependencies"].as_array().unwrap().len(), 3);
    }
}
