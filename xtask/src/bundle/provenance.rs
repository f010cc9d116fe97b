//! Helm's provenance files: a chart's metadata and the sum of its package, signed by an OpenPGP key, for `helm verify` and
//! `helm install --verify`. GnuPG signs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::{exists, output};

/// An OpenPGP key in a folder of its own, which is removed with this value.
pub(crate) struct ProvenanceKey {
    home: PathBuf,
    /// When the key was made, in seconds since 1970: the time of what it signs, so that the same chart has the same
    /// signature.
    made: String,
}

impl ProvenanceKey {
    /// Reads a private key without a password.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        ensure!(
            exists("gpg", "--version"),
            "gpg is not installed (Debian: apt-get install gnupg)"
        );
        // A short path: the agent's socket is in it.
        let home = std::env::temp_dir().join(format!("liquid-gpg-{}", std::process::id()));
        fs::create_dir_all(&home)?;
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700))?;
        let mut key = Self {
            home,
            made: String::new(),
        };
        output(key.gpg().arg("--import").arg(path))
            .with_context(|| format!("--provenance-key {}", path.display()))?;
        let list = output(key.gpg().args(["--list-secret-keys", "--with-colons"]))?;
        let line = list.lines().find(|line| line.starts_with("sec:"));
        let made = line.and_then(|line| line.split(':').nth(5));
        key.made = made
            .context("--provenance-key: there is no private key")?
            .to_owned();
        Ok(key)
    }

    /// Signs a chart's metadata and the sum of its package; returns the provenance file.
    pub(super) fn sign(&self, metadata: &str, package: &str, sha256: &str) -> Result<String> {
        let text = format!(
            "{}\n...\nfiles:\n  {package}: sha256:{sha256}\n",
            metadata.trim_end()
        );
        let plain = self.home.join("plain");
        fs::write(&plain, text)?;
        let signed = self.home.join("signed");
        let time = format!("{}!", self.made);
        let mut gpg = self.gpg();
        gpg.args(["--yes", "--digest-algo", "SHA512", "--faked-system-time", &time])
            .args(["--clear-sign", "--output"])
            .arg(&signed)
            .arg(&plain);
        output(&mut gpg).context("gpg cannot sign a chart")?;
        Ok(fs::read_to_string(signed)?)
    }

    fn gpg(&self) -> Command {
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir")
            .arg(&self.home)
            .args(["--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback"])
            .args(["--passphrase", ""]);
        gpg
    }
}

impl Drop for ProvenanceKey {
    fn drop(&mut self) {
        let mut agent = Command::new("gpgconf");
        let _ = output(agent.arg("--homedir").arg(&self.home).args(["--kill", "all"]));
        let _ = fs::remove_dir_all(&self.home);
    }
}
