//! The same files give the same image, whenever and wherever they are read; and whoever builds with an engine gets the
//! same content.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use super::archive::{Image, USER, User, Written};
use super::layer::{Layer, Packing};
use super::{Name, Programs, cuda, product};
use crate::command::root;

/// Files of an image, written in this order, last changed so many seconds after 1970.
fn image(folder: &Path, files: &[(&str, &str)], seconds: u64) -> Result<Written> {
    let source = folder.join("source");
    for (name, text) in files {
        let path = source.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&source))?;
        fs::write(&path, text)?;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        fs::File::options().write(true).open(&path)?.set_modified(time)?;
    }
    let mut tree = Layer::default();
    tree.tree("data", &source, &|_| true)?;
    let mut text = Layer::default();
    text.bytes("LICENSE", "text");
    let image = Image {
        reference: "registry.test/image:1".to_owned(),
        entrypoint: vec!["/data/program".to_owned()],
        environment: Vec::new(),
        user: User::Nobody,
        layers: vec![(tree, Packing::Gzip), (text, Packing::Plain)],
        title: "A test",
    };
    image.write(&folder.join("out"))
}

#[test]
fn the_same_files_give_the_same_image() -> Result<()> {
    let (one, two, three) = (tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?);
    let files = [("program", "code"), ("lib/a", "1"), ("lib/b", "2")];
    let mut turned = files;
    turned.reverse();
    let first = image(one.path(), &files, 1_000_000_000)?;
    let second = image(two.path(), &turned, 1_700_000_000)?;
    assert_eq!(first.digest, second.digest);
    assert!(fs::read(first.archive)? == fs::read(second.archive)?);
    let other = image(three.path(), &[("program", "code."), ("lib/a", "1")], 1)?;
    assert_ne!(first.digest, other.digest);
    Ok(())
}

/// What the last stage of a Containerfile says: where its copies go, and its other lines as they are.
fn last_stage(text: &str) -> BTreeSet<String> {
    let text = text.replace("\\\n", "");
    let stage = text
        .rsplit_once("\nFROM ")
        .map(|(_, stage)| stage)
        .unwrap_or_default();
    let lines = stage
        .lines()
        .skip(1)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| match line.split_once("COPY ") {
            Some((_, copy)) => format!("COPY {}", copy.rsplit(' ').next().unwrap_or_default()),
            None => line.to_owned(),
        })
        .collect()
}

/// The same of an image that we make; what glibc and the resolver need is what the engine's base has.
fn content(name: Name, image: &Image) -> Result<BTreeSet<String>> {
    let (own, _) = image
        .layers
        .get(1)
        .context("an image of a program has two layers")?;
    let mut wanted = own
        .paths()
        .iter()
        .map(|path| format!("COPY /{path}"))
        .collect::<BTreeSet<_>>();
    if name == Name::Worker {
        wanted.insert(format!("COPY /{}", product::WEIGHTS));
    }
    wanted.insert(format!(
        "LABEL org.opencontainers.image.title=\"{}\"",
        image.title
    ));
    wanted.insert(format!(
        "USER {}",
        if matches!(image.user, User::Nobody) {
            USER
        } else {
            "root"
        }
    ));
    wanted.insert(format!(
        "ENTRYPOINT {}",
        serde_json::to_string(&image.entrypoint)?
    ));
    Ok(wanted)
}

#[test]
fn containerfiles_make_the_same_images() -> Result<()> {
    let programs = tempfile::tempdir()?;
    let names = [
        (Name::Operator, "liquid-operator", "operator"),
        (Name::Sidecar, "liquid-sidecar", "sidecar"),
        (Name::Worker, "liquid-worker", "worker"),
        (Name::Worker, "liquid-worker", "worker-cuda"),
    ];
    let compiler = format!(
        "FROM docker.io/library/rust:{}-bookworm AS build\n",
        env!("CARGO_PKG_RUST_VERSION")
    );
    for (name, program, file) in names {
        fs::write(programs.path().join(program), "no program")?;
        let built = Programs::within(&[name], programs.path())?;
        let image = product::program_image(name.reference("registry.test"), program, built.get(program)?)?;
        let path = root().join(format!("deploy/images/{file}.Containerfile"));
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let mut found = last_stage(&text);
        if file == "worker-cuda" {
            // What it has beside: CUDA's libraries, their licences, and how to find them.
            let variables = found.iter().find_map(|line| line.strip_prefix("ENV "));
            let variables = variables.unwrap_or_default().split_whitespace();
            assert_eq!(variables.collect::<Vec<_>>(), cuda::ENVIRONMENT);
            let beside = ["COPY /usr/local/cuda/lib64", "COPY /licenses"];
            found.retain(|line| !line.starts_with("ENV ") && !beside.contains(&line.as_str()));
        }
        assert_eq!(found, content(name, &image)?, "{}", path.display());
        assert!(
            text.contains(&compiler),
            "{}: not built by {compiler}",
            path.display()
        );
        assert!(
            text.contains(&format!("--package {program}")),
            "{}",
            path.display()
        );
        assert!(
            text.contains("\nFROM gcr.io/distroless/cc-debian12:nonroot\n"),
            "{}",
            path.display()
        );
    }
    Ok(())
}
