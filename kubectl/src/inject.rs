//! `kubectl liquid inject -f FILE`: manifests in, manifests with the sidecar out, as the webhook would make the pods.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use json_patch::patch;
use kube::Resource;
use liquid_operator::api::definition::to_yaml;
use liquid_operator::api::{LiquidMemoryProxy, PodUser, PullPolicy};
use liquid_operator::inject::{ConfigMapData, ConfigMaps, Decision, Input, Proxy, SidecarDefaults, inject};
use liquid_operator::webhook::cluster::to_injection;
use liquid_process::logs::LogFormat;
use serde_json::{Value, json};

use crate::output::{self, Format};
use crate::session::{Global, Session};
use crate::snapshot::{self, Depth};

/// Options of `inject`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// The manifests, YAML or JSON; `-` is standard input.
    #[arg(long, short)]
    pub(crate) filename: PathBuf,
    /// Ask no cluster: take this image for the sidecar, and the proxies that are in the manifests.
    #[arg(long, value_name = "IMAGE")]
    pub(crate) sidecar_image: Option<String>,
}

/// Where kinds of objects have their pod.
const TEMPLATES: [(&str, &str); 8] = [
    ("Pod", ""),
    ("Deployment", "/spec/template"),
    ("StatefulSet", "/spec/template"),
    ("DaemonSet", "/spec/template"),
    ("ReplicaSet", "/spec/template"),
    ("ReplicationController", "/spec/template"),
    ("Job", "/spec/template"),
    ("CronJob", "/spec/jobTemplate/spec/template"),
];

/// What pods are injected with: the installation's settings, and what their namespaces have.
struct Surroundings {
    defaults: SidecarDefaults,
    /// Namespace of objects that name none.
    namespace: String,
    /// By namespace.
    proxies: BTreeMap<String, Vec<Proxy>>,
    /// By namespace.
    config_maps: BTreeMap<String, ConfigMaps>,
}

/// Prints the manifests with the sidecar. The code is 1 if a pod would be refused.
///
/// # Errors
/// The manifests cannot be read, or the cluster cannot be reached.
pub(crate) async fn run(global: &Global, arguments: &Arguments) -> Result<ExitCode> {
    let mut objects = parse(&read(&arguments.filename)?)?;
    let mut around = match &arguments.sidecar_image {
        Some(image) => Surroundings::offline(image, global.namespace.as_deref().unwrap_or("default")),
        None => Surroundings::of_cluster(global).await?,
    };
    for object in &objects {
        around.add(object)?;
    }
    let mut refused = false;
    for object in &mut objects {
        match around.inject(object) {
            Ok(notes) => notes.iter().for_each(|note| eprintln!("{note}")),
            Err(error) => {
                eprintln!("{}: {error}", name_of(object));
                refused = true;
            }
        }
    }
    if refused {
        return Ok(ExitCode::FAILURE);
    }
    output::write(&render(global.output, &objects)?)?;
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("standard input cannot be read")?;
        return Ok(text);
    }
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// Parses every document; the items of a List are objects of their own.
fn parse(text: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).context("the manifests are no YAML")?;
    let mut objects = Vec::new();
    for document in documents {
        match document {
            Value::Null => {}
            Value::Object(mut fields) if fields.get("kind") == Some(&json!("List")) => {
                match fields.remove("items") {
                    Some(Value::Array(items)) => objects.extend(items),
                    _ => bail!("a List without items"),
                }
            }
            Value::Object(_) => objects.push(document),
            other => bail!("{other}: a manifest is an object with apiVersion and kind"),
        }
    }
    Ok(objects)
}

fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer).and_then(Value::as_str)
}

fn name_of(object: &Value) -> String {
    let part = |pointer| text(object, pointer).unwrap_or("?");
    format!("{} {}", part("/kind"), part("/metadata/name"))
}

impl Surroundings {
    fn offline(image: &str, namespace: &str) -> Self {
        Self {
            defaults: SidecarDefaults {
                image: image.into(),
                pull_policy: PullPolicy::IfNotPresent.as_str(),
                pull_secrets: Vec::new(),
                user: PodUser::Fixed,
                any_address: std::net::Ipv4Addr::UNSPECIFIED.into(),
                log_format: LogFormat::Json.name(),
            },
            namespace: namespace.into(),
            proxies: BTreeMap::new(),
            config_maps: BTreeMap::new(),
        }
    }

    async fn of_cluster(global: &Global) -> Result<Self> {
        let session = Session::open(global).await?;
        session.require_cluster().await?;
        let snapshot = snapshot::read(&session, Depth::All).await;
        let operator = snapshot.operator().with_context(|| {
            "the operator's settings cannot be read: give the sidecar's image with --sidecar-image, and the proxies in \
             the manifests"
        })?;
        let namespaces = snapshot.namespaces.iter();
        Ok(Self {
            defaults: operator.settings.sidecar_defaults(),
            namespace: session.namespace.clone().unwrap_or(session.default_namespace),
            proxies: namespaces
                .clone()
                .map(|one| {
                    (
                        one.name.clone(),
                        one.proxies.iter().filter_map(to_injection).collect(),
                    )
                })
                .collect(),
            config_maps: namespaces
                .map(|one| (one.name.clone(), one.config_maps.clone()))
                .collect(),
        })
    }

    fn namespace_of(&self, object: &Value) -> String {
        text(object, "/metadata/namespace")
            .unwrap_or(&self.namespace)
            .into()
    }

    /// Takes what an object of the manifests adds to its namespace: a proxy, a ConfigMap.
    fn add(&mut self, object: &Value) -> Result<()> {
        let namespace = self.namespace_of(object);
        match text(object, "/kind") {
            Some(kind) if kind == LiquidMemoryProxy::kind(&()) => {
                let proxy: LiquidMemoryProxy = serde_json::from_value(object.clone())
                    .with_context(|| format!("{} does not fit the types of this version", name_of(object)))?;
                let here = self.proxies.entry(namespace).or_default();
                if let Some(proxy) = to_injection(&proxy) {
                    here.retain(|one| one.name != proxy.name);
                    here.push(proxy);
                }
            }
            Some("ConfigMap") => {
                let data = object.get("data").cloned().unwrap_or_else(|| json!({}));
                let data =
                    serde_json::from_value(data).with_context(|| format!("data of {}", name_of(object)))?;
                let name = text(object, "/metadata/name").unwrap_or_default().to_owned();
                self.config_maps
                    .entry(namespace)
                    .or_default()
                    .insert(name, ConfigMapData::Known(data));
            }
            _ => {}
        }
        Ok(())
    }

    /// Injects into the pod of an object, if it has one. Returns what there is to say about it.
    fn inject(&self, object: &mut Value) -> Result<Vec<String>> {
        let kind = text(object, "/kind").unwrap_or_default();
        let Some((_, pointer)) = TEMPLATES.iter().find(|(name, _)| *name == kind) else {
            return Ok(Vec::new());
        };
        let (name, namespace) = (name_of(object), self.namespace_of(object));
        let pod = object
            .pointer_mut(pointer)
            .with_context(|| format!("there is no {pointer}"))?;
        let (no_proxies, no_config_maps) = (Vec::new(), ConfigMaps::new());
        let outcome = inject(&Input {
            pod,
            namespace: &namespace,
            defaults: &self.defaults,
            proxies: self.proxies.get(&namespace).unwrap_or(&no_proxies),
            config_maps: self.config_maps.get(&namespace).unwrap_or(&no_config_maps),
        });
        match outcome.decision {
            Decision::Deny(denial) => bail!("{denial}"),
            Decision::Pass => {}
            Decision::Patch(changes) => patch(pod, &changes).context("the patch does not fit")?,
        }
        let notes = outcome.notes.into_iter();
        Ok(notes
            .map(|note| format!("{name}: {}: {}", note.reason, note.text))
            .collect())
    }
}

fn render(format: Format, objects: &[Value]) -> Result<String> {
    match format {
        Format::Json => {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
            Ok(format!("{}\n", serde_json::to_string_pretty(&list)?))
        }
        Format::Table => {
            let documents = objects
                .iter()
                .map(|object| Ok(format!("---\n{}", to_yaml(object)?.trim_end())));
            Ok(documents.collect::<Result<Vec<_>>>()?.join("\n") + "\n")
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use liquid_operator::names::{INJECTED_ANNOTATION, SIDECAR_CONTAINER};

    use super::*;

    const MANIFESTS: &str = r#"
apiVersion: liquidmemory.dev/v1alpha1
kind: LiquidMemoryProxy
metadata: {name: proxy}
spec: {}
---
# A comment alone.
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: "0 3 * * *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers:
          - {name: main, image: "app:1", resources: {limits: {cpu: 1.5}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
"#;

    fn injected(manifests: &str) -> Result<Vec<Value>> {
        let mut objects = parse(manifests)?;
        let mut around = Surroundings::offline("registry.example/sidecar:1", "shop");
        for object in &objects {
            around.add(object)?;
        }
        for object in &mut objects {
            around.inject(object)?;
        }
        Ok(objects)
    }

    #[test]
    fn the_pod_of_a_cron_job_gets_the_sidecar_and_all_else_stays() {
        let before = parse(MANIFESTS).unwrap();
        let after = injected(MANIFESTS).unwrap();
        assert_eq!((before.len(), after.len()), (3, 3));
        assert_eq!((&before[0], &before[2]), (&after[0], &after[2]));
        let pod = after[1].pointer("/spec/jobTemplate/spec/template").unwrap();
        assert_eq!(text(pod, "/spec/initContainers/0/name"), Some(SIDECAR_CONTAINER));
        assert_eq!(pod["metadata"]["annotations"][INJECTED_ANNOTATION], "proxy");
        // What is printed is what is read again, and a second pass changes nothing.
        let printed = render(Format::Table, &after).unwrap();
        assert_eq!(injected(&printed).unwrap(), after);
        assert!(printed.contains("cpu: 1.5"), "{printed}");
    }

    #[test]
    fn a_pod_without_a_proxy_is_refused_with_the_remedy() {
        let error =
            injected("{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: []}}").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("no LiquidMemoryProxy in namespace \"shop\""),
            "{error}"
        );
        assert!(injected("[1, 2]").is_err());
        let list = injected("{kind: List, items: [{kind: Service}]}").unwrap();
        assert_eq!(list, [json!({"kind": "Service"})]);
    }
}
