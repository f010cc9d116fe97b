//! `cargo xtask kubectl`: the plugin `kubectl liquid` as archives, with the manifest by which krew installs it.
//!
//! The same program gives the same archive: times and owners are zero. Where a program for another platform was built, it is
//! packed beside this machine's.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use liquid_signing::Sum;
use serde_json::{Value, json};

use crate::command::{cache, cargo, root};
use crate::console::{say, step};
use crate::graph;
use crate::images::file_header;
use crate::tools::relative;

/// The program, as kubectl looks for it.
const PROGRAM: &str = "kubectl-liquid";
/// The plugin's name for krew.
const PLUGIN: &str = "liquid";
/// Platforms that krew knows and the program is for.
const PLATFORMS: [&str; 5] = [
    "linux-amd64",
    "linux-arm64",
    "darwin-amd64",
    "darwin-arm64",
    "windows-amd64",
];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the archives will be, for the manifest: a URL, without the file's name.
    #[arg(long)]
    url: String,
    /// A program that was built already, as PLATFORM=FILE, such as linux-arm64=kubectl-liquid; several [default: this
    /// machine's is built].
    #[arg(long, value_name = "PLATFORM=FILE", value_parser = parse_program)]
    program: Vec<Program>,
    /// Where archives and manifest go.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// A program for a platform.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Program {
    /// One of [`PLATFORMS`].
    platform: String,
    path: PathBuf,
}

fn parse_program(text: &str) -> Result<Program, String> {
    let (platform, path) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?}: write PLATFORM=FILE"))?;
    match PLATFORMS.contains(&platform) {
        true => Ok(Program {
            platform: platform.into(),
            path: path.into(),
        }),
        false => Err(format!("{platform:?} is none of {}", PLATFORMS.join(", "))),
    }
}

/// Writes the archives and the manifest.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    step("kubectl liquid");
    let programs = match arguments.program.as_slice() {
        [] => vec![build()?],
        given => given.to_vec(),
    };
    let folder = arguments.out.clone().unwrap_or_else(|| cache().join("kubectl"));
    fs::create_dir_all(&folder)?;
    let mut archives = Vec::new();
    for program in &programs {
        let archive = Archive::write(program, &folder)
            .with_context(|| format!("the archive of {}", program.path.display()))?;
        say(format!(
            "{}  {}",
            archive.sum,
            relative(&folder.join(&archive.file))
        ));
        archives.push(archive);
    }
    let manifest = folder.join(format!("{PLUGIN}.yaml"));
    fs::write(&manifest, render(&archives, &arguments.url)?)?;
    say(relative(&manifest));
    Ok(())
}

/// Builds the program for this machine.
fn build() -> Result<Program> {
    let mut build = cargo(&[
        "build",
        "--locked",
        "--release",
        "--package",
        "liquid-kubectl",
        "--bin",
        PROGRAM,
    ]);
    let built = graph::build_apart(&mut build)?;
    let found = built.into_iter().find(|program| program.target == PROGRAM);
    Ok(Program {
        platform: this_platform()?.into(),
        path: found.context("cargo built no program")?.path,
    })
}

/// Returns the platform of this machine, as krew names it.
fn this_platform() -> Result<&'static str> {
    let system = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let processor = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let name = format!("{system}-{processor}");
    let found = PLATFORMS.into_iter().find(|platform| *platform == name);
    found.with_context(|| format!("krew knows no platform {name}"))
}

/// A written archive.
struct Archive {
    platform: String,
    file: String,
    /// Name of the program in it.
    program: String,
    /// SHA-256, hexadecimal.
    sum: String,
}

impl Archive {
    fn write(program: &Program, folder: &Path) -> Result<Self> {
        let Program { platform, path } = program;
        let file = format!("{PROGRAM}-v{}-{platform}.tar.gz", env!("CARGO_PKG_VERSION"));
        let suffix = if platform.starts_with("windows") {
            ".exe"
        } else {
            ""
        };
        let name = format!("{PROGRAM}{suffix}");
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
        append(&mut tar, &name, 0o755, &fs::read(path)?)?;
        append(&mut tar, "LICENSE", 0o644, &fs::read(root().join("LICENSE"))?)?;
        let bytes = tar.into_inner()?.finish()?;
        fs::write(folder.join(&file), &bytes)?;
        Ok(Self {
            platform: platform.clone(),
            file,
            program: name,
            sum: Sum::of(&bytes).to_string(),
        })
    }
}

fn append(tar: &mut tar::Builder<impl Write>, name: &str, mode: u32, content: &[u8]) -> Result<()> {
    let mut header = file_header(content.len() as u64);
    header.set_mode(mode);
    tar.append_data(&mut header, name, content)?;
    Ok(())
}

/// Renders krew's manifest. It is JSON, which YAML contains.
fn render(archives: &[Archive], url: &str) -> Result<String> {
    let url = url.trim_end_matches('/');
    if !url.starts_with("https://") {
        bail!("--url {url}: krew fetches from https://");
    }
    let platforms = archives.iter().map(|archive| {
        let (system, processor) = archive
            .platform
            .split_once('-')
            .unwrap_or((&archive.platform, ""));
        json!({
            "selector": {"matchLabels": {"os": system, "arch": processor}},
            "uri": format!("{url}/{}", archive.file),
            "sha256": archive.sum,
            "bin": archive.program,
        })
    });
    let manifest = json!({
        "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
        "kind": "Plugin",
        "metadata": {"name": PLUGIN},
        "spec": {
            "version": format!("v{}", env!("CARGO_PKG_VERSION")),
            "homepage": "https://liquidmemory.dev",
            "shortDescription": "Check and explain Liquid Memory",
            "description": "Says what an installation of Liquid Memory is doing, what is wrong with it in words with a remedy, \
                and what it saves. It writes nothing into the cluster.",
            "platforms": platforms.collect::<Vec<Value>>(),
        },
    });
    Ok(format!("{}\n", serde_json::to_string_pretty(&manifest)?))
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_manifest_names_the_sum_of_an_archive_that_is_the_same_every_time() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("built");
        fs::write(&path, "program")?;
        let program =
            parse_program(&format!("windows-amd64={}", path.display())).map_err(anyhow::Error::msg)?;
        let first = Archive::write(&program, folder.path())?;
        let bytes = fs::read(folder.path().join(&first.file))?;
        let again = Archive::write(&program, folder.path())?;
        assert_eq!(first.sum, again.sum);
        assert_eq!(first.sum, base16ct::lower::encode_string(&Sha256::digest(&bytes)));
        let manifest: Value = serde_json::from_str(&render(&[first], "https://releases.example/v1/")?)?;
        let platform = manifest.pointer("/spec/platforms/0").context("no platform")?;
        assert_eq!(platform["sha256"], again.sum.as_str());
        assert_eq!(platform["bin"], "kubectl-liquid.exe");
        assert_eq!(
            platform["uri"],
            format!("https://releases.example/v1/{}", again.file).as_str()
        );
        let mut entries = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
        let names = entries
            .entries()?
            .map(|entry| Ok(entry?.path()?.display().to_string()));
        assert_eq!(
            names.collect::<Result<Vec<_>>>()?,
            ["kubectl-liquid.exe", "LICENSE"]
        );
        Ok(())
    }

    #[test]
    fn a_platform_that_krew_does_not_know_is_refused() {
        assert!(parse_program("plan9-amd64=a").is_err_and(|error| error.contains("linux-amd64")));
        assert!(parse_program("linux-amd64").is_err());
        assert!(render(&[], "http://releases.example").is_err());
    }
}
