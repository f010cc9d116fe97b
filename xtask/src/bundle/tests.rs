//! A bundle of the real charts and of programs that are none: the same bytes each time, and checked by common tools.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use liquid_signing::{PrivateKey, SUMS, verify_folder};
use serde_json::Value;

use super::{Order, ProvenanceKey, charts};
use crate::command::{exists, output};
use crate::images::{Ingredients, Name, Programs};
use crate::model::sha256;

const NAMES: [Name; 2] = [Name::Operator, Name::Sidecar];

/// Makes a bundle in a folder.
fn make(folder: &Path, key: &PrivateKey) -> Result<PathBuf> {
    let programs = folder.join("programs");
    fs::create_dir_all(&programs)?;
    for name in ["liquid-operator", "liquid-sidecar"] {
        fs::write(programs.join(name), "no program")?;
    }
    let programs = Programs::within(&NAMES, &programs)?;
    let order = Order {
        names: &NAMES,
        ingredients: Ingredients {
            programs: &programs,
            registry: "registry.test",
            key: Some(key),
        },
        key,
        provenance: None,
    };
    order.write(&folder.join("out"))
}

fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    tar::Archive::new(fs::File::open(archive)?).unpack(folder)?;
    Ok(())
}

fn json(path: &Path) -> Result<Value> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    Ok(serde_json::from_slice(&text)?)
}

#[test]
fn two_runs_give_the_same_bytes() -> Result<()> {
    let (one, two, key) = (
        tempfile::tempdir()?,
        tempfile::tempdir()?,
        PrivateKey::generate()?,
    );
    let (first, second) = (make(one.path(), &key)?, make(two.path(), &key)?);
    assert!(fs::read(first)? == fs::read(second)?);
    Ok(())
}

#[test]
fn a_bundle_is_signed_and_every_blob_has_its_name() -> Result<()> {
    let (folder, key) = (tempfile::tempdir()?, PrivateKey::generate()?);
    let archive = make(folder.path(), &key)?;
    let unpacked = folder.path().join("unpacked");
    unpack(&archive, &unpacked)?;
    let sums = verify_folder(&unpacked, &key.public_key())?;
    for (name, sum) in sums.iter() {
        if let Some(blob) = name.strip_prefix("oci/blobs/sha256/") {
            assert_eq!(blob, sum.to_string());
        }
    }
    let mut first = tar::Archive::new(fs::File::open(&archive)?);
    let first = first.entries()?.next().context("an empty archive")??;
    assert_eq!(first.path()?, Path::new(SUMS));
    let index = json(&unpacked.join("oci/index.json"))?;
    let manifests = index
        .get("manifests")
        .and_then(Value::as_array)
        .context("no manifests")?;
    let names = manifests.iter().filter_map(|manifest| {
        manifest
            .pointer("/annotations/org.opencontainers.image.ref.name")?
            .as_str()
    });
    let version = env!("CARGO_PKG_VERSION");
    let wanted = [
        "liquid-operator",
        "liquid-sidecar",
        "charts/liquid-memory-crds",
        "charts/liquid-memory",
    ];
    let wanted = wanted.map(|name| format!("{name}:{version}"));
    assert_eq!(names.collect::<Vec<_>>(), wanted);
    Ok(())
}

#[test]
fn a_program_s_packages_are_in_its_sbom_with_their_licences() -> Result<()> {
    let (folder, key) = (tempfile::tempdir()?, PrivateKey::generate()?);
    let unpacked = folder.path().join("unpacked");
    unpack(&make(folder.path(), &key)?, &unpacked)?;
    let sbom = json(&unpacked.join("sboms/liquid-sidecar.cdx.json"))?;
    assert_eq!(sbom.get("specVersion"), Some(&Value::from("1.5")));
    let components = sbom.get("components").and_then(Value::as_array).context("none")?;
    let find = |name: &str| {
        components
            .iter()
            .find(|one| one.get("name") == Some(&Value::from(name)))
    };
    let tokio = find("tokio").context("tokio is missing")?;
    assert_eq!(tokio.pointer("/licenses/0/expression"), Some(&Value::from("MIT")));
    assert!(tokio.pointer("/hashes/0/content").is_some());
    // A test's, a macro's and another program's.
    for absent in ["proptest", "serde_derive", "kube"] {
        assert!(find(absent).is_none(), "{absent} is not in the sidecar");
    }
    let references = components.iter().filter_map(|one| one.get("bom-ref")?.as_str());
    let references = references.collect::<BTreeSet<_>>();
    let dependencies = sbom
        .get("dependencies")
        .and_then(Value::as_array)
        .context("none")?;
    let required = dependencies
        .iter()
        .filter_map(|one| one.get("dependsOn")?.as_array());
    for required in required.flatten().filter_map(Value::as_str) {
        assert!(references.contains(required), "{required} is no component");
    }
    let licenses = fs::read_to_string(unpacked.join("licenses/liquid-sidecar.txt"))?;
    assert!(licenses.contains("\ntokio ") && licenses.contains("Permission is hereby granted"));
    Ok(())
}

#[test]
fn provenance_is_the_same_each_time_and_verified_by_gpg() -> Result<()> {
    if !exists("gpg", "--version") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let (home, exported) = (folder.path().join("gpg"), folder.path().join("key.gpg"));
    fs::create_dir(&home)?;
    let gpg = || {
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir")
            .arg(&home)
            .args(["--batch", "--quiet", "--passphrase", ""]);
        gpg.args(["--pinentry-mode", "loopback"]);
        gpg
    };
    output(gpg().args([
        "--quick-generate-key",
        "Charts <charts@liquid.test>",
        "ed25519",
        "sign",
        "never",
    ]))?;
    output(gpg().arg("--output").arg(&exported).arg("--export-secret-keys"))?;
    let provenance = ProvenanceKey::read(&exported)?;
    let make = |bundle: &str| {
        let bundle = folder.path().join(bundle);
        let (blobs, charts) = (bundle.join("blobs"), bundle.join("charts"));
        fs::create_dir_all(&blobs)?;
        fs::create_dir(&charts)?;
        charts::pack("liquid-memory", &bundle, &blobs, Some(&provenance))?;
        anyhow::Ok(charts)
    };
    let (one, two) = (make("one")?, make("two")?);
    let package = format!("liquid-memory-{}.tgz", env!("CARGO_PKG_VERSION"));
    let signed = one.join(format!("{package}.prov"));
    assert!(fs::read(&signed)? == fs::read(two.join(format!("{package}.prov")))?);
    let text = output(gpg().arg("--decrypt").arg(&signed))?;
    let sum = sha256(&one.join(&package))?;
    assert!(text.contains(&format!("  {package}: sha256:{sum}")), "{text}");
    output(
        Command::new("gpgconf")
            .arg("--homedir")
            .arg(&home)
            .args(["--kill", "all"]),
    )?;
    Ok(())
}
