//! `sockeye-drain`: dumps every TCP socket of a namespace again and again, and throws the bytes away.
//!
//! What is left of a poll when nothing is done with the answer: a line for each dump says what it cost. `--every-ms` gives
//! it the rhythm of a poll, so that caches and the processor's clock are as warm for one as for the other.

#![forbid(unsafe_code)]

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use sockeye_benches::request::drain;
use sockeye_sys::{DiagSocket, clock};

fn main() -> Result<()> {
    let (mut loops, mut every) = (1_u32, Duration::ZERO);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} has no value"))?;
        match name.as_str() {
            "--loops" => loops = value.parse().context("--loops")?,
            "--every-ms" => every = Duration::from_millis(value.parse().context("--every-ms")?),
            _ => bail!("unknown option {name}; allowed: --loops, --every-ms"),
        }
    }
    let socket = DiagSocket::open(Duration::from_mins(1))?;
    let mut buffer = vec![0; 32 * 1024];
    let mut next = Instant::now();
    let mut told = 0;
    for seq in 1..=loops {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        next += every;
        let mut bytes = 0;
        drain(&socket, seq, &mut buffer, |chunk| bytes += chunk.len())?;
        let now = clock::process_cpu_ns();
        eprintln!("drained bytes={bytes} cpu_us={}", (now - told) / 1000);
        told = now;
    }
    Ok(())
}
