//! Every name and path of a cluster, derived from its name and its folder. No I/O but looking.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::ValueEnum;

use super::binaries::Kubernetes;

/// A Unix socket's path has at most 107 bytes; `node1/containerd.sock.ttrpc` is the longest below the folder.
const LONGEST_FOLDER: usize = 107 - "/node1/containerd.sock.ttrpc".len();

/// Addresses that documentation reserves: they can never be somebody's (RFC 5737).
const NODE_NETWORK: [u8; 3] = [192, 0, 2];

/// Names and paths of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    name: String,
    folder: PathBuf,
}

impl Layout {
    pub(crate) fn new(name: &str, state: &Path) -> Result<Self> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure!(
            (1..=20).contains(&name.len()) && name.chars().all(fits),
            "--name '{name}': use up to 20 of a-z, 0-9 and '-'"
        );
        let state = std::path::absolute(state)?;
        let folder = state.join(name);
        ensure!(
            folder.as_os_str().len() <= LONGEST_FOLDER,
            "--state {}: Unix sockets below it would get paths that are too long; choose a shorter one",
            state.display()
        );
        Ok(Self {
            name: name.to_owned(),
            folder,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// All its state.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Exists from the moment that `up` is done.
    pub(super) fn ready_mark(&self) -> PathBuf {
        self.folder.join("ready")
    }

    pub(crate) fn up(&self) -> bool {
        self.ready_mark().exists()
    }

    /// How many nodes it was started with.
    pub(super) fn nodes(&self) -> Result<u8> {
        let text = std::fs::read_to_string(self.ready_mark()).context("the cluster is not up")?;
        text.trim()
            .parse()
            .with_context(|| format!("{} holds no number", self.ready_mark().display()))
    }

    /// The file that names the version of Kubernetes that runs.
    pub(super) fn version_file(&self) -> PathBuf {
        self.folder.join("kubernetes")
    }

    /// Which version runs.
    pub(super) fn kubernetes(&self) -> Result<Kubernetes> {
        let path = self.version_file();
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Kubernetes::from_str(text.trim(), false).map_err(|error| anyhow!("{}: {error}", path.display()))
    }

    /// What the nodes know of registries: a folder for each, with `hosts.toml`. containerd reads it at each pull.
    pub(crate) fn registries(&self) -> PathBuf {
        self.folder.join("registries")
    }

    pub(super) fn pki(&self, file: &str) -> PathBuf {
        self.folder.join("pki").join(file)
    }

    pub(crate) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.pki(&format!("{user}.conf"))
    }

    pub(crate) fn log(&self, component: &str) -> PathBuf {
        self.folder.join("log").join(format!("{component}.log"))
    }

    /// What the API server writes down.
    pub(super) fn audit_policy(&self) -> PathBuf {
        self.folder.join("audit.json")
    }

    /// What service accounts have asked the API server for, one JSON document a line.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.log("audit")
    }

    /// What is known of each started component, one file each.
    pub(super) fn components(&self) -> PathBuf {
        self.folder.join("components")
    }

    pub(super) fn etcd(&self) -> PathBuf {
        self.folder.join("etcd")
    }

    /// Where a copy of etcd's data is kept.
    pub(super) fn etcd_copy(&self) -> PathBuf {
        self.folder.join("etcd-copy")
    }

    /// A file or folder of one node.
    pub(super) fn node(&self, node: u8, file: &str) -> PathBuf {
        self.folder.join(node_name(node)).join(file)
    }

    pub(super) fn containerd_socket(&self, node: u8) -> PathBuf {
        self.node(node, "containerd.sock")
    }

    /// The common prefix of everything that has a name on the machine.
    pub(super) fn prefix(&self) -> String {
        format!("liquid-{}", self.name)
    }

    pub(super) fn netns(&self, node: u8) -> String {
        format!("{}-{}", self.prefix(), node_name(node))
    }

    pub(super) fn netns_path(&self, node: u8) -> PathBuf {
        Path::new("/run/netns").join(self.netns(node))
    }

    /// Network namespaces of this cluster among all names in `/run/netns`.
    pub(super) fn owns_netns(&self, name: &str) -> bool {
        let rest = name.strip_prefix(&self.prefix()).unwrap_or_default();
        let number = rest.strip_prefix("-node").unwrap_or_default();
        !number.is_empty() && number.chars().all(|c| c.is_ascii_digit())
    }
}

pub(super) fn node_name(node: u8) -> String {
    format!("node{node}")
}

/// Where a node is reached by the others.
pub(super) fn node_address(node: u8) -> Ipv4Addr {
    let [a, b, c] = NODE_NETWORK;
    Ipv4Addr::new(a, b, c, node)
}

/// Leads nowhere: a connection to a cluster address needs a route before kube-proxy rewrites it.
pub(super) fn gateway() -> Ipv4Addr {
    node_address(254)
}

pub(super) fn pod_range(node: u8) -> String {
    format!("10.244.{node}.0/24")
}

pub(super) const POD_RANGE: &str = "10.244.0.0/16";
pub(super) const SERVICE_RANGE: &str = "10.96.0.0/16";
pub(super) const DNS_ADDRESS: &str = "10.96.0.10";
/// The first address of the service range belongs to the API server.
pub(super) const API_SERVICE: &str = "10.96.0.1";

/// The API server's own URL.
pub(super) fn api_url() -> String {
    format!("https://{}:6443", node_address(1))
}

/// A safe cluster name for a checkout, so that two checkouts can test at the same time.
pub(crate) fn name_for(checkout: &Path) -> Result<String> {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(checkout.as_os_str().as_encoded_bytes());
    match digest.as_slice() {
        [a, b, c, ..] => Ok(format!("test-{a:02x}{b:02x}{c:02x}")),
        _ => bail!("no digest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_names_and_folders_that_cannot_work() {
        for name in ["", "Upper", "a/b", "a-name-of-over-twenty-letters"] {
            assert!(Layout::new(name, Path::new("/var/tmp")).is_err(), "{name}");
        }
        let long = format!("/{}", "x".repeat(100));
        let error = Layout::new("dev", Path::new(&long)).err();
        assert!(error.is_some_and(|error| error.to_string().contains("--state")));
    }

    #[test]
    fn knows_its_own_network_namespaces() -> Result<()> {
        let layout = Layout::new("dev", Path::new("/var/tmp"))?;
        assert!(layout.owns_netns("liquid-dev-node1"));
        for other in [
            "liquid-dev-2-node1",
            "liquid-dev-node",
            "liquid-dev",
            "cni-1",
            "liquid-dev-node1x",
        ] {
            assert!(!layout.owns_netns(other), "{other}");
        }
        Ok(())
    }
}
