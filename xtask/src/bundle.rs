//! `cargo xtask bundle`: one signed archive with everything that an installation needs, to be carried to a cluster without
//! a way out.
//!
//! | in the archive | what it is |
//! |---|---|
//! | `SHA256SUMS`, `SHA256SUMS.sig` | every other file's sum, and the signature over them (crate `liquid-signing`) |
//! | `oci` | images, models and charts as an OCI image layout, which skopeo, oras and `kubectl liquid bundle push` read |
//! | `charts` | the charts as Helm packs them, with provenance files if there is an OpenPGP key |
//! | `sboms` | what is in each image, CycloneDX 1.5 |
//! | `licenses` | the licences of that |
//!
//! The same files and keys give the same bytes. [`stage`] puts the folder together that [`archive`] packs.

mod archive;
mod charts;
mod licenses;
mod packages;
mod provenance;
mod sbom;
mod stage;
mod system;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use liquid_signing::PrivateKey;

use crate::command::cache;
use crate::console::{say, step, thousands};
use crate::images::{Ingredients, Name, Profile, Programs, REGISTRY};
use crate::model::sha256;
pub(crate) use provenance::ProvenanceKey;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Images to put in beside operator, sidecar, worker and the encoder's weights.
    #[arg(long, value_enum)]
    with: Vec<Name>,
    /// The private key that signs: Ed25519, PEM.
    #[arg(long, value_name = "FILE", required_unless_present = "new_key")]
    key: Option<PathBuf>,
    /// Make a key and no bundle: FILE, and FILE.pub for those who verify.
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    new_key: Option<PathBuf>,
    /// An OpenPGP private key without a password, as `gpg --export-secret-keys` writes it: makes Helm's provenance
    /// files.
    #[arg(long, value_name = "FILE")]
    provenance_key: Option<PathBuf>,
    /// With which profile the programs are built.
    #[arg(long, value_enum, default_value = "release")]
    profile: Profile,
    /// Take the programs from this folder instead of building them.
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// Where the archive goes.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Make it a second time, and fail unless both are the same bytes.
    #[arg(long)]
    verify: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if let Some(path) = &arguments.new_key {
        return new_key(path);
    }
    let key = arguments.key.as_deref().context("--key is not set")?;
    let key = PrivateKey::read(key).with_context(|| format!("--key {}", key.display()))?;
    let provenance = arguments.provenance_key.as_deref().map(ProvenanceKey::read);
    let provenance = provenance.transpose()?;
    step("bundle");
    let names = [&Name::PRODUCT[..], &arguments.with].concat();
    let programs = match &arguments.programs {
        Some(folder) => Programs::within(&names, folder)?,
        None => Programs::build(&names, arguments.profile)?,
    };
    let order = Order {
        names: &names,
        ingredients: Ingredients {
            programs: &programs,
            registry: REGISTRY,
            key: Some(&key),
        },
        key: &key,
        provenance: provenance.as_ref(),
    };
    let out = arguments.out.clone().unwrap_or_else(|| cache().join("bundle"));
    let archive = order.write(&out)?;
    if arguments.verify {
        verify(&order, &archive, &out.join("again"))?;
    }
    say(format!(
        "{}  {} bytes, sha256 {}",
        archive.display(),
        thousands(fs::metadata(&archive)?.len()),
        sha256(&archive)?
    ));
    say(format!("signed by the key {}", key.public_key().fingerprint()));
    if provenance.is_none() {
        say("no provenance files for Helm: --provenance-key is not set");
    }
    Ok(())
}

/// What a bundle is made of.
pub(crate) struct Order<'a> {
    pub(crate) names: &'a [Name],
    pub(crate) ingredients: Ingredients<'a>,
    pub(crate) key: &'a PrivateKey,
    pub(crate) provenance: Option<&'a ProvenanceKey>,
}

impl Order<'_> {
    /// Writes the archive into a folder; returns its path.
    pub(crate) fn write(&self, out: &Path) -> Result<PathBuf> {
        fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
        let stage = out.join("stage");
        let _ = fs::remove_dir_all(&stage);
        let path = out.join(format!(
            "liquid-memory-{}-{}.tar",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::ARCH
        ));
        let written = stage::fill(self, &stage).and_then(|()| {
            let sums = liquid_signing::sign_folder(&stage, self.key)?;
            archive::write(&stage, &sums, &path)
        });
        fs::remove_dir_all(&stage)?;
        written.context("cannot make the bundle")?;
        Ok(path)
    }
}

fn verify(order: &Order, first: &Path, folder: &Path) -> Result<()> {
    let second = order.write(folder)?;
    let (first, second) = (sha256(first)?, sha256(&second)?);
    fs::remove_dir_all(folder)?;
    ensure!(first == second, "made twice, the bundle is {first} and {second}");
    say("made twice, the bundle is the same bytes");
    Ok(())
}

fn new_key(path: &Path) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let public = PathBuf::from(format!("{}.pub", path.display()));
    if public.exists() {
        bail!("{} is there already: choose another name", public.display());
    }
    let key = PrivateKey::generate()?;
    let mut options = fs::File::options();
    let opened = options.create_new(true).write(true).mode(0o600).open(path);
    opened
        .and_then(|mut file| file.write_all(key.to_pem().as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    fs::write(&public, key.public_key().to_pem())
        .with_context(|| format!("cannot write {}", public.display()))?;
    say(format!(
        "{} signs, {} verifies: {}",
        path.display(),
        public.display(),
        key.public_key().fingerprint()
    ));
    Ok(())
}
