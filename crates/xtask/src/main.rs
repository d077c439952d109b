//! Developer commands: `cargo xtask quick|ci|gen|capture|kafka|layers|bench|instructions|pgo|dist|package`.

#![forbid(unsafe_code)]

mod bench;
mod bench_alone;
mod bench_cases;
mod bench_child;
mod bench_closed;
mod bench_compare;
mod bench_kafka;
mod bench_load;
mod bench_machine;
mod bench_polls;
mod bench_programs;
mod bench_sample;
mod bench_sandbox;
mod bench_steal;
mod bench_table;
mod capture;
mod capture_sockets;
mod cargo;
mod ci;
mod dist;
mod gen_clickhouse;
mod gen_columns;
mod generate;
mod instructions;
mod instructions_file;
mod kafka;
mod layer_dependencies;
mod layer_sources;
mod layer_table;
mod layers;
mod leftovers;
mod nix;
mod package;
mod pgo;
mod pgo_stamp;
mod prerequisites;
mod processor;
mod quick;
mod root_tests;
mod rust_code;
mod steps;
mod tally;
mod workflows;
mod zig;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

/// Developer commands of Sockeye.
#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The loop at the desk: format, clippy, layers, generated files, and the tests that need no root.
    Quick,
    /// Everything: what the tests need, `quick`, and the tests that need root.
    Ci,
    /// Writes what is made from the table of columns: the .proto file, prost's types, docs/COLUMNS.md, docs/clickhouse.
    Gen {
        /// Changes nothing, and fails when a file is not what would be written.
        #[arg(long)]
        check: bool,
    },
    /// Makes a capture of this kernel: netlink messages of 100 sockets, and what `ss` says of the same messages.
    Capture {
        /// Where the folder of this kernel goes. Default: crates/testkit/captures.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// A real Apache Kafka on 127.0.0.1, for trying things out; `KAFKA_BOOTSTRAP` names another one.
    Kafka {
        #[command(subcommand)]
        command: Kafka,
    },
    /// Checks the layer table of docs/ARCHITECTURE.md against the crates.
    Layers,
    /// Measures polls against drains in namespaces of its own, prints a table, and writes benches/RESULTS.md.
    Bench(bench::BenchArguments),
    /// Counts the instructions of a row, and fails where they are not those of benches/instructions.toml.
    Instructions {
        /// Writes what was counted.
        #[arg(long)]
        bless: bool,
    },
    /// Makes default.profdata: builds with counters, polls what `bench` polls, and merges.
    Pgo(pgo::PgoArguments),
    /// Builds target/dist/sockeye with that profile, static binaries, and their packages in target/packages.
    Dist(dist::DistArguments),
    /// Makes packages of a program that is built already.
    Package(package::PackageArguments),
}

#[derive(Subcommand)]
enum Kafka {
    /// Fetches Kafka once (by Maven, to target/kafka), starts a broker that stays, and prints its address.
    Up {
        /// The port, if it is free; else another one.
        #[arg(long, default_value_t = 9092)]
        port: u16,
    },
    /// Stops it. Its data stays in target/kafka/up.
    Down,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().context("the top folder of the repository")?;
    match command {
        Command::Quick => quick::quick(&root),
        Command::Ci => ci::ci(&root),
        Command::Gen { check } => generate::generate(&root, check),
        Command::Capture { out } => capture::capture(&root, out),
        Command::Kafka { command: Kafka::Up { port } } => kafka::up(port),
        Command::Kafka { command: Kafka::Down } => kafka::down(&root),
        Command::Layers => layers::layers(&root),
        Command::Bench(arguments) => bench::bench(&root, &arguments),
        Command::Instructions { bless } => instructions::instructions(&root, bless),
        Command::Pgo(arguments) => pgo::pgo(&root, &arguments),
        Command::Dist(arguments) => dist::dist(&root, &arguments),
        Command::Package(arguments) => package::package(&root, &arguments),
    }
}
