//! A container image as an OCI layout in a tar archive: one layer with the program and its file, and nothing else.
//!
//! `manifest.json` is what `docker load` of older engines reads; it names the same blobs.

#![expect(clippy::indexing_slicing, reason = "what a JSON value does not have is null")]

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};

use super::sums::sha256;
use super::tree::{CONFIG, Tree};
use super::{Arch, Effort, Release};

/// Writes `sockeye-VERSION-ARCH.oci.tar` and returns its path.
///
/// # Errors
/// A file of the tree can't be read, or the archive can't be written.
pub(crate) fn make(release: &Release<'_>, tree: &Tree) -> Result<PathBuf> {
    let name = format!("sockeye-{}-{}.oci.tar", release.version, release.arch.name());
    let path = release.out.join(name);
    let plain = layer(tree, release.epoch)?;
    let effort = match release.effort {
        Effort::Least => Compression::fast(),
        Effort::Most => Compression::best(),
    };
    let mut packed = GzBuilder::new().mtime(0).write(Vec::new(), effort);
    packed.write_all(&plain)?;
    write(&path, release, &plain, &packed.finish()?)?;
    Ok(path)
}

/// The layer, uncompressed.
fn layer(tree: &Tree, epoch: u64) -> Result<Vec<u8>> {
    let mut archive = Archive::new(epoch);
    for folder in ["etc", "etc/sockeye", "proc", "run", "tmp", "usr", "usr/bin", "var", "var/lib"] {
        archive.folder(folder)?;
    }
    archive.folder("var/lib/sockeye")?;
    for path in [CONFIG, "/usr/bin/sockeye"] {
        let file = tree.files.iter().find(|file| file.path == path).context("not in the tree")?;
        archive.file(path.trim_start_matches('/'), &fs::read(tree.place(file))?, file.mode)?;
    }
    archive.finish()
}

fn write(path: &Path, release: &Release<'_>, plain: &[u8], packed: &[u8]) -> Result<()> {
    let mut archive = Archive::new(release.epoch);
    archive.folder("blobs")?;
    archive.folder("blobs/sha256")?;
    let config = serde_json::to_vec(&config(release, &sha256(plain)))?;
    let layer = archive.blob(packed, LAYER)?;
    let config = archive.blob(&config, CONFIGURATION)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": [layer],
        "annotations": { "org.opencontainers.image.version": release.version },
    });
    let mut manifest = archive.blob(&serde_json::to_vec(&manifest)?, MANIFEST)?;
    let tag = format!("sockeye:{}", release.version);
    manifest["annotations"] = json!({
        "org.opencontainers.image.ref.name": release.version,
        "io.containerd.image.name": format!("docker.io/library/{tag}"),
    });
    manifest["platform"] = json!({ "os": "linux", "architecture": architecture(release.arch) });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest] });
    archive.file("index.json", &serde_json::to_vec(&index)?, 0o644)?;
    archive.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)?;
    let docker = json!([{
        "Config": blob_path(&config)?,
        "RepoTags": [tag],
        "Layers": [blob_path(&layer)?],
    }]);
    archive.file("manifest.json", &serde_json::to_vec(&docker)?, 0o644)?;
    fs::write(path, archive.finish()?).with_context(|| path.display().to_string())
}

fn config(release: &Release<'_>, diff_id: &str) -> Value {
    json!({
        "architecture": architecture(release.arch),
        "os": "linux",
        "config": {
            "Entrypoint": ["/usr/bin/sockeye"],
            "Cmd": ["run", "--config", CONFIG],
            "WorkingDir": "/",
            "StopSignal": "SIGTERM",
            "Labels": {
                "org.opencontainers.image.title": "sockeye",
                "org.opencontainers.image.version": release.version,
                "org.opencontainers.image.licenses": "Apache-2.0",
            },
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{diff_id}")] },
        "history": [{ "created_by": "cargo xtask package" }],
    })
}

/// An archive whose bytes depend on nothing but what is put in.
struct Archive {
    tar: tar::Builder<Vec<u8>>,
    epoch: u64,
}

impl Archive {
    fn new(epoch: u64) -> Self {
        Self { tar: tar::Builder::new(Vec::new()), epoch }
    }

    fn header(&self, kind: tar::EntryType, mode: u32, bytes: usize) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(bytes as u64);
        header.set_mtime(self.epoch);
        header
    }

    fn folder(&mut self, path: &str) -> Result<()> {
        let mode = if path == "tmp" { 0o1777 } else { 0o755 };
        let mut header = self.header(tar::EntryType::Directory, mode, 0);
        self.tar.append_data(&mut header, format!("{path}/"), Cursor::new([]))?;
        Ok(())
    }

    fn file(&mut self, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let mut header = self.header(tar::EntryType::Regular, mode, bytes.len());
        self.tar.append_data(&mut header, path, bytes)?;
        Ok(())
    }

    /// A blob, and the descriptor that leads to it.
    fn blob(&mut self, bytes: &[u8], media_type: &str) -> Result<Value> {
        let sum = sha256(bytes);
        self.file(&format!("blobs/sha256/{sum}"), bytes, 0o644)?;
        Ok(json!({
            "mediaType": media_type,
            "digest": format!("sha256:{sum}"),
            "size": bytes.len(),
        }))
    }

    fn finish(self) -> Result<Vec<u8>> {
        Ok(self.tar.into_inner()?)
    }
}

fn blob_path(descriptor: &Value) -> Result<String> {
    let digest = descriptor["digest"].as_str().context("a descriptor has a digest")?;
    Ok(format!("blobs/{}", digest.replace(':', "/")))
}

/// Go's name of an architecture.
fn architecture(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "amd64",
        Arch::Aarch64 => "arm64",
    }
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIGURATION: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
