//! Opening: a spool, and a producer with the best codec that it can have. Brokers need not be there.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::{fs, io};

use rdkafka::producer::BaseProducer;
use rdkafka::util::get_rdkafka_version;
use sockeye_pipeline::Link;

use super::complaints::Complaints;
use super::context::Context;
use super::under_way::UnderWay;
use super::{FIRST_HOLD, KafkaCounters, KafkaSettings, KafkaSink};
use crate::spool::{Found, Spool};

/// Why a Kafka sink can't be opened: something that it was told is wrong.
#[derive(Debug, thiserror::Error)]
pub enum OpenKafkaError {
    /// A file that it needs.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Somebody else has the spool.
    #[error("the spool {} is in use by another process or destination: name another --spool-dir", .0.display())]
    SpoolInUse(PathBuf),
    /// The spool.
    #[error("the spool {} can't be opened: {error}", dir.display())]
    Spool {
        /// Where.
        dir: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The client library does not like it.
    #[error("librdkafka {version}: {text}", version = get_rdkafka_version().1)]
    Client {
        /// Its words.
        text: String,
    },
}

impl KafkaSink {
    /// A sink that begins to look for its brokers at once, and for as long as it lives.
    ///
    /// # Errors
    /// Each says what is wrong with the settings.
    pub fn open(settings: KafkaSettings) -> Result<Self, OpenKafkaError> {
        let tls = settings.tls.clone().unwrap_or_default();
        for path in [tls.ca, tls.cert, tls.key].into_iter().flatten() {
            // The client library says less about it.
            fs::File::open(&path).map_err(|error| OpenKafkaError::File { path, error })?;
        }
        let mut codecs = settings.codecs().into();
        let producer = producer(&settings, &mut codecs)?;
        let (spool, found) = match &settings.spool {
            Some(spool) => {
                let dir = spool.dir.clone();
                let opened = Spool::open(spool.clone()).map_err(|error| {
                    if error.kind() == io::ErrorKind::WouldBlock {
                        OpenKafkaError::SpoolInUse(dir)
                    } else {
                        OpenKafkaError::Spool { dir, error }
                    }
                })?;
                (Some(opened.0), opened.1)
            }
            None => (None, Found::default()),
        };
        let counters = Arc::new(KafkaCounters::default());
        counters.producer();
        Ok(Self {
            settings,
            producer,
            codecs,
            under_way: UnderWay::default(),
            waiting: VecDeque::new(),
            spool,
            found,
            queue: None,
            link: Link::default(),
            hold_until: None,
            hold: FIRST_HOLD,
            disk_until: None,
            again: false,
            another_codec: false,
            complaints: Complaints::default(),
            counters,
            finishing: None,
        })
    }
}

/// A producer with the first of these codecs that the client library has; those that it has not are gone.
pub(crate) fn producer(
    settings: &KafkaSettings,
    codecs: &mut VecDeque<&'static str>,
) -> Result<BaseProducer<Context>, OpenKafkaError> {
    loop {
        let codec = codecs.front().copied().unwrap_or("none");
        let config = settings.client_config(codec);
        match config.create_with_context(Context::default()) {
            Ok(producer) => return Ok(producer),
            Err(_) if codecs.len() > 1 && is_unknown(codec) => {
                codecs.pop_front();
            }
            Err(error) => return Err(OpenKafkaError::Client { text: error.to_string() }),
        }
    }
}

/// Whether a client of nothing but this codec is refused.
fn is_unknown(codec: &str) -> bool {
    let mut config = rdkafka::ClientConfig::new();
    config.set("compression.type", codec);
    config.create_with_context::<Context, BaseProducer<Context>>(Context::default()).is_err()
}
