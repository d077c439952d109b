//! The schema registry: the proto is registered under `<topic>-value`, for those who look there. Nothing depends on it.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use tracing::{info, warn};

/// Where a schema is registered, by HTTP in plain text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaRegistry {
    /// `HOST:PORT`.
    authority: String,
    /// In front of `/subjects`; perhaps empty.
    path: String,
}

impl SchemaRegistry {
    /// Parses `http://HOST[:PORT][/PATH]`.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        let Some(rest) = url.strip_prefix("http://") else { return Err(ALLOWED) };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let is_plain = |text: &str| text.chars().all(|char| char.is_ascii_graphic());
        if authority.is_empty() || authority.contains(['@', '?', '#']) || !is_plain(rest) {
            return Err(ALLOWED);
        }
        let has_port = authority.rsplit(']').next().is_some_and(|end| end.contains(':'));
        let authority = if has_port { authority.into() } else { format!("{authority}:80") };
        Ok(Self { authority, path: path.trim_end_matches('/').into() })
    }

    /// Registers in a thread of its own, which tries again every minute until a registry has answered.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn register(self, topic: &str) -> io::Result<()> {
        let topic = topic.to_owned();
        let work = move || {
            while let Err(error) = self.try_once(&topic) {
                warn!(topic, %error, "the schema is not registered; trying again in a minute");
                thread::sleep(PAUSE);
            }
        };
        thread::Builder::new().name("schema-registry".into()).spawn(work).map(drop)
    }

    /// One attempt. An answer of any kind is the registry's last word.
    fn try_once(&self, topic: &str) -> io::Result<()> {
        let status = self.post(topic)?;
        if status == 200 {
            info!(topic, "the schema is registered as {topic}-value");
        } else {
            warn!(topic, status, "the schema registry does not want the schema");
        }
        Ok(())
    }

    fn post(&self, topic: &str) -> io::Result<u16> {
        let unresolved = || io::Error::other("the name has no address");
        let address = self.authority.to_socket_addrs()?.next().ok_or_else(unresolved)?;
        let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let body = serde_json::json!({ "schemaType": "PROTOBUF", "schema": SCHEMA }).to_string();
        let (path, host, len) = (&self.path, &self.authority, body.len());
        // A topic's name has nothing that would have to be escaped.
        let request = format!(
            "POST {path}/subjects/{topic}-value/versions HTTP/1.1\r\nHost: {host}\r\n\
             Content-Type: application/vnd.schemaregistry.v1+json\r\nContent-Length: {len}\r\n\
             Connection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(MOST).read_to_end(&mut answer)?;
        let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let status =
            std::str::from_utf8(line).ok().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        status.ok_or_else(|| io::Error::other("no answer of HTTP"))
    }
}

const SCHEMA: &str = include_str!("../../../../proto/xtcp_flat_record/v1/xtcp_flat_record.proto");
const ALLOWED: &str = "allowed: http://HOST[:PORT][/PATH], without a user";
const TIMEOUT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_mins(1);
/// Bytes of an answer that are read.
const MOST: u64 = 1 << 16;

#[cfg(test)]
mod tests {
    use std::io::BufRead;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_address_has_a_scheme_and_a_host_and_no_secret() {
        let parsed = |url| SchemaRegistry::parse(url).map(|it| (it.authority, it.path));
        assert_eq!(parsed("http://registry"), Ok(("registry:80".into(), String::new())));
        assert_eq!(parsed("http://[::1]:8081/a/"), Ok(("[::1]:8081".into(), "/a".into())));
        assert_eq!(parsed("http://[::1]"), Ok(("[::1]:80".into(), String::new())));
        for wrong in
            ["registry:8081", "https://registry", "http://", "http://u:p@registry", "http://a b"]
        {
            assert_eq!(parsed(wrong), Err(ALLOWED), "{wrong}");
        }
    }

    #[test]
    fn the_proto_is_posted_under_the_name_of_the_topic() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/sub", listener.local_addr().unwrap());
        let registry = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = io::BufReader::new(&stream);
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if line == "\r\n" {
                    break;
                }
                head.push(line.trim_end().to_owned());
            }
            let len = head.iter().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
            let mut body = vec![0; len.parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{\"id\":1}").unwrap();
            (head.remove(0), serde_json::from_slice::<serde_json::Value>(&body).unwrap())
        });
        assert_eq!(SchemaRegistry::parse(&url).unwrap().post("xtcp").unwrap(), 200);
        let (line, body) = registry.join().unwrap();
        assert_eq!(line, "POST /sub/subjects/xtcp-value/versions HTTP/1.1");
        assert_eq!(body["schemaType"], "PROTOBUF");
        assert!(body["schema"].as_str().unwrap().contains("message XtcpFlatRecord {"));
    }
}
