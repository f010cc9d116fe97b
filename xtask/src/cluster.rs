//! `cargo xtask cluster`: a real Kubernetes on this machine for the tests, air-gapped by construction.
//!
//! API server, etcd, controllers, kubelet, containerd and CoreDNS run as plain processes in network namespaces from
//! which no route leads out. Everything about a running cluster lies in one folder and in the names that
//! [`layout`] derives from the cluster's name, so that `down` works from the disk alone, also after a crash.
//!
//! `up`: [`machine`] (what must be installed) -> [`binaries`] (built once) -> [`pki`] -> [`network`] -> [`components`].

mod audit;
mod binaries;
mod cgroup;
mod components;
mod down;
mod etcd;
mod images;
mod istio;
mod layout;
mod loss;
mod machine;
mod network;
mod node;
mod pki;
mod policies;
mod pressure;
mod process;
mod registry;
mod traces;
mod up;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::console::{say, step};
pub(crate) use binaries::{Binaries, Kubernetes};
pub(crate) use down::down;
pub(crate) use layout::{Layout, name_for};
pub(crate) use machine::missing;
pub(crate) use registry::image as registry_image;
pub(crate) use traces::traces;
pub(crate) use up::{Owner, Shape, up};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    action: Action,
}

/// Which cluster is meant.
#[derive(Clone, clap::Args)]
pub(crate) struct Place {
    /// Name of the cluster; several may run at once.
    #[arg(long, default_value = "dev", global = true)]
    name: String,
    /// Where its state lies: local disk, a short path (Unix sockets lie below it).
    #[arg(
        long,
        value_name = "FOLDER",
        default_value = "/var/tmp/liquid-cluster",
        global = true
    )]
    state: PathBuf,
}

impl Place {
    /// The default folder, another name.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: PathBuf::from("/var/tmp/liquid-cluster"),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn layout(&self) -> Result<Layout> {
        Layout::new(&self.name, &self.state)
    }
}

#[derive(clap::Subcommand)]
enum Action {
    /// Start it; builds Kubernetes and containerd first if that was not done before (11 minutes on two cores).
    Up {
        #[command(flatten)]
        shape: Shape,
        /// Take it down by itself when the process with this id has ended.
        #[arg(long, value_name = "PID")]
        owner: Option<u32>,
    },
    /// End it and remove all its traces; works on the remains of a crash too.
    Down,
    /// What runs, and whether the API answers.
    Status,
    /// kubectl as its administrator: `cargo xtask cluster kubectl get pods -A`.
    #[command(disable_help_flag = true)]
    Kubectl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Helm against it.
    #[command(disable_help_flag = true)]
    Helm {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Load image archives (of `cargo xtask images`) into every node.
    Load {
        /// OCI or docker archives.
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// End one component and start it again: kube-apiserver, kube-scheduler, node1-kubelet, ...
    Restart {
        component: String,
        /// Seconds between end and start.
        #[arg(long, default_value_t = 0)]
        pause: u64,
    },
    /// Send one component a signal: SIGSTOP makes it hang, SIGCONT goes on.
    Signal { signal: Signal, component: String },
    /// Lose a node but the first: its network is silent, its kubelet and what ran on it are killed.
    Lose { node: u8 },
    /// Bring a lost node back.
    Rejoin { node: u8 },
    /// Have a node find that its disk is full: its kubelet ends what runs there.
    Fill { node: u8 },
    /// Have it find room again.
    Empty { node: u8 },
    /// Copy what etcd holds; the API stops for a moment.
    Backup,
    /// Put the copy in the place of what etcd holds, and start again what remembers more.
    Restore,
    /// Wait for the end of a process, then take the cluster down: what `up --owner` starts.
    #[command(hide = true)]
    Watch {
        #[arg(long)]
        owner: u32,
    },
    /// Install Istio, taking nothing but its TLS (`STRICT`); builds it first if that was not done before. What
    /// `cargo xtask test --only cluster --cluster NAME -- mesh::` needs.
    Istio,
    /// Have the network enforce NetworkPolicies; builds kube-router first if that was not done before. What
    /// `cargo xtask test --only cluster --cluster NAME -- policies::` needs.
    Policies,
    /// Build the programs and stop there.
    Build {
        /// The version of Kubernetes.
        #[arg(long, value_enum, default_value_t)]
        kubernetes: Kubernetes,
    },
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let place = &arguments.place;
    let layout = place.layout()?;
    match &arguments.action {
        Action::Up { shape, owner } => {
            step(&format!("cluster {}", place.name));
            up(place, shape, owner.map(Owner::Process))?;
        }
        Action::Down => {
            machine::root()?;
            down(&layout)?;
            say(format!("cluster {} is down", place.name));
        }
        Action::Status => return up::status(&layout),
        Action::Kubectl { arguments } => return Err(exec(&layout, "kubectl", arguments)),
        Action::Helm { arguments } => return Err(exec(&layout, "helm", arguments)),
        Action::Load { archives } => load(&layout, archives)?,
        Action::Restart { component, pause } => process::restart(&layout, component, *pause)?,
        Action::Signal { signal, component } => process::signal(&layout, component, *signal)?,
        Action::Lose { node } => loss::lose(&layout, *node)?,
        Action::Rejoin { node } => loss::rejoin(&layout, *node)?,
        Action::Fill { node } => pressure::fill(&layout, *node)?,
        Action::Empty { node } => pressure::empty(&layout, *node)?,
        Action::Backup => etcd::back_up(&layout)?,
        Action::Restore => etcd::restore(&layout)?,
        Action::Watch { owner } => up::watch(&layout, *owner)?,
        Action::Istio => istio::install(&layout)?,
        Action::Policies => policies::enforce(&layout)?,
        Action::Build { kubernetes } => {
            machine::ensure()?;
            let Binaries(folder) = binaries::ensure(*kubernetes)?;
            say(format!("the programs are in {}", folder.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Becomes the program; returns only if it cannot.
fn exec(layout: &Layout, program: &str, arguments: &[String]) -> anyhow::Error {
    match client(layout, program) {
        Ok(mut command) => anyhow::Error::from(command.args(arguments).exec())
            .context(format!("cannot start {program} in the cluster's network")),
        Err(error) => error,
    }
}

/// Where the cluster's programs are; `up` has built them.
pub(crate) fn programs(layout: &Layout) -> Result<Binaries> {
    binaries::present(layout.kubernetes()?)
}

/// A program of the cluster's own, in its network and as its administrator.
pub(crate) fn client(layout: &Layout, program: &str) -> Result<Command> {
    if !layout.up() {
        bail!(
            "no cluster {} runs in {}: start it with `cargo xtask cluster up`",
            layout.name(),
            layout.folder().display()
        );
    }
    let Binaries(folder) = programs(layout).context("the cluster's programs are gone")?;
    Ok(inside(layout, &folder.join(program)))
}

/// Any program in the network of the first node, with the administrator's kubeconfig and the cluster's programs.
pub(crate) fn inside(layout: &Layout, program: &std::path::Path) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net={}", layout.netns_path(1).display()))
        .arg(program)
        .env("KUBECONFIG", layout.kubeconfig("admin"));
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
        command.env_remove(name);
    }
    command
}

/// Imports archives into every node, the nodes at the same time.
pub(crate) fn load(layout: &Layout, archives: &[PathBuf]) -> Result<()> {
    let nodes = layout.nodes()?;
    for archive in archives {
        let mut imports = Vec::new();
        for node in 1..=nodes {
            let mut ctr = client(layout, "ctr")?;
            ctr.arg("--address")
                .arg(layout.containerd_socket(node))
                .args(["--namespace", "k8s.io", "images", "import", "--local"])
                .arg(archive)
                .stdout(Stdio::null())
                .stderr(Stdio::piped());
            imports.push(ctr.spawn().context("cannot start ctr")?);
        }
        for import in imports {
            let output = import.wait_with_output()?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                bail!("ctr cannot import {}: {}", archive.display(), said.trim());
            }
        }
    }
    Ok(())
}
