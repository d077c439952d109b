//! Configuration: flag over environment over file over default, each value with where it came from.

mod file;
mod print;
pub(crate) mod settings;
pub(crate) mod values;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

use clap::parser::ValueSource;
use clap::{ArgMatches, Command as ClapCommand, CommandFactory, FromArgMatches};

use crate::cli::{Cli, Command};
use crate::exit::Failure;

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
    /// Ids of the options that were given as flags.
    flagged: BTreeSet<String>,
    file: Option<ConfigFile>,
}

impl Invocation {
    /// Whether `--print-config` was given.
    pub(crate) fn print_config(&self) -> bool {
        self.matches.get_flag("print_config")
    }
}

/// Reads the command line, the environment and the file.
pub(crate) fn load(arguments: Vec<OsString>) -> Result<Invocation, Failure> {
    let definition = definition(Environment::Read);
    let first = definition.clone().try_get_matches_from(&arguments).map_err(|error| usage(error, None))?;
    let Some((name, given)) = first.subcommand() else {
        return Err(Failure::usage("no command; see sockeye --help"));
    };
    let subcommand = definition.find_subcommand(name).expect("clap matched it").clone();
    let flag = |id: &&str| given.value_source(id) == Some(ValueSource::CommandLine);
    let flagged = given.ids().map(clap::Id::as_str).filter(flag).map(str::to_owned).collect();
    let path = given.get_one::<std::path::PathBuf>("config");
    let file = path.map(|path| ConfigFile::read(path, &definition)).transpose()?;
    let (arguments, sinks) = merge(&arguments, name, given, &subcommand, file.as_ref())?;
    let matches = definition.clone().try_get_matches_from(arguments).map_err(|error| usage(error, None))?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| usage(error, None))?;
    let (_, matches) = matches.subcommand().expect("the same as before");
    let matches = matches.clone();
    Ok(Invocation { command: cli.command, sinks, definition: subcommand, matches, flagged, file })
}

/// Adds values as arguments for the options that no flag has set: lists of the environment, which clap would take for
/// one value, and the file's for what the environment has not set either.
fn merge(
    arguments: &[OsString],
    name: &str,
    given: &ArgMatches,
    subcommand: &ClapCommand,
    file: Option<&ConfigFile>,
) -> Result<(Vec<OsString>, Vec<SinkTable>), Failure> {
    let mut added: Vec<OsString> = Vec::new();
    for argument in subcommand.get_arguments() {
        let key = key_of(argument);
        let flags = |values: &[String]| -> Vec<OsString> {
            values.iter().map(|value| format!("--{key}={value}").into()).collect()
        };
        // Parsed alone first, so that an error names the place.
        let check = |flags: &[OsString], place: &str| {
            let alone = [OsString::from("sockeye"), name.into()].into_iter().chain(flags.iter().cloned());
            let parsed = definition(Environment::Ignored).try_get_matches_from(alone);
            parsed.map(drop).map_err(|error| usage(error, Some(place)))
        };
        let set = set_already(given, argument.get_id().as_str());
        let environment = if LISTS.contains(&key.as_str()) { environment_list(&key) } else { None };
        if let Some(values) = file.and_then(|file| file.values(&key)) {
            let flags = flags(values);
            check(&flags, &file.map_or(String::new(), |file| file.path().display().to_string()))?;
            if !set && environment.is_none() {
                added.extend(flags);
            }
        }
        if let Some(values) = environment
            && !set
        {
            let flags = flags(&values);
            check(&flags, &variable_of(&key))?;
            added.extend(flags);
        }
    }
    let named = set_already(given, "dest") || environment_list("dest").is_some();
    let sinks = if named { Vec::new() } else { file.map_or(Vec::new(), |file| file.sinks().to_vec()) };
    let place = arguments.iter().position(|argument| argument == OsStr::new(name)).map_or(arguments.len(), |at| at + 1);
    let mut merged = arguments.to_vec();
    merged.splice(place..place, added);
    Ok((merged, sinks))
}

/// The values of a repeatable option in the environment, separated by blanks.
fn environment_list(key: &str) -> Option<Vec<String>> {
    let text = std::env::var(variable_of(key)).ok()?;
    let values: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    (!values.is_empty()).then_some(values)
}

fn variable_of(key: &str) -> String {
    format!("SOCKEYE_{}", key.replace('-', "_").to_uppercase())
}

/// Set by a flag or by the environment.
fn set_already(matches: &ArgMatches, id: &str) -> bool {
    let source = matches.try_contains_id(id).ok().and_then(|_| matches.value_source(id));
    matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
}

/// The option's name in the file and, in capitals, in the environment.
fn key_of(argument: &clap::Arg) -> String {
    argument.get_id().as_str().replace('_', "-")
}

/// Whether options may come from the environment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Environment {
    Read,
    Ignored,
}

/// The command line with what only the running host knows: environment variables' names and the hostname.
fn definition(environment: Environment) -> ClapCommand {
    let hostname = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    Cli::command().mut_subcommands(|subcommand| {
        subcommand.mut_args(|argument| {
            let id = argument.get_id().as_str().to_owned();
            let argument = match id.as_str() {
                "hostname" => argument.default_value(hostname.clone()).hide_default_value(true),
                _ => argument,
            };
            match id.as_str() {
                "help" | "version" | "print_config" | "input" => argument,
                _ if environment == Environment::Ignored => argument,
                _ if LISTS.contains(&key_of(&argument).as_str()) => argument,
                _ => argument.env(variable_of(&id)).hide_env_values(true),
            }
        })
    })
}

/// One line: what is wrong, and what is allowed.
fn usage(error: clap::Error, place: Option<&str>) -> Failure {
    use clap::error::ErrorKind;
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        return Failure::Help(error);
    }
    let text = error.to_string();
    let parts = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let parts = parts.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"));
    let line = parts.collect::<Vec<_>>().join("; ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    Failure::Usage(match place {
        Some(place) => format!("{place}: {line}"),
        None => line.to_owned(),
    })
}

/// Options that can be given several times.
const LISTS: [&str; 2] = ["dest", "netns-dir"];
