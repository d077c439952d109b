//! `sockeye man`: manual pages, `sockeye.1` and `sockeye-COMMAND.1`.

use anyhow::Context as _;
use clap::Command;

use crate::cli::ManArgs;
use crate::exit::{Failure, Status};

/// Prints one page in roff.
pub(crate) fn run(arguments: &ManArgs) -> Result<Status, Failure> {
    let page = match &arguments.page {
        None => overview(),
        Some(name) => page_of(name)?,
    };
    let mut roff = Vec::new();
    clap_mangen::Man::new(page).render(&mut roff).context("a manual page")?;
    super::print(&roff)?;
    Ok(Status::Done)
}

fn overview() -> Command {
    let mut definition = crate::config::definition().disable_help_subcommand(true);
    definition.build();
    definition
}

fn page_of(name: &str) -> Result<Command, Failure> {
    let definition = overview();
    let found = definition.find_subcommand(name).filter(|found| found.get_name() == name);
    let Some(page) = found else {
        let names: Vec<&str> = definition.get_subcommands().map(Command::get_name).collect();
        return Err(Failure::usage(format!(
            "no command '{name}' to have a page; allowed: {}",
            names.join(", ")
        )));
    };
    // The page's own name has a dash, the way to call it a blank.
    Ok(page.clone().name(format!("sockeye-{name}")).bin_name(format!("sockeye {name}")))
}
