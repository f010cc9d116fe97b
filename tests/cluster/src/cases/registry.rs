//! A registry in the cluster: TLS, a password, and nodes that know its authority.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use crate::kubectl::{apply, output, rolled_out};
use crate::manifest;
use crate::world::{Namespace, World, eventually};

const NAMESPACE: &str = "registry";
/// An address of the services' range that no one else asks for: the nodes reach it, and know no names of the cluster.
const ADDRESS: &str = "10.96.0.50";
const PORT: u16 = 5000;
const LOGIN: &str = "carrier:a password of the tests";
/// The same in Base64, as `docker login` writes it.
const AUTH: &str = "Y2FycmllcjphIHBhc3N3b3JkIG9mIHRoZSB0ZXN0cw==";
/// And with the password's bcrypt, as the registry reads it.
const HTPASSWD: &str = "carrier:$2y$05$abcdefghijklmnopqrstuuComanBKiU1JTRzmmvE2xk8ApqQhbSI.\n";
const CONFIG: &str = "version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: /tmp/registry}}
http: {addr: ':5000', tls: {certificate: /files/tls.crt, key: /files/tls.key}}
auth: {htpasswd: {realm: tests, path: /files/htpasswd}}
";
/// A public key that has signed nothing here.
pub(super) const OTHER_KEY: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";

/// A registry that runs; its namespace goes with this value, and what it holds.
pub(super) struct Registry {
    /// Its authority and the credentials, on the machine of the nodes.
    folder: PathBuf,
    _namespace: Namespace,
}

impl Registry {
    /// Starts it, empty, and tells the nodes of it.
    pub(super) fn start(world: &World) -> Result<Self> {
        crate::kubectl::kubectl(&["delete", "namespace", NAMESPACE, "--ignore-not-found"])?;
        let registry = Self {
            folder: world.registries.join("login"),
            _namespace: Namespace::new(
                NAMESPACE,
                &json!({"pod-security.kubernetes.io/enforce": "restricted"}),
            )?,
        };
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![ADDRESS.to_owned()])?.self_signed(&key)?;
        registry.tell_nodes(world, &certificate.pem())?;
        apply(&json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "files", "namespace": NAMESPACE},
            "stringData": {"config.yml": CONFIG, "htpasswd": HTPASSWD, "tls.crt": certificate.pem(),
                "tls.key": key.serialize_pem()},
        }))?;
        apply(&json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "registry", "namespace": NAMESPACE},
            "spec": {"clusterIP": ADDRESS, "selector": {"app": "registry"}, "ports": [{"port": PORT}]},
        }))?;
        apply(&deployment())?;
        rolled_out(NAMESPACE, "deployment/registry", Duration::from_secs(60))?;
        eventually("the registry's answer", Duration::from_secs(30), || {
            registry.repositories().map(Some)
        })?;
        Ok(registry)
    }

    fn tell_nodes(&self, world: &World, authority: &str) -> Result<()> {
        let known = world.registries.join(host());
        for folder in [&self.folder, &known] {
            fs::create_dir_all(folder)?;
        }
        fs::write(self.authority(), authority)?;
        let hosts = format!(
            "server = \"https://{host}\"\n[host.\"https://{host}\"]\ncapabilities = [\"pull\", \"resolve\"]\nca = {ca:?}\n",
            host = host(),
            ca = self.authority()
        );
        fs::write(known.join("hosts.toml"), hosts)?;
        let auths = json!({"auths": {host(): {"auth": AUTH}}});
        fs::write(self.config(), auths.to_string()).context("cannot write the credentials")
    }

    /// Where things are pushed and pulled.
    pub(super) fn address(&self) -> String {
        format!("{}/liquid", host())
    }

    /// File of the authority of its certificate.
    pub(super) fn authority(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// The folder that `DOCKER_CONFIG` names.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The credentials, as Docker has them.
    pub(super) fn config(&self) -> PathBuf {
        self.folder.join("config.json")
    }

    /// The names of everything that was pushed.
    pub(super) fn repositories(&self) -> Result<Vec<Value>> {
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            "10",
            "--cacert",
        ])
        .arg(self.authority())
        .args(["--user", LOGIN])
        .arg(format!("https://{}/v2/_catalog", host()));
        let catalog = serde_json::from_str::<Value>(&output(&mut curl)?)?;
        let names = catalog.get("repositories").and_then(Value::as_array);
        Ok(names.cloned().unwrap_or_default())
    }
}

fn host() -> String {
    format!("{ADDRESS}:{PORT}")
}

fn deployment() -> Value {
    let container = json!({
        "name": "registry",
        "image": "liquid.test/registry:1",
        "imagePullPolicy": "Never",
        "args": ["serve", "/files/config.yml"],
        "volumeMounts": [{"name": "files", "mountPath": "/files", "readOnly": true}],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "securityContext": manifest::container_security(),
    });
    let mut deployment = manifest::deployment(NAMESPACE, "registry", &[container]);
    if let Some(spec) = deployment
        .pointer_mut("/spec/template/spec")
        .and_then(Value::as_object_mut)
    {
        let volumes = json!([{"name": "files", "secret": {"secretName": "files"}}]);
        spec.insert("volumes".to_owned(), volumes);
    }
    deployment
}
