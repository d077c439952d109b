//! `--print-default-config`: every option with its default and what it does, as a TOML file in which nothing is set.

use std::fmt::Write;

use clap::Arg;
use toml::Value;

use super::changes::LIVE;
use super::print::toml_value;
use super::{Invocation, is_repeatable, is_setting, key_of};

/// The text: made of what `--help` says, so that it can't differ.
pub(crate) fn default_file(invocation: &Invocation) -> String {
    let mut text = BEGIN.to_owned();
    let settings = || invocation.definition.get_arguments().filter(|argument| is_setting(argument));
    let mut headings: Vec<&str> = Vec::new();
    for heading in settings().filter_map(Arg::get_help_heading) {
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    for heading in headings {
        // A String takes every write, here and below.
        let _ = writeln!(text, "\n\n## {heading}");
        for option in settings().filter(|option| option.get_help_heading() == Some(heading)) {
            text.push('\n');
            put_option(&mut text, option);
        }
    }
    text.push_str(END);
    text
}

fn put_option(text: &mut String, option: &Arg) {
    let key = key_of(option);
    let help = option.get_long_help().or_else(|| option.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    let paragraphs = help.split("\n\n");
    for (number, paragraph) in paragraphs.enumerate() {
        if number > 0 {
            text.push_str("#\n");
        }
        // The short form comes without its full stop.
        let stop = if paragraph.ends_with(['.', ':']) { "" } else { "." };
        put_wrapped(text, &format!("{paragraph}{stop}"));
    }
    if LIVE.contains(&key.as_str()) {
        text.push_str("# SIGHUP changes it.\n");
    }
    let defaults: Vec<String> =
        option.get_default_values().iter().map(|it| it.to_string_lossy().into_owned()).collect();
    let _ = match defaults.as_slice() {
        // That is only known where it runs.
        [_] if key == "hostname" => writeln!(text, "# {key} = TEXT, by default the host's name"),
        [] => writeln!(text, "# {key} = {}, by default not set", value_name(option)),
        [default] if !is_repeatable(option) => writeln!(text, "#{key} = {}", toml_value(default)),
        _ => {
            let all = defaults.into_iter().map(Value::String).collect();
            writeln!(text, "#{key} = {}", Value::Array(all))
        }
    };
}

fn value_name(option: &Arg) -> String {
    let names = option.get_value_names().unwrap_or_default();
    names.first().map(ToString::to_string).unwrap_or_default()
}

fn put_wrapped(text: &mut String, paragraph: &str) {
    let mut width = 0;
    for word in paragraph.split_whitespace() {
        let length = word.chars().count();
        if width == 0 || width + 1 + length > WIDTH {
            text.push_str(if width == 0 { "# " } else { "\n# " });
            width = length + 2;
        } else {
            text.push(' ');
            width += 1 + length;
        }
        text.push_str(word);
    }
    text.push('\n');
}

const WIDTH: usize = 100;

const BEGIN: &str = "\
# Sockeye: every option of `sockeye run`, what it does, and its default.
#
# Nothing is set in this file. Take the # from the front of a key to set it. A flag (--jitter 10) or a variable
# (SOCKEYE_JITTER=10) goes before what is said here. `sockeye check-config FILE` says whether a file is right,
# `sockeye run --config FILE --print-config` what comes of it. SIGHUP reads the file again, checks it, and changes what
# can change while the daemon runs; when something is wrong, the old one stays in force, and the log says what.
";

const END: &str = "

## Destinations that differ in more than their place

# Instead of dest above: a table for each, at the end of the file. What it does not say is as above.
# It may have: dest, marshal, columns, humanize, queue-bytes, file-rotate-bytes, file-rotate-age, file-zstd, and
# everything about Kafka.
#
# [[sink]]
# dest = \"file:/var/log/sockeye/%Y%m%dT%H.pb\"
# marshal = \"protobufList\"
# file-zstd = true
#
# [[sink]]
# dest = \"kafka:broker-1:9092,broker-2:9092\"
# topic = \"xtcp\"
";
