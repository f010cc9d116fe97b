//! Pods that are created for trial (`dryRun=All`) over kept connections: what an admission answers, and how long it takes.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::api::{Answer, Api};
use crate::world::World;

/// The way to the pods of a namespace.
pub(crate) struct Trials {
    api: Api,
    path: String,
}

/// What the API server made of a pod.
pub(crate) struct Trial {
    pub(crate) pod: Value,
    pub(crate) took: Duration,
}

impl Trials {
    /// Opens the way to the pods of a namespace.
    pub(crate) fn open(world: &World, namespace: &str) -> Result<Self> {
        Ok(Self {
            api: Api::open(&world.programs)?,
            path: trial_path(namespace),
        })
    }

    /// Creates a pod for trial. The error is the API server's answer.
    pub(crate) fn create(&self, pod: &Value) -> Result<Trial> {
        let Answer { object: pod, took } = self.api.create(&self.path, pod)?;
        Ok(Trial { pod, took })
    }
}

/// The path at which pods of a namespace are created for trial.
pub(crate) fn trial_path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods?dryRun=All")
}
