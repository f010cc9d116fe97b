//! `cargo xtask images`: OCI images without a container engine.
//!
//! The same files give the same digest: entries are sorted, times and owners are zero, the compressor is ours.
//! Each archive in `.cache/images` is one image; `ctr images import` reads it, skopeo and crane push it.
//!
//! [`product`] and [`fixtures`] say what is in an image, [`layer`] and [`archive`] write it.

mod archive;
mod blob;
mod build;
mod clients;
mod cuda;
mod fixtures;
mod layer;
mod libraries;
mod models;
mod product;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use liquid_signing::PrivateKey;

use crate::command::cache;
use crate::console::{human, say, step, thousands};
pub(crate) use archive::{Image, LAYOUT, StoredImage, User, Written, file_header, index, write_tar};
pub(crate) use blob::Blob;
pub(crate) use build::{Profile, Programs};
pub(crate) use clients::clients;
pub(crate) use cuda::Wheel;
pub(crate) use layer::{Layer, Packing};
pub(crate) use libraries::{add as add_libraries, of as libraries_of};

/// What a node fetches for each pod that gets a sidecar.
const SIDECAR_LIMIT: u64 = 25_000_000;

/// Where images come from unless the chart is told otherwise.
pub(crate) const REGISTRY: &str = "ghcr.io/liquid-memory";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Make only these.
    #[arg(value_enum)]
    images: Vec<Name>,
    /// Make the worker for NVIDIA GPUs too.
    #[arg(long)]
    cuda: bool,
    /// With which profile the programs are built. `dev` takes what the tests have built already: right for tests,
    /// five times as large and slow.
    #[arg(long, value_enum, default_value = "release")]
    profile: Profile,
    /// Take the programs from this folder instead of building them.
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// Sign the models in the images with this private key (Ed25519, PEM), for `model.verify = "required"`.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// First part of the images' names.
    #[arg(long, default_value = REGISTRY)]
    registry: String,
    /// Where the archives go.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Make each image a second time, and fail unless both have the same digest.
    #[arg(long)]
    verify: bool,
    /// Print names and contents of the images that an installation needs, for a mirror; make none.
    #[arg(long)]
    list: bool,
}

/// An image that this repository makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// The operator.
    Operator,
    /// What is injected into pods.
    Sidecar,
    /// The worker on a CPU, with the encoder's weights.
    Worker,
    /// The worker for NVIDIA GPUs, with the encoder's weights and NVIDIA's libraries; the driver is the node's.
    WorkerCuda,
    /// The encoder's weights alone, to mount as an OCI image volume.
    Model,
    /// A small language model alone (SmolLM2-135M-Instruct, 269 MB), to try `spec.decoder` as an OCI image volume.
    Decoder,
    /// A mock LLM provider, for tests.
    MockUpstream,
    /// An application that uses the OpenAI SDK for Python, for tests.
    TestApplication,
    /// Applications in Node, Go and Java that have a provider's URL in their code, for tests.
    TestClients,
    /// A language model of random weights alone, for tests.
    TestDecoder,
    /// The worker with that model in its image, for tests.
    TestWorker,
}

impl Name {
    /// The worker that is built for NVIDIA GPUs, where it is beside the other; its image is called so too.
    pub(crate) const CUDA_PROGRAM: &'static str = "liquid-worker-cuda";
    /// What an installation needs.
    pub(crate) const PRODUCT: [Self; 4] = [Self::Operator, Self::Sidecar, Self::Worker, Self::Model];
    /// What only the tests need.
    pub(crate) const FIXTURES: [Self; 5] = [
        Self::MockUpstream,
        Self::TestApplication,
        Self::TestClients,
        Self::TestDecoder,
        Self::TestWorker,
    ];

    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Operator => "liquid-operator",
            Self::Sidecar => "liquid-sidecar",
            Self::Worker => "liquid-worker",
            Self::WorkerCuda => Self::CUDA_PROGRAM,
            Self::Model => "liquid-model-minilm",
            Self::Decoder => "liquid-model-smollm2",
            Self::MockUpstream => "mock-upstream",
            Self::TestApplication => "test-application",
            Self::TestClients => "test-clients",
            Self::TestDecoder => "test-decoder",
            Self::TestWorker => "test-worker",
        }
    }

    /// `REGISTRY/NAME:VERSION`.
    pub(crate) fn reference(self, registry: &str) -> String {
        format!("{registry}/{}", self.short_reference())
    }

    /// `NAME:VERSION`.
    pub(crate) fn short_reference(self) -> String {
        format!("{}:{}", self.file(), env!("CARGO_PKG_VERSION"))
    }

    /// The package that has the image's program.
    pub(crate) fn package(self) -> Option<&'static str> {
        build::package(self)
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut names = match arguments.images.as_slice() {
        [] => Name::PRODUCT.to_vec(),
        some => some.to_vec(),
    };
    if arguments.cuda && !names.contains(&Name::WorkerCuda) {
        names.push(Name::WorkerCuda);
    }
    let names = names.as_slice();
    if arguments.list {
        for name in names {
            println!("{}", name.reference(&arguments.registry));
        }
        return Ok(());
    }
    step("images");
    let folder = arguments.out.clone().unwrap_or_else(folder);
    let programs = match &arguments.programs {
        Some(folder) => Programs::within(names, folder)?,
        None => Programs::build(names, arguments.profile)?,
    };
    let key = arguments.key.as_deref().map(PrivateKey::read).transpose()?;
    let ingredients = Ingredients {
        programs: &programs,
        registry: &arguments.registry,
        key: key.as_ref(),
    };
    let written = write(names, &ingredients, &folder)?;
    if arguments.verify {
        verify(&written, names, &ingredients, &folder.join("again"))?;
    }
    for written in written {
        say(format!(
            "{}  {} bytes  {}",
            written.reference,
            thousands(written.size),
            written.digest
        ));
        say(format!("  {}", written.archive.display()));
    }
    Ok(())
}

/// Makes the images again elsewhere: the same files have to give the same digests.
fn verify(first: &[Written], names: &[Name], ingredients: &Ingredients, folder: &Path) -> Result<()> {
    let second = write(names, ingredients, folder)?;
    std::fs::remove_dir_all(folder)?;
    for (first, second) in first.iter().zip(second) {
        if first.digest != second.digest {
            bail!(
                "{}: made twice, it is {} and {}",
                first.reference,
                first.digest,
                second.digest
            );
        }
    }
    say("made twice, each image has the same digest");
    Ok(())
}

/// What images are made of, beside the files of the repository.
pub(crate) struct Ingredients<'a> {
    pub(crate) programs: &'a Programs,
    /// First part of the images' names.
    pub(crate) registry: &'a str,
    /// Signs the folders of models; without it they have no signature.
    pub(crate) key: Option<&'a PrivateKey>,
}

/// Where archives go by default.
pub(crate) fn folder() -> PathBuf {
    cache().join("images")
}

/// Makes images of programs that are built.
pub(crate) fn write(names: &[Name], ingredients: &Ingredients, folder: &Path) -> Result<Vec<Written>> {
    let start = std::time::Instant::now();
    let mut all = Vec::new();
    for name in names {
        let written = image(*name, ingredients)?.write(folder)?;
        check_size(*name, ingredients.programs, written.size)?;
        all.push(written);
    }
    say(format!("{} images after {}", all.len(), human(start.elapsed())));
    Ok(all)
}

/// Puts an image together.
pub(crate) fn image(name: Name, ingredients: &Ingredients) -> Result<Image> {
    match Name::FIXTURES.contains(&name) {
        true => fixtures::image(name, ingredients),
        false => product::image(name, ingredients),
    }
}

/// Fails where an image that is shipped is larger than it may be.
pub(crate) fn check_size(name: Name, programs: &Programs, size: u64) -> Result<()> {
    if name == Name::Sidecar && programs.profile() == Profile::Release && size > SIDECAR_LIMIT {
        bail!(
            "the sidecar's image has {} bytes, its limit is {}",
            thousands(size),
            thousands(SIDECAR_LIMIT)
        );
    }
    Ok(())
}
