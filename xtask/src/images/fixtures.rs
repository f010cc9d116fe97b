//! Images that only the tests use: a mock provider, an application that uses the OpenAI SDK for Python, applications in
//! other languages ([`mod@clients`]), and a language model of random weights, alone and in the worker's image.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::archive::{Image, User};
use super::layer::{Layer, Packing};
use super::{Ingredients, Name, clients, libraries, models, product};
use crate::command::{output, root};
use crate::tools;

const PACKAGES: &str = "opt/packages";

/// Where the worker's image has the language model.
const DECODER: &str = "models/decoder";
/// The files of a language model of random weights.
const TINY: [&str; 3] = ["llama/config.json", "llama/model.safetensors", "tokenizer.json"];
const TEMPLATE: &str =
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:";

pub(super) fn image(name: Name, ingredients: &Ingredients) -> Result<Image> {
    let reference = name.reference(ingredients.registry);
    match name {
        Name::MockUpstream => {
            let program = "mock-upstream";
            product::program_image(reference, program, ingredients.programs.get(program)?)
        }
        Name::TestApplication => application(reference),
        Name::TestClients => clients::image(reference),
        Name::TestDecoder => Ok(product::model_image(
            reference,
            tiny_decoder("", ingredients)?,
            "A language model of random weights, for tests",
        )),
        Name::TestWorker => {
            let mut image = product::worker_image(reference, ingredients)?;
            image
                .layers
                .push((tiny_decoder(DECODER, ingredients)?, Packing::Plain));
            Ok(image)
        }
        _ => bail!("{name:?} is no fixture"),
    }
}

/// Packs the language model into a folder of the image, or into its root.
fn tiny_decoder(place: &str, ingredients: &Ingredients) -> Result<Layer> {
    let (fixtures, mut layer) = (root().join("decoder/fixtures"), Layer::default());
    for file in TINY {
        let name = file.rsplit('/').next().unwrap_or(file);
        layer.file(&models::inside(place, name), &fixtures.join(file))?;
    }
    layer.bytes(&models::inside(place, "chat_template.jinja"), TEMPLATE);
    models::sign(&mut layer, place, ingredients.key)?;
    Ok(layer)
}

/// The machine's Python at the place where it was built for, and the packages beside it.
fn application(reference: String) -> Result<Image> {
    let source = root().join("tests/cluster/application");
    let python = Python::find(&source.join("requirements.txt"))?;
    let mut system = product::system_files();
    let standard = python.standard.display().to_string();
    system.tree(&standard, &python.standard, &wanted)?;
    python.bytecode(&mut system, &python.standard, &standard)?;
    system.file(&python.program.display().to_string(), &python.program)?;
    let programs = objects(&system);
    libraries::add(&mut system, &programs)?;
    let mut packages = Layer::default();
    packages.tree(PACKAGES, &python.packages, &wanted)?;
    python.bytecode(&mut packages, &python.packages, PACKAGES)?;
    let extensions = objects(&packages);
    libraries::add(&mut packages, &extensions)?;
    let mut own = Layer::default();
    own.tree("application", &source, &|path| {
        path.extension().is_some_and(|end| end == "py")
    })?;
    Ok(Image {
        reference,
        entrypoint: vec![python.program.display().to_string()],
        environment: vec![
            format!("PYTHONPATH=/{PACKAGES}"),
            "PYTHONDONTWRITEBYTECODE=1".to_owned(),
            "PYTHONUNBUFFERED=1".to_owned(),
        ],
        user: User::Nobody,
        layers: [system, packages, own]
            .map(|layer| (layer, Packing::Plain))
            .into(),
        title: "An application with the OpenAI SDK, for tests",
    })
}

struct Python {
    environment: PathBuf,
    program: PathBuf,
    standard: PathBuf,
    packages: PathBuf,
}

impl Python {
    fn find(requirements: &Path) -> Result<Self> {
        let environment = tools::python("application", requirements)?;
        let ask = |expression: &str| -> Result<PathBuf> {
            let script = format!("import os, sys, sysconfig; print({expression})");
            let answer = output(Command::new(&environment).args(["-c", &script]))?;
            Ok(PathBuf::from(answer))
        };
        Ok(Self {
            program: ask("os.path.realpath(sys.executable)")?,
            standard: ask("sysconfig.get_path('stdlib')")?,
            packages: tools::packages(&environment)?,
            environment,
        })
    }

    /// Adds the bytecode of what the application imports. It holds for its source whatever the time of that: an
    /// image's files have none, and without bytecode each start would compile a thousand files.
    fn bytecode(&self, layer: &mut Layer, folder: &Path, place: &str) -> Result<()> {
        // In the environment: it is made anew when the packages change.
        let environment = self.environment.parent().and_then(Path::parent);
        let prefix = environment.context("no environment")?.join("bytecode");
        if !prefix.exists() {
            output(Command::new(&self.environment).args(["-c", COMPILE]).arg(&prefix))?;
        }
        layer.bytecode(place, &prefix.join(folder.strip_prefix("/").unwrap_or(folder)))
    }
}

const COMPILE: &str = "
import sys, os, json, signal, time, openai, openai.types.chat
from py_compile import compile, PycInvalidationMode
for module in list(sys.modules.values()):
    source, cached = getattr(module, '__file__', None), getattr(module, '__cached__', None)
    if source and cached and source.endswith('.py'):
        target = os.path.join(sys.argv[1], os.path.dirname(source)[1:], os.path.basename(cached))
        compile(source, cfile=target, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
";

/// Everything but what no program needs.
fn wanted(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unused = [
        "__pycache__",
        "test",
        "tests",
        "idlelib",
        "tkinter",
        "ensurepip",
        "pip",
        "setuptools",
        "site-packages",
        "turtledemo",
        "lib2to3",
    ];
    !unused.contains(&name.as_ref()) && !name.starts_with("config-") && !name.ends_with(".a")
}

/// What may need shared libraries: the interpreter and its extensions.
fn objects(layer: &Layer) -> Vec<PathBuf> {
    let mut objects = layer.sources();
    objects.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".so") || name.contains(".so.") || !name.contains('.') || name.starts_with("python3")
    });
    objects
}
