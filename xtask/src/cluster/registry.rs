//! A registry for the tests: `distribution`, built from its Go module, as an image that runs as nobody.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::binaries::ModulePrograms;
use crate::images::{Image, Layer, Packing, User};

const PROGRAMS: ModulePrograms = ModulePrograms {
    name: "registry",
    module: "registry",
    package: "github.com/distribution/distribution/v3",
    sources: "cmd",
    programs: &["registry"],
    time: "a minute",
};
const IMAGE: &str = "liquid.test/registry:1";

/// Writes the image's archive into a folder, and builds its program if that was not done before.
pub(crate) fn image(to: &Path) -> Result<PathBuf> {
    let mut layer = Layer::default();
    layer.file("bin/registry", &PROGRAMS.ensure()?.join("registry"))?;
    layer.folder("tmp", 0o1777);
    let image = Image {
        reference: IMAGE.to_owned(),
        entrypoint: vec!["/bin/registry".to_owned()],
        environment: Vec::new(),
        user: User::Nobody,
        layers: vec![(layer, Packing::Plain)],
        title: "A registry, for tests",
    };
    Ok(image.write(to)?.archive)
}
