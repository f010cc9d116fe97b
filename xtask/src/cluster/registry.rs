//! A registry for the tests: `distribution`, built from its Go module, as an image that runs as nobody.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::binaries;
use crate::command::{output, run, shared_cache};
use crate::console::say;
use crate::images::{Image, Layer, Packing, User};

const MODULE: &str = "registry";
const PACKAGE: &str = "github.com/distribution/distribution/v3";
const IMAGE: &str = "liquid.test/registry:1";

/// Writes the image's archive into a folder, and builds its program if that was not done before.
pub(crate) fn image(to: &Path) -> Result<PathBuf> {
    let version = output(binaries::go(MODULE, "list").args(["-m", "-f", "{{.Version}}", PACKAGE]))?;
    let folder = shared_cache()?
        .join("cluster")
        .join(format!("registry-{}", version.trim()));
    let program = folder.join("registry");
    if !program.exists() {
        say("building the registry (once, a minute on two cores)");
        let mut go = binaries::go(MODULE, "build");
        go.args(["-trimpath", "-ldflags=-s -w", "-o"])
            .arg(&program)
            .arg(format!("{PACKAGE}/cmd/registry"));
        run(&mut go).context("cannot build the program of deploy/cluster/registry")?;
    }
    let mut layer = Layer::default();
    layer.file("bin/registry", &program)?;
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
