//! A real Apache Kafka for tests: one node, loopback only, gone with its owner.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use sockeye_testkit::kafka::{Broker, Settings};
//! let mut broker = Broker::start(&Settings::default())?;
//! println!("{}", broker.bootstrap()); // 127.0.0.1:41234
//! broker.kill()?; // as by a power cut
//! broker.start_again()?; // same port, same data
//! # Ok(()) }
//! ```

use std::env;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use crate::kafka_files;
use crate::kafka_process::{Process, tool, wait_until};
use crate::kafka_settings::Ports;
pub use crate::kafka_settings::{Mechanism, Security, Settings};
pub use crate::kafka_tls::Certificates;

/// A broker that a test has started. Dropped, it is killed, and its data is removed unless it has a folder of its own.
#[derive(Debug)]
pub struct Broker {
    place: Place,
    process: Option<Process>,
    remove: bool,
}

impl Broker {
    /// Starts a broker with nothing in it, or with what is in the folder of the settings. Ready when this returns.
    ///
    /// # Errors
    /// Kafka could not be fetched or did not start; the end of its log is part of the error.
    pub fn start(settings: &Settings) -> Result<Self> {
        let remove = settings.folder.is_none();
        let place = Place::prepare(settings)?;
        let mut broker = Self { place, process: None, remove };
        broker.start_again()?;
        Ok(broker)
    }

    /// Where clients connect: `127.0.0.1:PORT`.
    pub fn bootstrap(&self) -> String {
        self.place.bootstrap()
    }

    /// Where a test can do everything, without TLS and passwords, whatever the settings ask of clients.
    pub fn admin_bootstrap(&self) -> String {
        address(self.place.ports.admin)
    }

    /// Starts it again after [`stop`](Self::stop) or [`kill`](Self::kill), with the same ports and data.
    ///
    /// # Errors
    /// It did not start; the end of its log is part of the error.
    pub fn start_again(&mut self) -> Result<()> {
        let log = self.place.log();
        let process = self.process.insert(Process::start(&self.place.properties(), &log)?);
        let ports = self.place.ports;
        wait_until(|| is_open(ports.client) && is_open(ports.admin), || process.ended(), &log)
    }

    /// Stops it in an orderly way.
    ///
    /// # Errors
    /// It was not running, or took too long and was killed.
    pub fn stop(&mut self) -> Result<()> {
        self.end(Signal::SIGTERM)
    }

    /// Ends it at once.
    ///
    /// # Errors
    /// It was not running.
    pub fn kill(&mut self) -> Result<()> {
        self.end(Signal::SIGKILL)
    }

    /// Stops its clock: connections stay open, and nothing is answered.
    ///
    /// # Errors
    /// It is not running.
    pub fn pause(&self) -> Result<()> {
        self.running()?.signal(Signal::SIGSTOP)
    }

    /// Lets it go on after [`pause`](Self::pause).
    ///
    /// # Errors
    /// It is not running.
    pub fn resume(&self) -> Result<()> {
        self.running()?.signal(Signal::SIGCONT)
    }

    /// Its process, while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.process.as_ref().map(|process| process.pid().as_raw())
    }

    /// Makes a topic; settings are as `retention.ms=1000`.
    ///
    /// # Errors
    /// It exists, or Kafka refuses.
    pub fn create_topic(&self, name: &str, partitions: u32, settings: &[&str]) -> Result<()> {
        let partitions = partitions.to_string();
        let mut arguments = vec!["--create", "--topic", name, "--partitions", &partitions];
        arguments.extend(settings.iter().flat_map(|setting| ["--config", setting]));
        self.tool("org.apache.kafka.tools.TopicCommand", &arguments).map(drop)
    }

    /// Allows a client, such as `User:alice`, to do something, such as `Write`, with a topic.
    ///
    /// # Errors
    /// Kafka refuses, or its settings have no `authorize`.
    pub fn allow(&self, principal: &str, operation: &str, topic: &str) -> Result<()> {
        let arguments =
            ["--add", "--allow-principal", principal, "--operation", operation, "--topic", topic];
        self.tool("org.apache.kafka.tools.AclCommand", &arguments).map(drop)
    }

    /// Runs a tool of Kafka with the broker's address, and returns what it printed.
    ///
    /// # Errors
    /// It failed; what it said is part of the error.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> Result<String> {
        tool(class, &[&["--bootstrap-server", &self.admin_bootstrap()], arguments].concat())
    }

    fn running(&self) -> Result<&Process> {
        self.process.as_ref().context("the broker is not running")
    }

    fn end(&mut self, signal: Signal) -> Result<()> {
        let mut process = self.process.take().context("the broker is not running")?;
        // A stopped process would take the signal only when it goes on.
        process.signal(Signal::SIGCONT)?;
        process.signal(signal)?;
        process.wait()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.process.take());
        if self.remove {
            let _ = fs::remove_dir_all(&self.place.folder);
        }
    }
}

/// A broker for tests that only need one: that of `KAFKA_BOOTSTRAP`, or a new one.
#[derive(Debug)]
pub enum AnyBroker {
    /// Somebody else's: use topics with names that nobody else has.
    Given(String),
    /// Started for this.
    Own(Box<Broker>),
}

impl AnyBroker {
    /// Starts a broker, unless the environment names one.
    ///
    /// # Errors
    /// As of [`Broker::start`].
    pub fn get() -> Result<Self> {
        match given() {
            Some(bootstrap) => Ok(Self::Given(bootstrap)),
            None => Ok(Self::Own(Box::new(Broker::start(&Settings::default())?))),
        }
    }

    /// Where clients connect.
    pub fn bootstrap(&self) -> String {
        match self {
            Self::Given(bootstrap) => bootstrap.clone(),
            Self::Own(broker) => broker.bootstrap(),
        }
    }
}

/// What `KAFKA_BOOTSTRAP` says.
pub fn given() -> Option<String> {
    env::var("KAFKA_BOOTSTRAP").ok().filter(|bootstrap| !bootstrap.is_empty())
}

/// A broker's folder, formatted and with its properties, and its ports.
#[derive(Debug)]
pub struct Place {
    folder: PathBuf,
    ports: Ports,
}

impl Place {
    /// Chooses ports and formats the folder, if it is not formatted yet.
    ///
    /// # Errors
    /// Kafka could not be fetched or does not like the settings.
    pub fn prepare(settings: &Settings) -> Result<Self> {
        let folder = match &settings.folder {
            Some(folder) => folder.clone(),
            None => throw_away_folder()?,
        };
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let [client, admin, controller] = free_ports()?;
        let client = if settings.port == 0 { client } else { settings.port };
        let place = Self { folder, ports: Ports { client, admin, controller } };
        let data = place.folder.join("data");
        fs::write(place.properties(), settings.properties(place.ports, &data))?;
        if !data.join("meta.properties").is_file() {
            let properties = place.properties().display().to_string();
            let further = settings.format_arguments();
            let mut arguments = vec!["format", "--cluster-id", CLUSTER, "--config", &properties];
            arguments.extend(further.iter().map(String::as_str));
            tool("kafka.tools.StorageTool", &arguments)?;
        }
        Ok(place)
    }

    /// Where clients connect.
    pub fn bootstrap(&self) -> String {
        address(self.ports.client)
    }

    /// The file of Kafka's properties.
    pub fn properties(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    /// The file that the broker writes its log to.
    pub fn log(&self) -> PathBuf {
        self.folder.join("broker.log")
    }

    /// Whether somebody listens at the port of clients.
    pub fn is_open(&self) -> bool {
        is_open(self.ports.client)
    }
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn is_open(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// All are held until all are known, so that none comes twice.
fn free_ports() -> Result<[u16; 3]> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listeners = [listen()?, listen()?, listen()?];
    let [a, b, c] = listeners.each_ref().map(TcpListener::local_addr);
    Ok([a?.port(), b?.port(), c?.port()])
}

/// A folder with our process id in its name. Those of processes that are gone are removed.
fn throw_away_folder() -> Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let brokers = kafka_files::folder().join("brokers");
    fs::create_dir_all(&brokers).context("target/kafka/brokers")?;
    let brokers = brokers.canonicalize()?;
    for left in fs::read_dir(&brokers)?.flatten() {
        let name = left.file_name();
        let pid = name.to_str().and_then(|name| name.split('-').next()).unwrap_or_default();
        if !Path::new("/proc").join(pid).exists() {
            let _ = fs::remove_dir_all(left.path());
        }
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Ok(brokers.join(format!("{}-{number}", process::id())))
}

const CLUSTER: &str = "AAAAAAAAAAAAAAAAAAAAAQ";
