//! `cargo xtask wheel`: the PyTorch package as one wheel for CPython 3.10 and newer, signed if there is a key.
//!
//! maturin builds it. Signing adds to the package's folder the texts of the kernels, `SHA256SUMS` over all its files and
//! `SHA256SUMS.sig` (crate `liquid-signing`), and lists them in the wheel's `RECORD`. The same wheel and key give the same
//! bytes.

mod archive;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use liquid_signing::{PrivateKey, SIGNATURE, SUMS, Sum, Sums};

use crate::command::{cache, root, run as run_program, without_our_package};
use crate::console::{say, step};
use crate::images::Profile;
use crate::tools::{self, relative};
use archive::Archive;

/// The package's folder in the wheel.
const PACKAGE: &str = "liquid_memory/";
/// The folder with the texts of the kernels, in that of the package; `python/src/signature.rs` looks for them there.
const KERNELS: &str = "kernel_sources";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The private key that signs: Ed25519, PEM, as `cargo xtask bundle --new-key` makes it [default: nothing is signed].
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// With which profile the extension is built.
    #[arg(long, value_enum, default_value = "release")]
    profile: Profile,
    /// Where the wheel goes.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let key = arguments.key.as_deref().map(|path| {
        let key = PrivateKey::read(path);
        key.with_context(|| format!("--key {}", path.display()))
    });
    let key = key.transpose()?;
    step("wheel");
    let out = arguments.out.clone().unwrap_or_else(|| cache().join("wheels"));
    let wheel = build(arguments.profile, key.as_ref(), &out)?;
    say(format!(
        "{}  sha256 {}",
        relative(&wheel),
        crate::model::sha256(&wheel)?
    ));
    match key {
        Some(key) => say(format!("signed by the key {}", key.public_key().fingerprint())),
        None => say("not signed: --key is not set"),
    }
    Ok(())
}

/// The Python of an environment with PyTorch, maturin and what tests the package: gigabytes, once for all checkouts.
pub(crate) fn torch_environment() -> Result<PathBuf> {
    tools::shared_python("torch", &root().join("python/requirements-test.txt"))
}

/// Builds the wheel into a folder, which holds no other wheel afterwards; returns its path.
pub(crate) fn build(profile: Profile, key: Option<&PrivateKey>, out: &Path) -> Result<PathBuf> {
    let _ = std::fs::remove_dir_all(out);
    let mut maturin = Command::new(torch_environment()?);
    maturin.args(["-m", "maturin", "build", "--quiet", "--locked", "--manifest-path"]);
    maturin
        .arg(root().join("python/Cargo.toml"))
        .arg("--out")
        .arg(out);
    maturin.args(match profile {
        Profile::Release => ["--profile", "release"],
        Profile::Dev => ["--profile", "dev"],
    });
    without_our_package(&mut maturin);
    run_program(&mut maturin)?;
    let mut found = std::fs::read_dir(out)?.collect::<std::io::Result<Vec<_>>>()?;
    ensure!(
        found.len() == 1,
        "maturin made {} files in {}",
        found.len(),
        out.display()
    );
    let wheel = found.remove(0).path();
    if let Some(key) = key {
        let mut archive = Archive::read(&wheel)?;
        sign(&mut archive, key)?;
        archive.write(&wheel)?;
    }
    Ok(wheel)
}

/// Adds the kernels, the list of the package's files and its signature.
fn sign(archive: &mut Archive, key: &PrivateKey) -> Result<()> {
    for (file, text) in liquid_cuda::kernel_files() {
        archive.insert(format!("{PACKAGE}{KERNELS}/{file}"), text.into_bytes());
    }
    let mut sums = Sums::default();
    for (name, bytes) in archive.files() {
        if let Some(name) = name.strip_prefix(PACKAGE) {
            sums.insert(name, Sum::of(bytes))?;
        }
    }
    ensure!(!sums.is_empty(), "the wheel has no folder {PACKAGE}");
    archive.insert(format!("{PACKAGE}{SUMS}"), sums.to_string().into_bytes());
    archive.insert(format!("{PACKAGE}{SIGNATURE}"), sums.sign(key));
    archive.renew_record()
}
