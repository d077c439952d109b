//! What the load generator is asked for: the command line of `sockeye-load`, both ways.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};

/// How many connections, where, and of what kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// The namespace: a name of `/run/netns` or a path. Default: the one the generator is started in.
    /// In a given namespace the range of ephemeral ports and the accept queues are widened.
    pub netns: Option<PathBuf>,
    /// The number of connections, each of two sockets. About 9,900 are the most for one process with 20,000 descriptors.
    pub connections: usize,
    /// Addresses to listen on. `::ffff:127.0.0.1` makes IPv6 sockets that speak IPv4. Default: 127.0.0.1.
    pub listen: Vec<IpAddr>,
    /// Ports to listen on, on each address; 0 picks a free one. Default: one picked port.
    pub ports: Vec<u16>,
    /// Addresses to connect from, in turn, those of the listener's family. Default: the kernel chooses.
    pub client_addresses: Vec<IpAddr>,
    /// How many bytes each end sends. The numbers are all different, as far as the range allows. Default: 100 to 100,000.
    pub bytes: RangeInclusive<u64>,
    /// The user that owns the sockets and then the process. Default: the one that starts the generator.
    pub uid: Option<u32>,
    /// The congestion control of all sockets, such as `cubic` or `bbr`. Default: the namespace's.
    pub congestion: Option<String>,
    /// The type of service, or traffic class, of all sockets. Default: 0.
    pub tos: Option<u32>,
    /// Adds a listener on `::` that takes IPv4 as well, to which both IPv4 and IPv6 clients connect. Default: no.
    /// Then `listen` may be empty.
    pub dual_stack: bool,
    /// The generator. Default: `sockeye-load` beside the program that runs, or in the directory above it.
    pub binary: Option<PathBuf>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            netns: None,
            connections: 1,
            listen: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            ports: vec![0],
            client_addresses: Vec::new(),
            bytes: 100..=100_000,
            uid: None,
            congestion: None,
            tos: None,
            dual_stack: false,
            binary: None,
        }
    }
}

impl LoadOptions {
    /// The command line that says the same; `binary` is not part of it.
    pub fn to_arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        add("--connections", self.connections.to_string());
        add("--listen", joined(&self.listen));
        add("--ports", joined(&self.ports));
        add("--client-addresses", joined(&self.client_addresses));
        add("--bytes", format!("{}..{}", self.bytes.start(), self.bytes.end()));
        if let Some(netns) = &self.netns {
            add("--netns", netns.display().to_string());
        }
        if let Some(uid) = self.uid {
            add("--uid", uid.to_string());
        }
        if let Some(congestion) = &self.congestion {
            add("--congestion", congestion.clone());
        }
        if let Some(tos) = self.tos {
            add("--tos", tos.to_string());
        }
        if self.dual_stack {
            arguments.push("--dual-stack".to_owned());
        }
        arguments
    }

    /// Reads a command line, without the program's name.
    ///
    /// # Errors
    /// The option that is unknown, lacks its value or has one that cannot be read.
    pub fn from_arguments(arguments: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut options = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            if name == "--dual-stack" {
                options.dual_stack = true;
                continue;
            }
            let value = arguments.next().with_context(|| format!("{name} has no value"))?;
            options.set(&name, &value).with_context(|| format!("{name} {value}"))?;
        }
        ensure!(
            options.dual_stack || !options.listen.is_empty(),
            "nothing to listen on: --listen or --dual-stack"
        );
        ensure!(!options.ports.is_empty(), "--ports is empty");
        ensure!(!options.bytes.is_empty(), "--bytes is empty: it is MIN..MAX, both included");
        Ok(options)
    }

    /// The namespace as a path: a bare name is one of `/run/netns`.
    pub fn netns_path(&self) -> Option<PathBuf> {
        let netns = self.netns.as_ref()?;
        Some(if netns.is_absolute() {
            netns.clone()
        } else {
            PathBuf::from("/run/netns").join(netns)
        })
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "--connections" => self.connections = value.parse()?,
            "--listen" => self.listen = split(value)?,
            "--ports" => self.ports = split(value)?,
            "--client-addresses" => self.client_addresses = split(value)?,
            "--bytes" => {
                let (min, max) = value.split_once("..").context("not MIN..MAX")?;
                self.bytes = min.parse()?..=max.parse()?;
            }
            "--netns" => self.netns = Some(value.into()),
            "--uid" => self.uid = Some(value.parse()?),
            "--congestion" => self.congestion = Some(value.to_owned()),
            "--tos" => self.tos = Some(value.parse()?),
            _ => bail!("no such option"),
        }
        Ok(())
    }
}

fn joined<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

fn split<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    list: &str,
) -> Result<Vec<T>> {
    let items = list.split(',').filter(|item| !item.is_empty());
    items.map(|item| item.parse().with_context(|| format!("{item:?}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_survive_the_command_line() {
        let options = LoadOptions {
            netns: Some("skt-1-0-x".into()),
            connections: 9000,
            listen: vec!["127.0.0.2".parse().unwrap(), "::ffff:127.0.0.1".parse().unwrap()],
            ports: vec![0, 8080],
            client_addresses: vec!["127.0.0.7".parse().unwrap()],
            bytes: 1..=77,
            uid: Some(1000),
            congestion: Some("bbr".to_owned()),
            tos: Some(16),
            dual_stack: true,
            binary: None,
        };
        assert_eq!(LoadOptions::from_arguments(options.to_arguments()).unwrap(), options);
        assert_eq!(options.netns_path(), Some(PathBuf::from("/run/netns/skt-1-0-x")));
        let default = LoadOptions::default();
        assert_eq!(LoadOptions::from_arguments(default.to_arguments()).unwrap(), default);
    }

    #[test]
    fn a_wrong_option_is_named() {
        for (arguments, expected) in [
            (vec!["--conections", "1"], "--conections 1: no such option"),
            (vec!["--bytes", "7"], "--bytes 7: not MIN..MAX"),
            (vec!["--uid"], "--uid has no value"),
            (vec!["--listen", ""], "nothing to listen on: --listen or --dual-stack"),
        ] {
            let error =
                LoadOptions::from_arguments(arguments.into_iter().map(str::to_owned)).unwrap_err();
            assert_eq!(format!("{error:#}"), expected);
        }
    }
}
