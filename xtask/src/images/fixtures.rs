//! Images that only the tests use: a mock provider, and an application that uses the OpenAI SDK for Python.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Name;
use super::archive::{Image, User};
use super::build::Programs;
use super::layer::{Layer, Packing};
use super::{libraries, product};
use crate::command::{output, root, run};
use crate::tools;

const PACKAGES: &str = "opt/packages";

pub(super) fn image(name: Name, reference: String, programs: &Programs) -> Result<Image> {
    match name {
        Name::MockUpstream => product::program_image(reference, "mock-upstream", programs),
        Name::TestApplication => application(reference),
        _ => bail!("{name:?} is no fixture"),
    }
}

/// The machine's Python at the place where it was built for, and the packages beside it.
fn application(reference: String) -> Result<Image> {
    let source = root().join("tests/cluster/application");
    let python = Python::find(&source.join("requirements.txt"))?;
    let mut system = product::system_files();
    let standard = python.standard.display().to_string();
    system.tree(&standard, &python.standard, &wanted)?;
    system.file(&python.program.display().to_string(), &python.program)?;
    let programs = objects(&system);
    libraries::add(&mut system, &programs)?;
    let mut packages = Layer::default();
    packages.tree(PACKAGES, &python.packages, &wanted)?;
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
        let packages = ask("sysconfig.get_path('purelib')")?;
        compile(&environment, &packages)?;
        Ok(Self {
            program: ask("os.path.realpath(sys.executable)")?,
            standard: ask("sysconfig.get_path('stdlib')")?,
            packages,
        })
    }
}

/// Bytecode that holds for its source whatever the time of that: an image's files have none.
fn compile(python: &Path, folder: &Path) -> Result<()> {
    let stamp = folder.join("compiled");
    if stamp.exists() {
        return Ok(());
    }
    let mut compile = Command::new(python);
    compile
        .args([
            "-m",
            "compileall",
            "-q",
            "-f",
            "--invalidation-mode",
            "unchecked-hash",
        ])
        .arg(folder);
    run(&mut compile).context("cannot compile the packages")?;
    fs::write(stamp, "")?;
    Ok(())
}

/// Everything but what no program needs.
fn wanted(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unused = [
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
