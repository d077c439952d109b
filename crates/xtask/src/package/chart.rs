//! The Helm chart, packed, and the manifest that it makes of its own values, for those without Helm.

#![expect(clippy::indexing_slicing, reason = "what a JSON value does not have is null")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use flate2::{Compression, GzBuilder};
use serde_json::Value;

use super::Release;
use crate::cargo;

/// Writes `sockeye-VERSION.tgz` as `helm package` does, and returns its path.
pub(crate) fn pack(root: &Path, release: &Release<'_>) -> Result<PathBuf> {
    let chart = root.join(CHART);
    let path = release.out.join(format!("sockeye-{}.tgz", release.version));
    let gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    let mut archive = tar::Builder::new(gzip);
    for file in files(&chart)? {
        let bytes = fs::read(chart.join(&file))?;
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        header.set_mtime(release.epoch);
        archive.append_data(&mut header, Path::new("sockeye").join(&file), bytes.as_slice())?;
    }
    fs::write(&path, archive.into_inner()?.finish()?)?;
    Ok(path)
}

/// Writes `sockeye-VERSION-kubernetes.yaml` and returns its path.
pub(crate) fn manifest(root: &Path, release: &Release<'_>) -> Result<PathBuf> {
    let path = release.out.join(format!("sockeye-{}-kubernetes.yaml", release.version));
    fs::copy(root.join(MANIFEST), &path).context(MANIFEST)?;
    Ok(path)
}

/// Checks that chart, values and manifest fit together; with Helm itself where it is.
///
/// # Errors
/// They do not.
pub(crate) fn check(root: &Path) -> Result<()> {
    let chart = root.join(CHART);
    let about = yaml(&fs::read_to_string(chart.join("Chart.yaml"))?).context("Chart.yaml")?;
    for key in ["version", "appVersion"] {
        ensure!(about[key] == env!("CARGO_PKG_VERSION"), "{CHART}/Chart.yaml: {key} is not ours");
    }
    let values = yaml(&fs::read_to_string(chart.join("values.yaml"))?).context("values.yaml")?;
    let mut used = BTreeSet::new();
    for file in files(&chart.join("templates"))? {
        used.extend(used_values(&fs::read_to_string(chart.join("templates").join(file))?));
    }
    fits(&values, &used)?;
    let text = fs::read_to_string(root.join(MANIFEST)).context(MANIFEST)?;
    agrees(&documents(&text).context(MANIFEST)?, &values).context(MANIFEST)?;
    if cargo::find("helm").is_some() {
        let mut helm = cargo::command(root, "helm");
        helm.args(["template", "sockeye", CHART, "--kube-version", "1.31"]);
        let made = helm.output().context("helm")?;
        ensure!(made.status.success(), "helm: {}", String::from_utf8_lossy(&made.stderr));
        ensure!(made.stdout == text.as_bytes(), "{MANIFEST} is not what `helm template` makes");
    }
    Ok(())
}

/// The file of the manifest, and how the program is called there.
pub(crate) fn called(root: &Path) -> Result<(String, Vec<String>)> {
    let documents = documents(&fs::read_to_string(root.join(MANIFEST)).context(MANIFEST)?)?;
    let [_, file, set] = documents.as_slice() else { bail!("{MANIFEST} has not three documents") };
    let file = file["data"]["sockeye.toml"].as_str().context("no file")?.to_owned();
    let arguments = &set["spec"]["template"]["spec"]["containers"][0]["args"];
    Ok((file, serde_json::from_value(arguments.clone()).context("arguments")?))
}

/// Every value that a template uses is there, and every value that is there is used.
fn fits(values: &Value, used: &BTreeSet<String>) -> Result<()> {
    for path in used {
        let found = path.split('.').try_fold(values, |value, key| value.get(key));
        ensure!(found.is_some(), "a template uses .Values.{path}, which values.yaml has not");
    }
    for key in values.as_object().context("values.yaml is no map")?.keys() {
        let is_used = used.iter().any(|path| path.split('.').next() == Some(key));
        ensure!(is_used, "no template uses {key} of values.yaml");
    }
    Ok(())
}

/// What a pod must have, whoever wrote the manifest.
fn agrees(documents: &[Value], values: &Value) -> Result<()> {
    let kinds: Vec<&str> = documents.iter().filter_map(|it| it["kind"].as_str()).collect();
    ensure!(kinds == ["ServiceAccount", "ConfigMap", "DaemonSet"], "kinds are {kinds:?}");
    let [_, file, set] = documents else { unreachable!("just counted") };
    ensure!(file["data"]["sockeye.toml"] == values["config"], "not the file of values.yaml");
    let pod = &set["spec"]["template"]["spec"];
    ensure!(pod["hostPID"] == values["hostPID"], "hostPID");
    let container = &pod["containers"][0];
    for (place, key) in [
        (&container["securityContext"]["capabilities"]["add"], "capabilities"),
        (&set["spec"]["updateStrategy"], "updateStrategy"),
        (&container["resources"], "resources"),
        (&container["ports"][0]["containerPort"], "port"),
    ] {
        ensure!(*place == values[key], "{key} is not that of values.yaml");
    }
    for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        ensure!(container[probe]["httpGet"]["path"] == path, "{probe} does not ask for {path}");
    }
    let image = format!("sockeye:{}", env!("CARGO_PKG_VERSION"));
    ensure!(container["image"] == image.as_str(), "the image is not {image}");
    Ok(())
}

/// `a.b` of every `.Values.a.b`.
fn used_values(template: &str) -> BTreeSet<String> {
    let behind = template.split(".Values.").skip(1);
    let path = |text: &str| -> String {
        text.chars().take_while(|char| char.is_ascii_alphanumeric() || *char == '.').collect()
    };
    behind.map(|text| path(text).trim_end_matches('.').to_owned()).collect()
}

/// One document.
pub(crate) fn yaml(text: &str) -> Result<Value> {
    Ok(serde_saphyr::from_str(text)?)
}

fn documents(text: &str) -> Result<Vec<Value>> {
    let parts = text.split("\n---").map(|part| part.trim_start_matches("---"));
    parts.filter(|part| !part.trim().is_empty()).map(yaml).collect()
}

/// The files below a folder, by path.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut next = vec![folder.to_owned()];
    while let Some(here) = next.pop() {
        for entry in fs::read_dir(&here).with_context(|| here.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                next.push(path);
            } else {
                found.push(path.strip_prefix(folder)?.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

const CHART: &str = "packaging/helm/sockeye";
const MANIFEST: &str = "packaging/kubernetes/sockeye.yaml";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_those_that_templates_use() {
        let used =
            used_values("a: {{ .Values.image.tag | default .Chart.X }}\n{{- if .Values.b }}");
        assert_eq!(used, ["b", "image.tag"].map(str::to_owned).into());
        fits(&json!({ "image": { "tag": "" }, "b": false }), &used).unwrap();
        let missing = fits(&json!({ "image": {}, "b": false }), &used).unwrap_err().to_string();
        assert_eq!(missing, "a template uses .Values.image.tag, which values.yaml has not");
        let idle = fits(&json!({ "image": { "tag": "" }, "b": 1, "c": 2 }), &used).unwrap_err();
        assert_eq!(idle.to_string(), "no template uses c of values.yaml");
    }

    #[test]
    fn documents_of_one_file_are_read_one_by_one() {
        let text = "---\n# Source: a\nkind: A\n---\nkind: B\ntext: |\n  --- no end\n";
        let kinds = documents(text).unwrap();
        assert_eq!(kinds, [json!({ "kind": "A" }), json!({ "kind": "B", "text": "--- no end\n" })]);
    }
}
