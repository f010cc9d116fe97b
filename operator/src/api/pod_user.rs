//! As which user pods run: of the installation's settings, of `spec.workers` and of `spec.injection`.

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// User and group of every image of the product: no user of a node, and not root.
const FIXED: u32 = 65_532;

/// As which user a pod's containers run, never as root. Default: the installation's, `podUser` of the chart.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum PodUser {
    /// User and group 65532, which the pod names.
    #[default]
    Fixed,
    /// Whom the platform assigns, such as a user of the namespace's range on OpenShift: the pod names nobody.
    Platform,
}

impl PodUser {
    /// Returns the user and group that a pod names; none if that is left to the platform.
    pub fn id(self) -> Option<u32> {
        match self {
            Self::Fixed => Some(FIXED),
            Self::Platform => None,
        }
    }
}
