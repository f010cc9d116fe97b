//! The image of applications with a provider's URL in their code, in Node, Go and Java, each with the real SDK of its
//! language: `tests/cluster/application/{node,go,java}`. Where a language's tools or packages cannot be had, it is left
//! out, and its cases are skipped by name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use super::archive::{Image, User};
use super::layer::{Layer, Packing};
use super::{libraries, product};
use crate::command::{cache, exists, output, root};
use crate::console::{say, warn};
use crate::model::sha256;
use crate::tools;

/// What the Java application and its SDK use of the runtime.
const MODULES: &str = "java.logging,jdk.crypto.ec,jdk.unsupported";

/// A language of applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Node,
    Go,
    Java,
}

impl Client {
    const ALL: [Self; 3] = [Self::Node, Self::Go, Self::Java];

    /// The name that its cases and its folder have.
    fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Go => "go",
            Self::Java => "java",
        }
    }

    fn source(self) -> PathBuf {
        root().join("tests/cluster/application").join(self.name())
    }

    /// Where it is in the image.
    fn place(self, file: &str) -> String {
        format!("application/{}/{file}", self.name())
    }

    /// What of it is made here, kept for the next time.
    fn folder(self) -> Result<PathBuf> {
        let folder = cache().join("clients").join(self.name());
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Fetches its packages.
    fn fetch(self) -> Result<()> {
        match self {
            Self::Node => tools::node(&node_packages()),
            Self::Go => output(tools::go(&self.source(), "mod").arg("download")).map(|_| ()),
            Self::Java => {
                let mut tools = ["javac", "jlink", "mvn"].into_iter();
                if let Some(tool) = tools.find(|tool| !exists(tool, "--version")) {
                    bail!("{tool} is not installed (Debian: apt-get install openjdk-17-jdk-headless maven)");
                }
                java_packages(self).map(|_| ())
            }
        }
    }

    fn layer(self) -> Result<Layer> {
        match self {
            Self::Node => node(self),
            Self::Go => go(self),
            Self::Java => java(self),
        }
    }
}

/// The names of the languages whose applications can be made.
pub(crate) fn clients() -> Vec<&'static str> {
    ready().iter().map(|client| client.name()).collect()
}

/// The languages whose tools and packages are here; fetches the packages.
fn ready() -> &'static [Client] {
    static CLIENTS: OnceLock<Vec<Client>> = OnceLock::new();
    CLIENTS.get_or_init(|| {
        let mut clients = Client::ALL.to_vec();
        clients.retain(|client| match client.fetch() {
            Ok(()) => true,
            Err(error) => {
                warn(format!("no application in {}: {error:#}", client.name()));
                false
            }
        });
        clients
    })
}

pub(super) fn image(reference: String) -> Result<Image> {
    let mut layers = vec![product::system_files()];
    for client in ready() {
        let layer = client.layer();
        layers.push(layer.with_context(|| format!("the application in {}", client.name()))?);
    }
    Ok(Image {
        reference,
        entrypoint: Vec::new(),
        environment: Vec::new(),
        user: User::Nobody,
        layers: layers.into_iter().map(|layer| (layer, Packing::Plain)).collect(),
        title: "Applications with the SDKs of OpenAI and Anthropic, for tests",
    })
}

/// The SDKs that the tests of clients have.
fn node_packages() -> PathBuf {
    root().join("tests/clients/node")
}

fn node(client: Client) -> Result<Layer> {
    let ask = [
        "-e",
        "process.stdout.write(require('fs').realpathSync(process.execPath))",
    ];
    let program = PathBuf::from(output(Command::new("node").args(ask))?);
    let mut layer = Layer::default();
    layer.file("usr/bin/node", &program)?;
    libraries::add(&mut layer, &[program])?;
    layer.file(&client.place("ask.mjs"), &client.source().join("ask.mjs"))?;
    let packages = node_packages().join("node_modules");
    layer.tree(&client.place("node_modules"), &packages, &is_run)?;
    Ok(layer)
}

/// Everything but declarations of types and maps of sources.
fn is_run(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unused = [".ts", ".mts", ".cts", ".map", ".md"];
    !name.starts_with('.') && !unused.iter().any(|end| name.ends_with(end))
}

/// One static program.
fn go(client: Client) -> Result<Layer> {
    let program = client.folder()?.join("ask");
    output(
        tools::go(&client.source(), "build")
            .args(["-trimpath", "-ldflags=-s -w", "-o"])
            .arg(&program),
    )?;
    let mut layer = Layer::default();
    layer.file(&client.place("ask"), &program)?;
    Ok(layer)
}

/// The program, its packages, and of the machine's Java what they use.
fn java(client: Client) -> Result<Layer> {
    let (folder, packages) = (client.folder()?, java_packages(client)?);
    let classes = folder.join("classes");
    output(
        Command::new("javac")
            .arg("-cp")
            .arg(packages.join("*"))
            .arg("-d")
            .arg(&classes)
            .arg(client.source().join("Ask.java")),
    )?;
    let runtime = java_runtime(&folder)?;
    let mut layer = Layer::default();
    layer.tree("opt/java", &runtime, &|_| true)?;
    let objects = layer.sources();
    let objects = objects
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "so") || path.ends_with("bin/java"));
    for object in objects {
        // Its own libraries find each other.
        let needed = libraries::of(object)?.into_iter();
        for library in needed.filter(|library| !library.starts_with(&runtime)) {
            layer.file(&library.display().to_string(), &library)?;
        }
    }
    layer.tree(&client.place("classes"), &classes, &|_| true)?;
    layer.tree(&client.place("packages"), &packages, &|_| true)?;
    Ok(layer)
}

/// The folder of the packages that `pom.xml` names; fetched again when that changes.
fn java_packages(client: Client) -> Result<PathBuf> {
    let description = client.source().join("pom.xml");
    let stamp = client.folder()?.join("pom.sha256");
    let (packages, wanted) = (client.folder()?.join("packages"), sha256(&description)?);
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(packages);
    }
    say("fetching the packages of tests/cluster/application/java");
    let _ = fs::remove_dir_all(&packages);
    output(
        Command::new("mvn")
            .args(["--quiet", "--batch-mode", "--file"])
            .arg(description)
            .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
            .arg(format!("-DoutputDirectory={}", packages.display())),
    )?;
    fs::write(stamp, wanted)?;
    Ok(packages)
}

/// The folder of a runtime with [`MODULES`] alone; made again for another version.
fn java_runtime(folder: &Path) -> Result<PathBuf> {
    let version = output(Command::new("jlink").arg("--version"))?;
    let (runtime, stamp) = (folder.join("runtime"), folder.join("runtime.version"));
    if fs::read_to_string(&stamp).is_ok_and(|found| found == version) {
        return Ok(runtime);
    }
    let _ = fs::remove_dir_all(&runtime);
    output(
        Command::new("jlink")
            .args(["--add-modules", MODULES, "--strip-java-debug-attributes"])
            .args(["--no-header-files", "--no-man-pages", "--output"])
            .arg(&runtime),
    )?;
    fs::write(stamp, version)?;
    Ok(runtime)
}
