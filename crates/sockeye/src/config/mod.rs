//! Configuration: flag over environment over file over default, each value with where it came from.

pub(crate) mod changes;
mod checked;
mod default_file;
mod environment;
mod file;
pub(crate) mod kafka;
#[cfg(test)]
mod nix_options;
mod print;
pub(crate) mod settings;
pub(crate) mod values;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command as ClapCommand, CommandFactory, FromArgMatches};

use crate::cli::{Cli, Command};
use crate::exit::Failure;

pub(crate) use changes::Changes;
pub(crate) use checked::Checked;
pub(crate) use default_file::default_file;
pub(crate) use file::{ConfigFile, SinkTable};
pub(crate) use print::print;

/// A command with its options, from wherever they came.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) command: Command,
    /// Tables `[[sink]]` of the file, unless destinations were named otherwise.
    pub(crate) sinks: Vec<SinkTable>,
    /// The definition of the subcommand and what was matched, for `--print-config`.
    definition: ClapCommand,
    matches: ArgMatches,
    /// By key; one that is missing has its default.
    origins: BTreeMap<String, Origin>,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag,
    Environment,
    File(PathBuf),
    Default,
}

impl Origin {
    /// The place, for `--print-config` and for messages.
    pub(crate) fn of(&self, key: &str) -> String {
        match self {
            Self::Flag => format!("--{key}"),
            Self::Environment => environment::variable_of(key),
            Self::File(path) => path.display().to_string(),
            Self::Default => "default".into(),
        }
    }
}

impl Invocation {
    /// Whether `--print-config` was given.
    pub(crate) fn print_config(&self) -> bool {
        // Not every command has options that a file may set.
        matches!(self.matches.try_get_one("print_config"), Ok(Some(true)))
    }

    /// The file, when there is one.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        config_file(&self.matches)
    }

    /// Whether `--print-default-config` was given.
    pub(crate) fn print_default_config(&self) -> bool {
        matches!(self.matches.try_get_one("print_default_config"), Ok(Some(true)))
    }

    /// Where an option's value came from.
    pub(crate) fn origin(&self, key: &str) -> &Origin {
        self.origins.get(key).unwrap_or(&Origin::Default)
    }
}

/// Reads the command line, the environment and the file.
pub(crate) fn load(arguments: &[OsString]) -> Result<Invocation, Failure> {
    let definition = definition();
    let parse = |arguments: &[OsString], place: Option<&str>| {
        let parsed = definition.clone().try_get_matches_from(arguments);
        parsed.map_err(|error| usage(error, arguments, place))
    };
    let flags = parse(arguments, None)?;
    let (name, given) = flags.subcommand().expect("clap requires a command");
    let subcommand = definition.find_subcommand(name).expect("clap matched it").clone();
    let file = config_file(given).map(|path| ConfigFile::read(&path, &definition)).transpose()?;

    let (mut origins, mut added) = (BTreeMap::new(), Vec::new());
    for option in subcommand.get_arguments().filter(|argument| is_setting(argument)) {
        let key = key_of(option);
        // Parsed alone first, so that an error names the place.
        let check = |flags: &[OsString], origin: &Origin| {
            let alone = [OsString::from("sockeye"), name.into()];
            parse(&[&alone, flags].concat(), Some(&origin.of(&key))).map(drop)
        };
        let from_file = match &file {
            Some(file) => {
                file.flags(option)?.map(|flags| (Origin::File(file.path().into()), flags))
            }
            None => None,
        };
        // All of the file, used or not: it is right or it is wrong.
        if let Some((origin, flags)) = &from_file {
            check(flags, origin)?;
        }
        if given.value_source(option.get_id().as_str()) == Some(ValueSource::CommandLine) {
            origins.insert(key, Origin::Flag);
        } else if let Some(flags) = environment::flags(option)? {
            check(&flags, &Origin::Environment)?;
            origins.insert(key, Origin::Environment);
            added.extend(flags);
        } else if let Some((origin, flags)) = from_file {
            origins.insert(key, origin);
            added.extend(flags);
        }
    }
    let has_dest = subcommand.get_arguments().any(|argument| argument.get_id() == "dest");
    let sinks = match file {
        Some(file) if has_dest && !origins.contains_key("dest") => file.into_sinks(),
        _ => Vec::new(),
    };

    let merged = insert_behind(arguments, name, added);
    let matches = parse(&merged, None)?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| usage(error, &merged, None))?;
    let (_, matches) = matches.subcommand().expect("the same as before");
    let matches = matches.clone();
    let invocation =
        Invocation { command: cli.command, sinks, definition: subcommand, matches, origins };
    invocation.check()?;
    Ok(invocation)
}

/// The file that the environment names.
pub(crate) fn file_of_environment() -> Option<PathBuf> {
    environment::value("config").map(PathBuf::from)
}

/// The path of the file, by flag or environment; none for a command that takes none.
fn config_file(given: &ArgMatches) -> Option<PathBuf> {
    let flag = given.try_get_one::<PathBuf>("config").ok()?.cloned();
    flag.or_else(file_of_environment)
}

/// The command line with more options of its subcommand: in front of those that are there, and of any `--`.
fn insert_behind(arguments: &[OsString], name: &str, added: Vec<OsString>) -> Vec<OsString> {
    // Nothing can stand between the program's name, whatever that is, and the subcommand's but flags.
    let behind_program = arguments.iter().skip(1).position(|argument| argument == OsStr::new(name));
    let place = behind_program.map_or(arguments.len(), |position| position + 2);
    let mut merged = arguments.to_vec();
    merged.splice(place..place, added);
    merged
}

/// Whether it is an option that the environment and a file may set.
fn is_setting(argument: &Arg) -> bool {
    let no_setting = ["config", "print_config", "print_default_config", "help", "version"];
    argument.get_long().is_some() && !no_setting.contains(&argument.get_id().as_str())
}

/// The option's name in the file and, in capitals, in the environment.
fn key_of(argument: &Arg) -> String {
    argument.get_id().as_str().replace('_', "-")
}

/// Whether it can be given several times.
fn is_repeatable(argument: &Arg) -> bool {
    matches!(argument.get_action(), clap::ArgAction::Append)
}

/// Whether its one value is several words with commas between them.
fn has_commas(argument: &Arg) -> bool {
    argument.get_value_names().into_iter().flatten().any(|name| name == "LIST")
}

/// The command line with what only the running host knows, and with what is the same for all commands.
pub(crate) fn definition() -> ClapCommand {
    let hostname = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_default();
    Cli::command().mut_subcommands(|subcommand| {
        let takes_file = subcommand.get_arguments().any(|argument| argument.get_id() == "config");
        let subcommand = if takes_file { subcommand.after_help(AFTER_HELP) } else { subcommand };
        subcommand.mut_args(|argument| {
            let names = argument.get_value_names().into_iter().flatten();
            // A number below zero is a wrong value and not an unknown option.
            let measured =
                names.map(clap::builder::Str::as_str).any(|name| MEASURES.contains(&name));
            let argument = if measured { argument.allow_hyphen_values(true) } else { argument };
            match argument.get_id().as_str() {
                "hostname" => argument.default_value(hostname.clone()).hide_default_value(true),
                _ => argument,
            }
        })
    })
}

/// One line: what is wrong, and what is allowed.
fn usage(error: clap::Error, arguments: &[OsString], place: Option<&str>) -> Failure {
    use clap::error::ErrorKind;
    let commands =
        || definition().get_subcommands().map(|it| it.get_name().to_owned()).collect::<Vec<_>>();
    let mut line = match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => return Failure::Help(error),
        ErrorKind::InvalidUtf8 => {
            let wrong = arguments.iter().filter(|argument| argument.to_str().is_none());
            let wrong = wrong.map(|argument| format!("'{}'", Path::new(argument).display()));
            format!("invalid UTF-8 in {}; allowed: UTF-8", wrong.collect::<Vec<_>>().join(", "))
        }
        _ => one_line(&error.to_string()),
    };
    if error.kind() == ErrorKind::InvalidSubcommand {
        line = format!("{line}; allowed: {}", commands().join(", "));
    } else if !line.contains("allowed: ") && !line.contains("near: ") {
        let first = arguments.get(1).and_then(|name| name.to_str()).unwrap_or_default();
        let command = commands().into_iter().find(|name| name == first);
        let command = command.map_or(String::new(), |name| format!(" {name}"));
        line = format!("{line}; see sockeye{command} --help");
    }
    Failure::Usage(match place {
        Some(place) => format!("{place}: {line}"),
        None => line,
    })
}

/// clap's text without what stands around the message.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    // No word behind snapshot begins with a dash.
    let lines = lines.filter(|line| !line.starts_with("tip: to pass '"));
    let lines = lines.take_while(|line| {
        !line.starts_with("Usage:") && !line.starts_with("For more information")
    });
    let lines = lines.map(|line| {
        let values =
            line.strip_prefix("[possible values: ").and_then(|line| line.strip_suffix(']'));
        values.map_or(line.to_owned(), |values| format!("allowed: {values}"))
    });
    let line = lines.collect::<Vec<_>>().join("; ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

/// Names of values that are numbers.
const MEASURES: [&str; 5] = ["DURATION", "PERCENT", "N", "BYTES", "NICE"];

const AFTER_HELP: &str = "What is --jitter 10 here is jitter = 10 in the file of --config and SOCKEYE_JITTER=10 in the \
    environment, where an empty value counts as none; so for every option. A flag wins over the environment, which wins \
    over the file.";

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn options_are_added_behind_the_subcommand_whatever_else_has_its_name() {
        for (line, merged) in [
            (&["sockeye", "run"][..], &["sockeye", "run", "+"][..]),
            (&["run", "run", "--label", "run"], &["run", "run", "+", "--label", "run"]),
            (&["decode", "decode", "--", "decode"], &["decode", "decode", "+", "--", "decode"]),
        ] {
            let name = line[1];
            assert_eq!(insert_behind(&words(line), name, words(&["+"])), words(merged));
        }
    }

    #[test]
    fn the_definition_is_one_that_clap_accepts() {
        definition().debug_assert();
    }
}
