//! What is in the images that are shipped: one program, its libraries, nothing else. No shell, no package manager.
//!
//! No bundle of certificate authorities either: the sidecar has the public ones compiled in, the operator trusts
//! the cluster's own, and a company's own are mounted (`upstream.ca_file`).

use std::path::Path;

use anyhow::{Result, bail};
use liquid_contract::files::RANKER_FOLDER;

use super::Name;
use super::archive::{Image, User};
use super::build::Programs;
use super::layer::{Layer, Packing};
use super::libraries;
use crate::model::{self, Weights};

const WORKER: &str = "liquid-worker";

/// Where the worker's image has the weights.
pub(super) const WEIGHTS: &str = "models/all-minilm-l6-v2";

pub(super) fn image(name: Name, reference: String, programs: &Programs) -> Result<Image> {
    let program = match name {
        Name::Operator => "liquid-operator",
        Name::Sidecar => "liquid-sidecar",
        Name::Worker => WORKER,
        Name::Model => {
            let title = "Encoder weights for liquid-worker (all-MiniLM-L6-v2, Apache-2.0)";
            return Ok(model_image(reference, weights("", RANKER_FOLDER)?, title));
        }
        Name::Decoder => {
            let title = "Language model for liquid-worker (SmolLM2-135M-Instruct, Apache-2.0)";
            return Ok(model_image(reference, decoder()?, title));
        }
        _ => bail!("{name:?} is not shipped"),
    };
    match name {
        Name::Worker => worker_image(reference, programs),
        _ => program_image(reference, program, programs),
    }
}

/// The worker with the encoder's weights.
pub(super) fn worker_image(reference: String, programs: &Programs) -> Result<Image> {
    let mut image = program_image(reference, WORKER, programs)?;
    let weights = weights(WEIGHTS, &format!("models/{RANKER_FOLDER}"))?;
    image.layers.push((weights, Packing::Plain));
    Ok(image)
}

/// An image of a model's folder alone, which is only mounted.
pub(super) fn model_image(reference: String, folder: Layer, title: &'static str) -> Image {
    Image {
        reference,
        entrypoint: Vec::new(),
        environment: Vec::new(),
        user: User::Nobody,
        layers: vec![(folder, Packing::Plain)],
        title,
    }
}

/// Packs the folder of the small language model.
fn decoder() -> Result<Layer> {
    let folder = match model::decoder::ensure()? {
        Weights::Ready(folder) => folder,
        Weights::Missing(why) => bail!("no language model for the image: {why}"),
    };
    let mut layer = Layer::default();
    add_folder(&mut layer, "", &folder)?;
    Ok(layer)
}

/// An image of one program that runs as nobody.
pub(super) fn program_image(reference: String, program: &str, programs: &Programs) -> Result<Image> {
    let path = programs.get(program)?;
    // Libraries change with the build machine, programs with every commit: two layers.
    let mut system = system_files();
    libraries::add(&mut system, &[path.to_owned()])?;
    let mut own = Layer::default();
    own.file(&format!("usr/bin/{program}"), path)?;
    own.bytes("LICENSE", std::fs::read(crate::command::root().join("LICENSE"))?);
    Ok(Image {
        reference,
        entrypoint: vec![format!("/usr/bin/{program}")],
        environment: Vec::new(),
        user: User::Nobody,
        layers: vec![(system, Packing::Gzip), (own, Packing::Gzip)],
        title: "Liquid Memory",
    })
}

/// What glibc wants to find: users and how names are looked up.
pub(super) fn system_files() -> Layer {
    let mut layer = Layer::default();
    layer.bytes(
        "etc/passwd",
        "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n",
    );
    layer.bytes("etc/group", "root:x:0:\nnonroot:x:65532:\n");
    layer.bytes(
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files dns\n",
    );
    layer.folder("tmp", 0o1777);
    layer
}

/// Packs the folders of the encoder and of the ranker.
fn weights(place: &str, ranker_place: &str) -> Result<Layer> {
    let folder = match model::ensure()? {
        Weights::Ready(folder) => folder,
        Weights::Missing(why) => bail!("no weights for the image: {why}"),
    };
    let mut layer = Layer::default();
    add_folder(&mut layer, place, &folder)?;
    add_folder(&mut layer, ranker_place, &model::ranker_folder())?;
    Ok(layer)
}

fn add_folder(layer: &mut Layer, place: &str, folder: &Path) -> Result<()> {
    let prefix = if place.is_empty() {
        String::new()
    } else {
        format!("{place}/")
    };
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        layer.file(&format!("{prefix}{name}"), &path)?;
    }
    Ok(())
}
