//! What the profile was made of: the compiler, and the code of the crates whose work it describes.
//!
//! A function whose code has changed is built as if there were no profile, and nothing else says so.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::rust_code::code_of;
use crate::{cargo, dist};

/// benches/profile.toml.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    /// `rustc --version`.
    rustc: String,
    /// Each hot file, and a sum of its code: comments and tests are not part of it.
    code: BTreeMap<String, String>,
}

/// Writes the stamp of the sources as they are.
pub(crate) fn write(root: &Path) -> Result<()> {
    let text = toml::to_string(&now(root)?).context("the stamp")?;
    fs::write(root.join(STAMP), format!("{HEAD}{text}")).context(STAMP)
}

/// Why the profile should be made again; a line each, none when it matches or when there is none.
///
/// # Errors
/// A profile without a stamp, or sources that can't be read.
pub(crate) fn warnings(root: &Path) -> Result<Vec<String>> {
    if !root.join(dist::PROFILE).is_file() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(root.join(STAMP)).context(STAMP)?;
    let then: Stamp = toml::from_str(&text).context(STAMP)?;
    Ok(differences(&then, &now(root)?))
}

fn differences(then: &Stamp, now: &Stamp) -> Vec<String> {
    let mut warnings = Vec::new();
    if then.rustc != now.rustc {
        let (then, now) = (&then.rustc, &now.rustc);
        warnings.push(format!("{}: made with {then}, and this is {now}", dist::PROFILE));
    }
    let changed: Vec<&str> = now
        .code
        .iter()
        .filter(|(file, sum)| then.code.get(*file) != Some(sum))
        .map(|(file, _)| file.as_str())
        .collect();
    if !changed.is_empty() {
        warnings.push(format!(
            "{}: {} of {} hot files have changed since: {}; `cargo xtask pgo` makes it again",
            dist::PROFILE,
            changed.len(),
            now.code.len(),
            changed.join(", ")
        ));
    }
    warnings
}

fn now(root: &Path) -> Result<Stamp> {
    let rustc = cargo::command(root, "rustc").arg("--version").output().context("rustc")?;
    let mut stamp = Stamp {
        rustc: String::from_utf8_lossy(&rustc.stdout).trim().to_owned(),
        code: BTreeMap::new(),
    };
    for folder in HOT {
        collect(root, &root.join(folder), &mut stamp.code)?;
    }
    Ok(stamp)
}

fn collect(root: &Path, folder: &Path, code: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, code)?;
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("tests.rs")
        {
            let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            code.insert(name, sum_of(&fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

/// A sum of the words of the code before the tests. FNV-1a: the same on every machine, and nobody wants to deceive it.
fn sum_of(source: &str) -> String {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or(source);
    // Those that are in a file of their own are declared at the top.
    let mut lines = code.lines().peekable();
    let mut code = String::new();
    while let Some(line) = lines.next() {
        if line != "#[cfg(test)]" || lines.next_if(|next| next.ends_with("mod tests;")).is_none() {
            code.push_str(line);
            code.push('\n');
        }
    }
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for word in code_of(&code).split_whitespace() {
        for byte in word.bytes().chain([b' ']) {
            sum = (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{sum:016x}")
}

/// Where the work of a poll is done.
const HOT: [&str; 3] = ["crates/wire/src", "crates/record/src", "crates/source/src/sockdiag"];
const STAMP: &str = "benches/profile.toml";
const HEAD: &str = "# What default.profdata was made of. Written by `cargo xtask pgo`.\n\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_blanks_and_tests_do_not_change_the_sum_and_code_does() {
        let sum = sum_of("fn f() { g(1) }\n");
        assert_eq!(sum_of("// why\nfn f() {\n    g(1)\n}\n\n#[cfg(test)]\nmod tests {}\n"), sum);
        for declared in ["mod tests;", "pub(crate) mod tests;", "pub(super) mod tests;"] {
            let text = |number| format!("#[cfg(test)]\n{declared}\n\nfn f() {{ g({number}) }}\n");
            assert_eq!(sum_of(&text(1)), sum);
            assert_ne!(sum_of(&text(2)), sum);
        }
        assert_ne!(sum_of("fn f() { g(2) }\n"), sum);
        assert_eq!(sum.len(), 16);
    }

    #[test]
    fn files_of_tests_are_no_hot_files() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("crates/wire");
        fs::create_dir_all(folder.join("dump")).unwrap();
        for file in ["dump/mod.rs", "dump/tests.rs", "notes.txt"] {
            fs::write(folder.join(file), "fn f() {}").unwrap();
        }
        let mut code = BTreeMap::new();
        collect(root.path(), &folder, &mut code).unwrap();
        assert_eq!(code.into_keys().collect::<Vec<_>>(), ["crates/wire/dump/mod.rs"]);
    }

    #[test]
    fn what_has_changed_is_named() {
        let code = |sums: &[(&str, &str)]| {
            sums.iter().map(|(file, sum)| ((*file).to_owned(), (*sum).to_owned())).collect()
        };
        let then = Stamp { rustc: "rustc 1".to_owned(), code: code(&[("a", "1"), ("b", "2")]) };
        assert_eq!(differences(&then, &then), [""; 0]);
        let now = Stamp {
            rustc: "rustc 2".to_owned(),
            code: code(&[("a", "1"), ("b", "3"), ("c", "4")]),
        };
        assert_eq!(
            differences(&then, &now),
            [
                "default.profdata: made with rustc 1, and this is rustc 2",
                "default.profdata: 2 of 3 hot files have changed since: b, c; `cargo xtask pgo` makes it again",
            ]
        );
    }

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let stamp = Stamp {
            rustc: "rustc 1.95.0".to_owned(),
            code: [("crates/wire/src/lib.rs".to_owned(), "00ff".to_owned())].into(),
        };
        let text = format!("{HEAD}{}", toml::to_string(&stamp).unwrap());
        assert_eq!(toml::from_str::<Stamp>(&text).unwrap(), stamp);
    }
}
