//! `kubectl liquid bundle`: checks what `cargo xtask bundle` has made, and pushes it to a registry. It asks no cluster.
//!
//! [`archive`] checks the signature and every file before anything else is done with them; [`layout`] says which images and
//! charts there are; [`push`] sends them to a [`registry`].

mod archive;
mod credentials;
mod layout;
mod push;
mod registry;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use liquid_signing::PublicKey;
use serde::Serialize;

use crate::output::{Format, Table, print};
use archive::Archive;
use layout::Item;
use registry::{Address, Registry};

/// What is done with a bundle.
#[derive(Subcommand, Debug)]
pub(crate) enum Action {
    /// Check the signature and every file; pushes nothing.
    Verify(Signed),
    /// Check the same, then push images, models and charts to a registry. What is there already is not pushed again, so
    /// a push that broke off is run once more.
    Push {
        #[command(flatten)]
        signed: Signed,
        /// Where to: `HOST[:PORT]/PATH`, such as registry.example/liquid.
        #[arg(long)]
        registry: Address,
        /// Authorities that the registry's certificate is of, PEM [default: those of this machine].
        #[arg(long, value_name = "FILE")]
        ca_file: Option<PathBuf>,
        /// Credentials: Docker's config.json, or the file of a pull secret [default: $DOCKER_CONFIG/config.json, else
        /// ~/.docker/config.json; none if neither is there].
        #[arg(long, value_name = "FILE")]
        docker_config: Option<PathBuf>,
        /// How often a request is sent again where the registry does not answer, or says that it cannot now.
        #[arg(long, default_value_t = 5)]
        retries: u32,
    },
}

/// A bundle and who has signed it.
#[derive(Args, Debug)]
pub(crate) struct Signed {
    /// The archive.
    bundle: PathBuf,
    /// Public key of who made it: Ed25519, PEM.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

impl Signed {
    fn open(&self) -> Result<Archive> {
        let key = PublicKey::read(&self.key).with_context(|| format!("--key {}", self.key.display()))?;
        Archive::open(&self.bundle, &key).with_context(|| format!("{} is refused", self.bundle.display()))
    }
}

/// Runs a command.
///
/// # Errors
/// The bundle is refused, or the registry does not take it.
pub(crate) async fn run(action: Action, format: Format) -> Result<()> {
    match action {
        Action::Verify(signed) => {
            let archive = signed.open()?;
            let items = layout::items(&archive)?;
            print(format, &Verified::new(&archive, &items), Verified::text)
        }
        Action::Push {
            signed,
            registry,
            ca_file,
            docker_config,
            retries,
        } => {
            let archive = signed.open()?;
            let items = layout::items(&archive)?;
            let login = credentials::read(docker_config.as_deref(), registry.host())?;
            let registry = Registry::new(registry, ca_file.as_deref(), login, retries)?;
            let pushed = push::push(&archive, &items, &registry).await?;
            print(format, &pushed, |pushed| pushed.text())
        }
    }
}

/// A bundle that is what its maker signed.
#[derive(Serialize)]
struct Verified<'a> {
    files: usize,
    items: &'a [Item],
}

impl<'a> Verified<'a> {
    fn new(archive: &Archive, items: &'a [Item]) -> Self {
        Self {
            files: archive.files(),
            items,
        }
    }

    fn text(&self) -> String {
        let mut table = Table::new(&["NAME", "BYTES", "DIGEST"]);
        for item in self.items {
            let name = format!("{}:{}", item.repository, item.tag);
            table.row([name, item.size().to_string(), item.digest.clone()]);
        }
        format!("{table}\n{} files, all as they were signed\n", self.files)
    }
}
