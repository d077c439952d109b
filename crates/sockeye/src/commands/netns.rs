//! `sockeye netns`: the namespaces as the daemon sees them.

use anyhow::Context;
use sockeye_netns::{Netns, NetnsFd, Origin, Scanner, sockstat_of};
use sockeye_record::table::{CELL_END, Heading, align, put_text};

use super::print;
use crate::cli::NetnsArgs;
use crate::config::settings;
use crate::exit::{Failure, Status, complain};
use crate::privileges::Privileges;

/// Scans once and prints a table.
pub(crate) fn run(arguments: &NetnsArgs) -> Result<Status, Failure> {
    let privileges = Privileges::current();
    let options = settings::scan(arguments, privileges);
    let home = NetnsFd::open("/proc/thread-self/ns/net")
        .context("our own network namespace can't be read; is /proc mounted?")?;
    let scan = Scanner::new(options).scan();
    let headings = TITLES.map(|(title, right)| Heading { title, right });
    let mut cells = Vec::new();
    for netns in &scan.namespaces {
        put_row(&mut cells, netns, &home);
    }
    print(&align(&headings, &cells))?;
    if let Some(shortfall) = privileges.shortfall().filter(|_| !arguments.own_netns_only) {
        complain(shortfall);
    }
    Ok(Status::Done)
}

fn put_row(cells: &mut Vec<u8>, netns: &Netns, home: &NetnsFd) {
    let inode = netns.id.inode.to_string();
    let found = netns.origins.iter().map(origin).collect::<Vec<_>>().join(" ");
    let pid = netns.pid.map_or_else(String::new, |pid| pid.to_string());
    let container = netns.container.as_ref().map_or_else(String::new, |container| {
        format!("{} {}", container.runtime, container.id.chars().take(12).collect::<String>())
    });
    let [tcp, tcp6, time_wait] = match sockstat_of(netns, home) {
        Ok(stat) => {
            [stat.tcp_inuse, stat.tcp6_inuse, stat.time_wait].map(|count| count.to_string())
        }
        // It may have gone meanwhile, or not be ours to enter.
        Err(_) => ["?", "?", "?"].map(String::from),
    };
    let row = [&*netns.name, &inode, &tcp, &tcp6, &time_wait, &pid, &container, &found];
    for (i, cell) in row.iter().enumerate() {
        if i > 0 {
            cells.push(CELL_END);
        }
        put_text(cells, cell.as_bytes());
    }
    cells.push(b'\n');
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Mount(path) => format!("mount {}", path.display()),
        Origin::Own => "own".into(),
        Origin::Process(pid) => format!("pid {pid}"),
    }
}

const TITLES: [(&str, bool); 8] = [
    ("NAME", false),
    ("INODE", true),
    ("TCP", true),
    ("TCP6", true),
    ("TIME-WAIT", true),
    ("PID", true),
    ("CONTAINER", false),
    ("FOUND", false),
];
