//! SHA256SUMS, as `sha256sum --check` reads it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

/// Writes `SHA256SUMS` of files in one folder, and returns its path.
///
/// # Errors
/// A file can't be read.
pub(crate) fn write(folder: &Path, files: &[PathBuf]) -> Result<PathBuf> {
    let mut lines = Vec::new();
    for file in files {
        let name = file.file_name().context("a file has a name")?.to_string_lossy();
        let bytes = fs::read(file).with_context(|| file.display().to_string())?;
        lines.push((name.clone().into_owned(), format!("{}  {name}\n", sha256(&bytes))));
    }
    lines.sort();
    let path = folder.join("SHA256SUMS");
    fs::write(&path, lines.into_iter().map(|(_, line)| line).collect::<String>())?;
    Ok(path)
}

/// In small hexadecimal letters.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        // A String takes every write.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_the_standard() {
        assert_eq!(
            sha256(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
