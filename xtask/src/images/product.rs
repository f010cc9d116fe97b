//! What is in the images that are shipped: one program, its libraries, nothing else. No shell, no package manager.
//!
//! No bundle of certificate authorities either: the sidecar has the public ones compiled in, the operator trusts
//! the cluster's own, and a company's own are mounted (`upstream.ca_file`).

use std::path::Path;

use anyhow::{Result, bail};
use liquid_contract::files::RANKER_FOLDER;
use liquid_signing::PrivateKey;

use super::archive::{Image, User};
use super::layer::{Layer, Packing};
use super::{Ingredients, Name, cuda, libraries, models};
use crate::model::{self, Weights};

pub(super) const WORKER: &str = "liquid-worker";

/// Where the worker's image has the weights.
pub(super) const WEIGHTS: &str = "models/all-minilm-l6-v2";

pub(super) fn image(name: Name, ingredients: &Ingredients) -> Result<Image> {
    let reference = name.reference(ingredients.registry);
    let program = match name {
        Name::Operator => "liquid-operator",
        Name::Sidecar => "liquid-sidecar",
        Name::Worker => return worker_image(reference, ingredients),
        Name::WorkerCuda => return cuda::image(ingredients),
        Name::Model => {
            let title = "Encoder weights for liquid-worker (all-MiniLM-L6-v2, Apache-2.0)";
            let layer = weights("", RANKER_FOLDER, ingredients.key)?;
            return Ok(model_image(reference, layer, title));
        }
        Name::Decoder => {
            let title = "Language model for liquid-worker (SmolLM2-135M-Instruct, Apache-2.0)";
            return Ok(model_image(reference, decoder(ingredients.key)?, title));
        }
        _ => bail!("{name:?} is not shipped"),
    };
    program_image(reference, program, ingredients.programs.get(program)?)
}

/// The worker with the encoder's weights.
pub(super) fn worker_image(reference: String, ingredients: &Ingredients) -> Result<Image> {
    let mut image = program_image(reference, WORKER, ingredients.programs.get(WORKER)?)?;
    add_weights(&mut image, ingredients)?;
    Ok(image)
}

/// Adds the weights of encoder and ranker, where a worker looks for them.
pub(super) fn add_weights(image: &mut Image, ingredients: &Ingredients) -> Result<()> {
    let weights = weights(WEIGHTS, &format!("models/{RANKER_FOLDER}"), ingredients.key)?;
    image.layers.push((weights, Packing::Plain));
    Ok(())
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
fn decoder(key: Option<&PrivateKey>) -> Result<Layer> {
    let folder = match model::decoder::ensure()? {
        Weights::Ready(folder) => folder,
        Weights::Missing(why) => bail!("no language model for the image: {why}"),
    };
    let mut layer = Layer::default();
    models::add(&mut layer, "", &folder)?;
    models::sign(&mut layer, "", key)?;
    Ok(layer)
}

/// An image of one program, the file `path`, that runs as nobody.
pub(super) fn program_image(reference: String, program: &str, path: &Path) -> Result<Image> {
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

/// Packs the folders of the encoder and of the ranker, each with a signature of its own. A ranker inside the encoder's
/// folder is a part of what that one's signature covers.
fn weights(place: &str, ranker_place: &str, key: Option<&PrivateKey>) -> Result<Layer> {
    let folder = match model::ensure()? {
        Weights::Ready(folder) => folder,
        Weights::Missing(why) => bail!("no weights for the image: {why}"),
    };
    let mut layer = Layer::default();
    models::add(&mut layer, ranker_place, &model::ranker_folder())?;
    models::sign(&mut layer, ranker_place, key)?;
    models::add(&mut layer, place, &folder)?;
    models::sign(&mut layer, place, key)?;
    Ok(layer)
}
