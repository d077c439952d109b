//! `sockeye-drain`: dumps every TCP socket of a namespace again and again, and throws the bytes away.
//!
//! What is left of a poll when nothing is done with the answer: a line for each dump says what it cost. `--every-ms` gives
//! it the rhythm of a poll, so that caches and the processor's clock are as warm for one as for the other. `--readers` cuts
//! the namespace by its ports, and has so many threads read a part each.

#![forbid(unsafe_code)]

use std::num::NonZeroU16;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use sockeye_benches::parts;
use sockeye_benches::request::drain;
use sockeye_sys::{DiagSocket, clock};

fn main() -> Result<()> {
    let (mut loops, mut every, mut readers) = (1_u32, Duration::ZERO, NonZeroU16::MIN);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} has no value"))?;
        match name.as_str() {
            "--loops" => loops = value.parse().context("--loops")?,
            "--every-ms" => every = Duration::from_millis(value.parse().context("--every-ms")?),
            "--readers" => readers = value.parse().context("--readers")?,
            _ => bail!("unknown option {name}; allowed: --loops, --every-ms, --readers"),
        }
    }
    let mut readers = readers_of(readers)?;
    let mut next = Instant::now();
    let mut told = 0;
    for seq in 1..=loops {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        next += every;
        let began = Instant::now();
        let bytes = read(&mut readers, seq)?;
        let took_ms = began.elapsed().as_secs_f64() * 1000.0;
        let now = clock::process_cpu_ns();
        eprintln!("drained bytes={bytes} took_ms={took_ms:.1} cpu_us={}", (now - told) / 1000);
        told = now;
    }
    Ok(())
}

/// One that reads its part of the namespace.
struct Reader {
    socket: DiagSocket,
    program: Vec<u8>,
    buffer: Vec<u8>,
}

/// A single one reads everything, as [`sockeye_benches::request::by_default`] asks for it.
fn readers_of(count: NonZeroU16) -> Result<Vec<Reader>> {
    let programs = parts::programs(count)?.into_iter();
    let reader = |program| {
        let socket = DiagSocket::open(Duration::from_mins(1))?;
        Ok(Reader { socket, program, buffer: vec![0; 32 * 1024] })
    };
    programs.map(reader).collect()
}

/// Has all of them read at once, and returns how many bytes that were.
fn read(readers: &mut [Reader], seq: u32) -> Result<usize> {
    let (first, others) = readers.split_first_mut().context("there is a reader")?;
    thread::scope(|scope| {
        let others: Vec<_> =
            others.iter_mut().map(|other| scope.spawn(move || other.read(seq))).collect();
        let mut bytes = first.read(seq)?;
        for other in others {
            bytes += other.join().map_err(|_| anyhow!("a reader panicked"))??;
        }
        Ok(bytes)
    })
}

impl Reader {
    fn read(&mut self, seq: u32) -> Result<usize> {
        let mut bytes = 0;
        drain(&self.socket, seq, &self.program, &mut self.buffer, |chunk| bytes += chunk.len())?;
        Ok(bytes)
    }
}
