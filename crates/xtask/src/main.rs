//! Developer commands.

mod gen_columns;
mod generate;

use std::path::PathBuf;

use anyhow::Result;

fn main() -> Result<()> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    generate::generate(&root, std::env::args().any(|argument| argument == "--check"))
}
