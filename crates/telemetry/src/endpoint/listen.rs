//! Where the endpoint listens.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::profiles;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// An address and a port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// A place that could not be listened at.
#[derive(Debug, thiserror::Error)]
#[error(
    "{listen}: {error}; allowed: an address of this host with a free port, unix:PATH in a directory that can be written to, off"
)]
pub struct ListenError {
    listen: Listen,
    error: io::Error,
}

/// A place that is listened at. A socket in the file system goes with it.
#[derive(Debug)]
pub struct Bound {
    pub(super) socket: Socket,
    pub(super) file: Option<OwnFile>,
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A file that is removed at the end.
#[derive(Debug)]
pub(super) struct OwnFile(PathBuf);

impl Listen {
    /// Binds; `None` where nothing is to be listened at.
    ///
    /// # Errors
    /// [`ListenError`]: choose another place, or end who has it.
    pub fn bind(&self) -> Result<Option<Bound>, ListenError> {
        let failed = |error| ListenError { listen: self.clone(), error };
        let bound = match self {
            Self::Off => return Ok(None),
            Self::Tcp(address) => {
                let socket = Socket::Tcp(TcpListener::bind(address).map_err(failed)?);
                Bound { socket, file: None }
            }
            Self::Unix(path) => {
                remove_stale(path).map_err(failed)?;
                let socket = Socket::Unix(UnixListener::bind(path).map_err(failed)?);
                // Its group may ask as well.
                fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(failed)?;
                Bound { socket, file: Some(OwnFile(path.clone())) }
            }
        };
        Ok(Some(bound))
    }
}

impl Bound {
    /// Folders that have to be writable for it: that of its socket, to remove it, and where profiles are gathered.
    pub fn writes(&self) -> Vec<PathBuf> {
        let socket = self.file.as_ref().and_then(|OwnFile(path)| path.parent());
        let here =
            |path: &Path| if path.as_os_str().is_empty() { ".".into() } else { path.to_owned() };
        socket.map(here).into_iter().chain(profiles::scratch()).collect()
    }

    /// Where it listens really: with the port that the kernel chose for port 0.
    pub fn place(&self) -> String {
        match (&self.socket, &self.file) {
            (Socket::Tcp(socket), _) => socket
                .local_addr()
                .map_or_else(|error| error.to_string(), |address| address.to_string()),
            (Socket::Unix(_), Some(OwnFile(path))) => format!("unix:{}", path.display()),
            (Socket::Unix(_), None) => "unix:".into(),
        }
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        // It may have been removed by somebody else.
        let _ = fs::remove_file(&self.0);
    }
}

/// Removes a socket that nobody answers at: of a daemon that was killed.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if is_socket && UnixStream::connect(path).is_err_and(refused) {
        fs::remove_file(path)?;
    }
    Ok(())
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = "allowed: HOST:PORT, unix:PATH, off";
        if text.is_empty() || text == "off" {
            return Ok(Self::Off);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err(format!("no path behind unix:; {allowed}")),
                path => Ok(Self::Unix(path.into())),
            };
        }
        let addresses = text.to_socket_addrs().map_err(|error| format!("{error}; {allowed}"))?;
        let first = addresses.into_iter().next();
        first.map(Self::Tcp).ok_or_else(|| format!("no address; {allowed}"))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_addresses_paths_and_nowhere() {
        for (text, listen) in [
            ("", Listen::Off),
            ("off", Listen::Off),
            ("127.0.0.1:9088", Listen::Tcp(([127, 0, 0, 1], 9088).into())),
            ("[::1]:0", Listen::Tcp(([0, 0, 0, 0, 0, 0, 0, 1], 0).into())),
            ("unix:/run/s", Listen::Unix("/run/s".into())),
        ] {
            assert_eq!(text.parse::<Listen>().unwrap(), listen);
        }
        for (text, why) in
            [("unix:", "no path"), ("9088", "allowed: HOST:PORT"), ("1.2.3.4:x", "allowed")]
        {
            let error = text.parse::<Listen>().unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_port_in_use_says_so_and_what_is_allowed() {
        let first = Listen::Tcp(([127, 0, 0, 1], 0).into()).bind().unwrap().unwrap();
        let place = first.place();
        let error = place.parse::<Listen>().unwrap().bind().unwrap_err().to_string();
        assert!(error.starts_with(&format!("{place}: Address already in use")), "{error}");
        assert!(error.contains("allowed: an address of this host with a free port"), "{error}");
    }

    #[test]
    fn a_socket_of_a_dead_daemon_is_taken_over_and_that_of_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listen = Listen::Unix(path.clone());
        // The standard library leaves the file behind.
        drop(UnixListener::bind(&path).unwrap());
        let bound = listen.bind().unwrap().unwrap();
        let error = listen.bind().unwrap_err().to_string();
        assert!(error.contains("Address already in use"), "{error}");
        drop(bound);
        assert!(!path.exists());
        fs::write(&path, "no socket").unwrap();
        assert!(listen.bind().is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "no socket");
    }
}
