//! Certificates for one test: an authority, a broker at 127.0.0.1 and a client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Certificates in a folder, as PEM files.
#[derive(Clone, Debug)]
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Makes an authority that nobody else knows, and with it a broker's certificate and one of a client.
    ///
    /// # Errors
    /// `openssl` is missing or refused.
    pub fn make(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let certificates = Self { folder: folder.to_owned() };
        certificates.openssl(&format!(
            "req -x509 {KEY} -keyout ca.key -out ca.pem -days 2 -subj /CN=sockeye-test-authority"
        ))?;
        certificates.sign("broker", "subjectAltName=IP:127.0.0.1,DNS:localhost")?;
        certificates.sign("client", "extendedKeyUsage=clientAuth")?;
        let (key, chain) = (certificates.file("broker.key"), certificates.file("broker.pem"));
        let both = [fs::read(key)?, fs::read(chain)?].concat();
        fs::write(certificates.broker(), both)?;
        Ok(certificates)
    }

    /// The authority's certificate: what a client is to trust.
    pub fn authority(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// Key and certificate of the broker, in one file.
    pub fn broker(&self) -> PathBuf {
        self.file("broker-both.pem")
    }

    /// The client's certificate, with the subject `CN=client`.
    pub fn client(&self) -> PathBuf {
        self.file("client.pem")
    }

    /// The client's key.
    pub fn client_key(&self) -> PathBuf {
        self.file("client.key")
    }

    fn sign(&self, name: &str, extension: &str) -> Result<()> {
        fs::write(self.file(&format!("{name}.ext")), extension)?;
        self.openssl(&format!("req {KEY} -keyout {name}.key -out {name}.csr -subj /CN={name}"))?;
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -days 2 -extfile {name}.ext"
        ))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn openssl(&self, arguments: &str) -> Result<()> {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(&self.folder)
            .output()
            .context("running openssl")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "openssl {arguments}: {complaint}");
        Ok(())
    }
}

const KEY: &str = "-newkey rsa:2048 -nodes";
