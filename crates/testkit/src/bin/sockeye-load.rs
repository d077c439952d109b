//! `sockeye-load`: opens connections, says on stdout what is true of them, and holds them until stdin ends.

use std::io::{self, Read as _, Write as _};

use anyhow::Result;
use sockeye_testkit::generate::generate;
use sockeye_testkit::load::{LoadOptions, Ready};

fn main() -> Result<()> {
    let options = LoadOptions::from_arguments(std::env::args().skip(1))?;
    let load = generate(&options)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    for socket in load.truth() {
        serde_json::to_writer(&mut out, socket)?;
        out.write_all(b"\n")?;
    }
    serde_json::to_writer(&mut out, &Ready { ready: load.truth().len() })?;
    out.write_all(b"\n")?;
    out.flush()?;

    io::stdin().lock().read_to_end(&mut Vec::new())?;
    Ok(())
}
