//! The files of Apache Kafka: from Maven Central, once, below `target/kafka`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::{Flock, FlockArg};

/// The release of Kafka that tests run.
pub const VERSION: &str = "4.1.1";

/// The folder of everything about Kafka below the repository's `target`.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/kafka")
}

/// The folder of Kafka's jars, which Maven fetches if they are not there. Callers at the same time wait for one of them.
///
/// # Errors
/// There is no `mvn`, or it could not fetch them; its output is part of the error.
pub fn libraries() -> Result<PathBuf> {
    fs::create_dir_all(folder()).context("target/kafka")?;
    let folder = folder().canonicalize()?;
    let libraries = folder.join(VERSION);
    let lock = File::create(folder.join("download.lock")).context("the lock of the download")?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    if !libraries.is_dir() {
        fetch(&folder, &libraries)?;
    }
    Ok(libraries)
}

/// Into a folder of another name first: what has the right name is complete.
fn fetch(folder: &Path, libraries: &Path) -> Result<()> {
    let (project, partial) = (folder.join("pom.xml"), folder.join("partial"));
    fs::write(&project, PROJECT.replace("VERSION", VERSION))?;
    let _ = fs::remove_dir_all(&partial);
    let output = Command::new("mvn")
        .args(["--quiet", "--batch-mode", "--file"])
        .arg(&project)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", partial.display()))
        .output()
        .context("running mvn, which fetches Kafka (Debian and Ubuntu: apt-get install maven)")?;
    ensure!(
        output.status.success(),
        "mvn could not fetch Kafka: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    fs::rename(&partial, libraries).context("the folder of Kafka's jars")
}

/// The server, its tools without what only Kafka Connect needs, and a logger for both.
const PROJECT: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>sockeye</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>VERSION</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka-tools</artifactId>
      <version>VERSION</version>
      <exclusions>
        <exclusion><groupId>org.apache.kafka</groupId><artifactId>connect-runtime</artifactId></exclusion>
        <exclusion><groupId>org.apache.kafka</groupId><artifactId>connect-json</artifactId></exclusion>
      </exclusions>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"#;
