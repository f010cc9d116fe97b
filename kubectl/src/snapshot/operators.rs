//! The operators that are installed: their Deployments, and the settings that these give them.

use clap::{Args, Command, FromArgMatches};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, EnvVar, Pod};
use kube::ResourceExt;
use liquid_operator::config::Settings;

/// An operator as its Deployment describes it.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    /// Namespace of the release.
    pub(crate) namespace: String,
    /// The Deployment.
    pub(crate) deployment: Deployment,
    /// What its environment says.
    pub(crate) settings: Settings,
    /// Its pods, as far as they may be read.
    pub(crate) pods: Vec<Pod>,
}

impl Operator {
    /// Reads an operator's Deployment. The error is the text of the command line's parser, which names the setting.
    pub(crate) fn read(deployment: Deployment) -> Result<Self, String> {
        let namespace = deployment.namespace().unwrap_or_default();
        let settings = read_settings(&deployment, &namespace)?;
        Ok(Self {
            namespace,
            deployment,
            settings,
            pods: Vec::new(),
        })
    }

    /// Returns the image of the operator itself.
    pub(crate) fn image(&self) -> &str {
        let image = first_container(&self.deployment).and_then(|container| container.image.as_deref());
        image.unwrap_or_default()
    }

    /// Returns the version that the chart's labels name.
    pub(crate) fn version(&self) -> Option<&str> {
        let labels = self.deployment.metadata.labels.as_ref()?;
        labels.get("app.kubernetes.io/version").map(String::as_str)
    }

    /// Returns replicas that are wanted and ready.
    pub(crate) fn replicas(&self) -> Replicas {
        let spec = self.deployment.spec.as_ref();
        let status = self.deployment.status.as_ref();
        Replicas {
            wanted: spec.and_then(|spec| spec.replicas).unwrap_or(1),
            ready: status
                .and_then(|status| status.ready_replicas)
                .unwrap_or_default(),
        }
    }
}

/// Numbers of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replicas {
    /// As the Deployment asks for.
    pub(crate) wanted: i32,
    /// As the kubelets report.
    pub(crate) ready: i32,
}

fn first_container(deployment: &Deployment) -> Option<&Container> {
    deployment
        .spec
        .as_ref()?
        .template
        .spec
        .as_ref()?
        .containers
        .first()
}

/// Reads the operator's settings as it does itself, from the variables of its container.
fn read_settings(deployment: &Deployment, namespace: &str) -> Result<Settings, String> {
    let container = first_container(deployment).ok_or("the Deployment has no container")?;
    let command = Settings::augment_args(Command::new("liquid-operator").no_binary_name(true));
    let mut words = Vec::new();
    for argument in command.get_arguments() {
        let (Some(variable), Some(option)) = (argument.get_env(), argument.get_long()) else {
            continue;
        };
        let mut entries = container.env.iter().flatten();
        let entry = entries.rfind(|entry| variable == entry.name.as_str());
        if let Some(value) = entry.and_then(|entry| value_of(entry, namespace)) {
            words.push(format!("--{option}={value}"));
        }
    }
    let matches = command.try_get_matches_from(words);
    let matches = matches.map_err(|error| error.to_string())?;
    Settings::from_arg_matches(&matches).map_err(|error| error.to_string())
}

/// Returns a variable's value, as far as it is known without the pod.
fn value_of(entry: &EnvVar, namespace: &str) -> Option<String> {
    let field = entry.value_from.as_ref().and_then(|from| from.field_ref.as_ref());
    match field {
        Some(field) if field.field_path == "metadata.namespace" => Some(namespace.into()),
        Some(_) => None,
        None => entry.value.clone(),
    }
}
