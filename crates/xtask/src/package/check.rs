//! The packages of the program that the tests have built, as the step `packages` of `ci` makes, installs and removes them.

#![expect(clippy::indexing_slicing, reason = "what a JSON value does not have is null")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use flate2::read::GzDecoder;
use serde_json::Value;

use super::sums::sha256;
use super::tree::{CONFIG, Programs};
use super::{Effort, chart, make};
use crate::steps::Steps;
use crate::{cargo, dist, nix, workflows};

/// What is there for those who install, and needs the programs that the tests have built.
///
/// # Errors
/// That of the first step that failed.
pub(crate) fn steps(steps: &mut Steps, root: &Path) -> Result<()> {
    steps.step("nix", |_| nix::check(root, &cargo::programs()?.join("sockeye")))?;
    steps.step("workflows", |_| workflows::check(root))?;
    steps.step("packages", |_| check(root))
}

/// Makes packages of the debug program and does with them what hosts do.
///
/// # Errors
/// What a package lacks, leaves behind, or breaks.
fn check(root: &Path) -> Result<()> {
    chart::check(root)?;
    let work = root.join(WORK);
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    fs::create_dir_all(&work)?;
    let program = cargo::programs()?.join("sockeye");
    // A tenth of its size without what debuggers read.
    let stripped = work.join("sockeye");
    let mut strip = cargo::command(root, "strip");
    strip.arg("--strip-debug").arg("-o").arg(&stripped).arg(&program);
    cargo::run(strip)?;

    as_the_chart_calls_it(root, &work, &program)?;
    let out = work.join("out");
    let programs = Programs { installed: &stripped, asked: &program };
    let made = make(root, &programs, &dist::host(root)?, &out, Effort::Least)?;
    let of = |end: &str| {
        let named = made.iter().find(|path| path.to_string_lossy().ends_with(end));
        named.cloned().with_context(|| format!("no {end} was made"))
    };
    sums(root, &out)?;
    scripts(root, &work.join("scripts"))?;
    deb(root, &work.join("deb"), &of(".deb")?)?;
    rpm(root, &work.join("rpm"), &of(".rpm")?)?;
    image(&of(".oci.tar")?)?;
    bill(&of(".cdx.json")?)?;
    println!("made, installed and removed: {} files", made.len());
    Ok(())
}

/// The program takes the options and the file of the manifest.
fn as_the_chart_calls_it(root: &Path, work: &Path, program: &Path) -> Result<()> {
    let (file, arguments) = chart::called(root)?;
    let place = work.join("kubernetes.toml");
    fs::write(&place, file)?;
    let place = place.to_str().context("a path in UTF-8")?;
    let mut called = cargo::command(root, program);
    called.args(arguments.iter().map(|argument| argument.replace(CONFIG, place)));
    called.arg("--print-config");
    quietly(called).context("the program as the chart calls it").map(drop)
}

fn sums(root: &Path, out: &Path) -> Result<()> {
    let mut check = cargo::command(root, "sha256sum");
    check.current_dir(out).args(["--check", "--strict", "--quiet", "SHA256SUMS"]);
    cargo::run(check)
}

/// What the scripts of the .deb ask of systemd, with a `systemctl` that writes it down and fails.
fn scripts(root: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let systemctl = folder.join("systemctl");
    fs::write(&systemctl, "#!/bin/sh\necho \"$*\" >> \"$LOG\"\nexit 1\n")?;
    fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755))?;
    let log = folder.join("log");
    for (prepare, script, asked) in [
        (WITH_SYSTEMD, "postinst configure", "daemon-reload\n"),
        (WITH_SYSTEMD, "postinst configure 0.0.9", "daemon-reload\ntry-restart sockeye.service\n"),
        (WITH_SYSTEMD, "prerm upgrade 0.2.0", ""),
        (WITH_SYSTEMD, "prerm remove", "stop sockeye.service\ndisable sockeye.service\n"),
        (WITH_SYSTEMD, "postrm remove", "daemon-reload\n"),
        (WITHOUT, "postinst configure", ""),
        (WITHOUT, "prerm remove", "disable sockeye.service\n"),
        (WITHOUT, "postrm remove", ""),
    ] {
        fs::write(&log, "")?;
        let mut run = as_root(root, "unshare");
        run.args([
            "--mount",
            "sh",
            "-c",
            &format!("{prepare} && PATH={}:$PATH exec packaging/deb/{script}", folder.display()),
        ]);
        run.env("LOG", &log).env_remove("DPKG_ROOT");
        quietly(run)?;
        let said = fs::read_to_string(&log)?;
        ensure!(said == asked, "{script}: systemctl was asked for {said:?} and not for {asked:?}");
    }
    Ok(())
}

/// Installs, changes the administrator's file, installs again, removes, purges: in a root of its own.
fn deb(root: &Path, folder: &Path, package: &Path) -> Result<()> {
    let database = folder.join("var/lib/dpkg");
    for name in ["info", "updates", "triggers"] {
        fs::create_dir_all(database.join(name))?;
    }
    fs::write(database.join("status"), "")?;
    fs::create_dir_all(folder.join("tmp"))?;
    let dpkg = |arguments: &[&str]| {
        let mut dpkg = as_root(root, "dpkg");
        // The scripts run here and see the root in DPKG_ROOT. There is no libc6 to depend on.
        dpkg.arg(format!("--root={}", folder.display()));
        dpkg.args([
            "--force-script-chrootless",
            "--force-depends",
            "--force-confdef",
            "--force-confold",
        ]);
        dpkg.arg(format!("--log={}", folder.join("dpkg.log").display())).args(arguments);
        quietly(dpkg)
    };
    let package = package.to_str().context("a path in UTF-8")?;
    dpkg(&["--install", package])?;
    installed(root, folder)?;
    let file = folder.join(CONFIG.trim_start_matches('/'));
    let changed = fs::read_to_string(&file)? + "\n# changed here\n";
    fs::write(&file, &changed)?;
    dpkg(&["--install", package])?;
    ensure!(fs::read_to_string(&file)? == changed, "an upgrade has replaced {CONFIG}");
    dpkg(&["--remove", "sockeye"])?;
    let left = files(folder)?;
    ensure!(left == [CONFIG], "removed, and there are still {left:?}");
    // What a daemon would have left.
    fs::create_dir_all(folder.join("var/lib/private/sockeye"))?;
    fs::write(folder.join("var/lib/private/sockeye/spool"), "")?;
    dpkg(&["--purge", "sockeye"])?;
    let left = files(folder)?;
    ensure!(left.is_empty(), "purged, and there are still {left:?}");
    ensure!(!folder.join("etc/sockeye").exists(), "purged, and there is still /etc/sockeye");
    Ok(())
}

fn rpm(root: &Path, folder: &Path, package: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let package = package.to_str().context("a path in UTF-8")?;
    let query = |arguments: &[&str]| {
        let mut rpm = cargo::command(root, "rpm");
        rpm.args(["--query", "--package"]).args(arguments).arg(package);
        quietly(rpm)
    };
    let config = query(&["--configfiles"])?;
    ensure!(config.trim() == CONFIG, "files of the administrator: {config}");
    let scripts = query(&["--scripts"])?;
    for script in ["postinstall", "preuninstall", "postuninstall"] {
        ensure!(scripts.contains(script), "no {script} in {scripts}");
    }
    let license = query(&["--queryformat", "%{LICENSE} %{NAME}"])?;
    ensure!(license == "Apache-2.0 sockeye", "license and name: {license}");
    let rpm = |arguments: &[&str]| {
        let mut rpm = as_root(root, "rpm");
        rpm.arg("--root").arg(folder);
        // There is no shell in that root.
        quietly({
            rpm.args(arguments);
            rpm
        })
    };
    rpm(&["--install", "--nodeps", "--noscripts", "--ignorearch", package])?;
    installed(root, folder)?;
    rpm(&["--erase", "--nodeps", "--noscripts", "sockeye"])?;
    let left = files(folder)?;
    ensure!(left.is_empty(), "erased, and there are still {left:?}");
    Ok(())
}

/// Modes are right, and the program that was installed works with the file that was installed.
fn installed(root: &Path, folder: &Path) -> Result<()> {
    let there = files(folder)?;
    for path in EXPECTED {
        ensure!(there.iter().any(|it| it == path), "{path} was not installed: {there:?}");
    }
    for path in &there {
        let place = folder.join(path.trim_start_matches('/'));
        let mode = fs::metadata(&place)?.permissions().mode() & 0o7777;
        let right = if path.starts_with("/usr/bin/") { 0o755 } else { 0o644 };
        ensure!(mode == right, "{path} has mode {mode:o}");
    }
    let mut program = cargo::command(root, folder.join("usr/bin/sockeye"));
    program.args(["run", "--print-config", "--config"]);
    program.arg(folder.join(CONFIG.trim_start_matches('/')));
    quietly(program).context("the installed program with the installed file")?;
    Ok(())
}

/// Every blob is what its name says, and everything that is named is there.
fn image(path: &Path) -> Result<()> {
    let mut archive = tar::Archive::new(fs::File::open(path)?);
    let mut entries = BTreeMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        entries.insert(name, bytes);
    }
    for (name, bytes) in &entries {
        if let Some(sum) = name.strip_prefix("blobs/sha256/").filter(|sum| !sum.is_empty()) {
            ensure!(sha256(bytes) == sum, "blob {sum} has another sum");
        }
    }
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).context("JSON of the image");
    let blob = |descriptor: &Value| -> Result<&Vec<u8>> {
        let digest = descriptor["digest"].as_str().context("no digest")?;
        let bytes =
            entries.get(&format!("blobs/{}", digest.replace(':', "/"))).context("no blob")?;
        ensure!(descriptor["size"] == bytes.len(), "{digest} has another size");
        Ok(bytes)
    };
    ensure!(
        json(entries.get("oci-layout").context("no oci-layout")?)?["imageLayoutVersion"] == "1.0.0",
        "oci-layout"
    );
    let index = json(entries.get("index.json").context("no index.json")?)?;
    let manifest = json(blob(&index["manifests"][0])?)?;
    let config = json(blob(&manifest["config"])?)?;
    let mut layer = Vec::new();
    GzDecoder::new(blob(&manifest["layers"][0])?.as_slice()).read_to_end(&mut layer)?;
    let diff = format!("sha256:{}", sha256(&layer));
    ensure!(
        config["rootfs"]["diff_ids"][0] == diff.as_str(),
        "the layer is not the configured one"
    );
    let entry = config["config"]["Entrypoint"][0].as_str().context("no entry point")?;
    let mut layer = tar::Archive::new(layer.as_slice());
    for file in layer.entries()? {
        let file = file?;
        let path = format!("/{}", file.path()?.display());
        if path == entry {
            ensure!(file.header().mode()? == 0o755, "{entry} can't be run");
            return Ok(());
        }
    }
    bail!("no {entry} in the layer")
}

fn bill(path: &Path) -> Result<()> {
    let bill: Value = serde_json::from_slice(&fs::read(path)?)?;
    ensure!(bill["bomFormat"] == "CycloneDX" && bill["specVersion"] == "1.5", "no CycloneDX 1.5");
    let components = bill["components"].as_array().context("no components")?;
    let named = |name: &str| components.iter().find(|component| component["name"] == name);
    let kafka = named("rdkafka").context("rdkafka is linked, and not listed")?;
    ensure!(kafka["hashes"][0]["alg"] == "SHA-256", "rdkafka has no sum");
    ensure!(named("proptest").is_none(), "proptest is listed, and not linked");
    let licensed = |component: &&Value| {
        component["licenses"].as_array().is_some_and(|licenses| !licenses.is_empty())
    };
    let without: Vec<_> =
        components.iter().filter(|it| !licensed(it)).map(|it| &it["name"]).collect();
    ensure!(without.is_empty(), "without a license: {without:?}");
    Ok(())
}

/// The paths of all files below a root, but for what package managers keep there.
fn files(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut next: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(here) = next.pop() {
        for entry in fs::read_dir(&here)? {
            let path = entry?.path();
            let name = format!("/{}", path.strip_prefix(folder)?.display());
            if OF_MANAGERS.iter().any(|theirs| name.starts_with(theirs)) {
            } else if path.is_dir() {
                next.push(path);
            } else {
                found.push(name);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A command as root of a namespace of its own where this is not root.
fn as_root(root: &Path, program: &str) -> Command {
    if sockeye_testkit::netns::is_root() {
        return cargo::command(root, program);
    }
    let mut command = cargo::command(root, "unshare");
    command.args(["--user", "--map-root-user", program]);
    command
}

/// Runs it to its end and returns its output; its complaints are the error.
fn quietly(mut command: Command) -> Result<String> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {}", said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

const WITH_SYSTEMD: &str = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system";
const WITHOUT: &str = "mount -t tmpfs tmpfs /run";
const WORK: &str = "target/package/check";
const OF_MANAGERS: [&str; 7] = [
    "/var/lib/dpkg",
    "/var/lib/rpm",
    "/usr/lib/sysimage",
    "/dpkg.log",
    "/var/log",
    "/root",
    "/var/tmp",
];
/// What packages are about.
const EXPECTED: [&str; 9] = [
    "/etc/sockeye/sockeye.toml",
    "/usr/bin/sockeye",
    "/usr/lib/systemd/system/sockeye.service",
    "/usr/share/bash-completion/completions/sockeye",
    "/usr/share/doc/sockeye/copyright",
    "/usr/share/fish/vendor_completions.d/sockeye.fish",
    "/usr/share/man/man1/sockeye-run.1.gz",
    "/usr/share/man/man1/sockeye.1.gz",
    "/usr/share/zsh/vendor-completions/_sockeye",
];
