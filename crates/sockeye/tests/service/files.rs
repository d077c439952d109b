//! `--print-default-config` and `check-config`.

use std::fs;

use crate::common::{output, sockeye, text};

fn default_file() -> String {
    text(&output(&["run", "--print-default-config"]).stdout)
}

/// What `--print-config` says without where it came from.
fn values(file: Option<&str>) -> Vec<String> {
    let mut command = sockeye();
    command.args(["run", "--print-config"]);
    let directory = tempfile::tempdir().unwrap();
    if let Some(file) = file {
        let path = directory.path().join("s.toml");
        fs::write(&path, file).unwrap();
        command.arg("--config").arg(path);
    }
    let output = command.output().unwrap();
    assert_eq!((text(&output.stderr), output.status.code()), (String::new(), Some(0)));
    let lines = text(&output.stdout);
    lines
        .lines()
        .map(|line| line.rsplit_once(" # ").map_or(line, |it| it.0).trim().into())
        .collect()
}

#[test]
fn the_default_file_sets_nothing_and_with_everything_set_it_is_the_default_all_the_same() {
    let file = default_file();
    assert_eq!(values(Some(&file)), values(None));
    let set: Vec<&str> = file
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| line.starts_with(|char: char| char.is_ascii_lowercase()))
        .collect();
    assert!(set.len() > 40, "{}", set.len());
    assert_eq!(values(Some(&set.join("\n"))), values(None));
}

#[test]
fn the_default_file_has_every_option_once_with_what_it_does() {
    let file = default_file();
    let keys: Vec<String> = values(None)
        .iter()
        .filter_map(|line| line.trim_start_matches("# ").split_once(" = "))
        .map(|(key, _)| key.to_owned())
        .collect();
    assert!(keys.len() > 60);
    for key in keys {
        let lines: Vec<usize> = (0..)
            .zip(file.lines())
            .filter(|(_, line)| {
                let line = line.trim_start_matches("# ").trim_start_matches('#');
                line.strip_prefix(&key).is_some_and(|rest| rest.starts_with(" = "))
            })
            .map(|(number, _)| number)
            .collect();
        let alone: Vec<_> = lines
            .iter()
            .filter(|at| {
                !file.lines().nth(**at).unwrap().contains("\"file:/var")
                    && !file.lines().nth(**at).unwrap().contains("\"kafka:broker")
            })
            .collect();
        assert!(!alone.is_empty(), "{key}");
        let before = file.lines().nth(alone[0] - 1).unwrap();
        assert!(before.starts_with("# ") && before.ends_with(['.', ':']), "{key}: {before}");
    }
    let longest = file.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(longest <= 120, "{longest}");
}

#[test]
fn a_file_is_right_or_the_place_that_is_wrong_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let check = |name: &str, content: &str| {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        let output = sockeye().arg("check-config").arg(&path).output().unwrap();
        let place = directory.path().display().to_string() + "/";
        let all = [output.stdout, output.stderr].concat();
        (output.status.code(), text(&all).replace(&place, ""))
    };
    assert_eq!(check("a.toml", &default_file()), (Some(0), "a.toml is right\n".into()));
    for (content, said) in [
        (
            "jitter = 101",
            "sockeye: b.toml: invalid value '101' for '--jitter <PERCENT>': allowed: a whole number from 0 to 100\n",
        ),
        ("x = 1\n", "sockeye: b.toml: unknown key \"x\"; allowed: "),
        ("filter = \"dport = \"", "sockeye: b.toml: "),
        (
            "dest = [\"null\", \"stdout\", \"stdout\"]",
            "sockeye: destination stdout is named twice; allowed: once\n",
        ),
        (
            "memory-limit = \"64MiB\"",
            "sockeye: --memory-limit 67108864 is less than these settings may take: 64.0 MiB for queues, ",
        ),
        ("timeout = \"10s\"", "sockeye: --timeout 10s (b.toml) is not below --frequency 10s"),
    ] {
        let (code, all) = check("b.toml", content);
        assert_eq!(code, Some(2), "{content}: {all}");
        assert!(all.starts_with(said), "{content}: {all}");
    }
    let missing = output(&["check-config", "/not/there.toml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(text(&missing.stderr).starts_with("sockeye: /not/there.toml: "));
}

#[test]
fn settings_that_fit_into_the_limit_of_memory_are_taken() {
    let fits = ["run", "--print-config", "--memory-limit", "1GiB", "--max-threads", "4"];
    assert_eq!(output(&fits).status.code(), Some(0));
    let run = ["run", "--dest", "null", "--max-loops", "1", "--own-netns-only", "--listen=off"];
    let refused = output(&[&run[..], &["--memory-limit", "32MiB"]].concat());
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    let allowed = said.split_once("allowed: ").unwrap().1.split(' ').next().unwrap().to_owned();
    let taken = output(&[&run[..], &["--memory-limit", &allowed]].concat());
    assert_eq!(taken.status.code(), Some(0), "{}", text(&taken.stderr));
}
