//! `sockeye-brief OPTIONS`, as JSON: connections that live for a moment; says on stdout what was true of each.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};
use sockeye_testkit::brief::{BriefOptions, GO, READY};
use sockeye_testkit::brief_live::prepare;

fn main() -> Result<()> {
    let text = std::env::args().nth(1).context("no options")?;
    let options: BriefOptions = serde_json::from_str(&text).context("options")?;
    let ground = prepare(&options)?;
    let mut out = io::BufWriter::with_capacity(1 << 20, io::stdout().lock());
    out.write_all(READY.as_bytes())?;
    out.flush()?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    if line != GO {
        return Ok(());
    }
    // Written when all is over: a pipe that is full would hold up what has its time.
    let mut all = Vec::new();
    let done = ground.live(&options, |brief| {
        if options.tells {
            all.push(*brief);
        }
    })?;
    for brief in &all {
        serde_json::to_writer(&mut out, brief)?;
        out.write_all(b"\n")?;
    }
    serde_json::to_writer(&mut out, &done)?;
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(())
}
