//! Starting a cluster, saying how it is, and ending it with its owner.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::binaries::Kubernetes;
use super::cgroup::Cgroups;
use super::layout::{Layout, node_name};
use super::process::{self, wait};
use super::{
    Binaries, Place, audit, binaries, client, components, down, images, inside, machine, network, node, pki,
};
use crate::command::{output, root, this_program};
use crate::console::{human, say};

const LIMIT: Duration = Duration::from_secs(180);

/// With whom a cluster ends.
pub(crate) enum Owner {
    /// A process.
    Process(u32),
}

/// What kind of cluster is asked for.
#[derive(clap::Args)]
pub(crate) struct Shape {
    /// How many nodes; 0: the API server, and the controllers that make pods of Deployments.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=4))]
    pub(crate) nodes: u8,
    /// The version of Kubernetes; without it, what runs already, else the latest.
    #[arg(long, value_enum)]
    pub(crate) kubernetes: Option<Kubernetes>,
}

/// Starts a cluster unless it runs; what a crashed one left is removed first.
pub(crate) fn up(place: &Place, shape: &Shape, owner: Option<Owner>) -> Result<Layout> {
    let layout = place.layout()?;
    let nodes = shape.nodes;
    machine::ensure()?;
    let running = layout.up().then(|| layout.kubernetes()).transpose()?;
    let kubernetes = shape.kubernetes.or(running).unwrap_or_default();
    if let Some(other) = running.filter(|running| *running != kubernetes) {
        let name = layout.name();
        bail!(
            "cluster {name} has Kubernetes {other}: end it first, with `cargo xtask cluster --name {name} down`"
        );
    }
    let Binaries(programs) = binaries::ensure(kubernetes)?;
    if layout.up() && whole(&layout)? && wait_ready(&layout) {
        say(format!("cluster {} runs already", layout.name()));
        return Ok(layout);
    }
    let base = match nodes {
        0 => Vec::new(),
        _ => images::base(kubernetes, &programs)?,
    };
    down::down(&layout)?;
    fs::create_dir_all(layout.folder())?;
    fs::write(layout.version_file(), kubernetes.name())?;
    let start = Instant::now();
    if let Err(error) = bring(&layout, nodes, &programs, &base) {
        // The logs stay for whoever asks why; the processes do not.
        Cgroups::new(&layout.prefix())?.kill_all()?;
        return Err(error);
    }
    fs::write(layout.ready_mark(), format!("{nodes}\n"))?;
    if let Some(Owner::Process(owner)) = owner {
        spawn_watch(place, owner)?;
    }
    say(format!(
        "cluster {} is up after {}: Kubernetes {kubernetes}, {nodes} nodes, KUBECONFIG={}",
        layout.name(),
        human(start.elapsed()),
        layout.kubeconfig("admin").display()
    ));
    Ok(layout)
}

fn bring(layout: &Layout, nodes: u8, programs: &Path, base: &[std::path::PathBuf]) -> Result<()> {
    for folder in [layout.components(), layout.folder().join("log")] {
        fs::create_dir_all(folder)?;
    }
    for folder in components::FIXED_FOLDERS {
        fs::create_dir_all(folder)?;
    }
    // The control plane has its place in the first node's network, whether or not there is a node.
    let places = nodes.max(1);
    pki::create(layout, places)?;
    audit::configure(layout)?;
    network::create(layout, places)?;
    let cgroups = Cgroups::new(&layout.prefix())?;
    for node in 1..=places {
        cgroups.create(&node_name(node))?;
        node::configure(layout, node)?;
    }
    components::control_plane(layout, programs, nodes)?;
    let mut holders = Vec::new();
    for node in 1..=nodes {
        holders.push(components::containerd(layout, node, programs)?);
    }
    import(layout, nodes, programs, base)?;
    wait(
        layout,
        "the API server's readiness",
        "kube-apiserver",
        LIMIT,
        || answers(layout, programs, &["get", "--raw", "/readyz"]),
    )?;
    if nodes == 0 {
        return Ok(());
    }
    for (node, holder) in (1..=nodes).zip(&holders) {
        components::node(layout, node, holder, programs)?;
    }
    let dns = root().join("deploy/cluster/coredns.yaml");
    output(kubectl(layout, programs).arg("apply").arg("-f").arg(dns))?;
    for node in 1..=nodes {
        let name = node_name(node);
        let who = format!("{name}-kubelet");
        let ready = [
            "wait",
            "--for=condition=Ready",
            "--timeout=1s",
            &format!("node/{name}"),
        ];
        wait(layout, &format!("{name} Ready"), &who, LIMIT, || {
            answers(layout, programs, &ready)
        })?;
    }
    let dns = [
        "--namespace=kube-system",
        "rollout",
        "status",
        "deployment/coredns",
        "--timeout=120s",
    ];
    output(kubectl(layout, programs).args(dns)).context("CoreDNS does not start")?;
    Ok(())
}

/// The same as `cluster load`, before the cluster counts as up.
fn import(layout: &Layout, nodes: u8, programs: &Path, archives: &[std::path::PathBuf]) -> Result<()> {
    for node in 1..=nodes {
        for archive in archives {
            let mut ctr = Command::new(programs.join("ctr"));
            ctr.arg("--address")
                .arg(layout.containerd_socket(node))
                .args(["--namespace", "k8s.io", "images", "import", "--local"])
                .arg(archive);
            output(&mut ctr)?;
        }
    }
    Ok(())
}

fn kubectl(layout: &Layout, programs: &Path) -> Command {
    inside(layout, &programs.join("kubectl"))
}

fn answers(layout: &Layout, programs: &Path, arguments: &[&str]) -> bool {
    kubectl(layout, programs)
        .args(arguments)
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Whether every component that was started runs.
fn whole(layout: &Layout) -> Result<bool> {
    let members = Cgroups::new(&layout.prefix())?.processes();
    Ok(process::all(layout).iter().all(|process| process.alive(&members)))
}

/// The API server may be about to start again.
fn wait_ready(layout: &Layout) -> bool {
    wait(
        layout,
        "the API server's readiness",
        "kube-apiserver",
        LIMIT,
        || ready(layout),
    )
    .is_ok()
}

fn ready(layout: &Layout) -> bool {
    client(layout, "kubectl").is_ok_and(|mut kubectl| {
        kubectl
            .args(["get", "--raw", "/readyz", "--request-timeout=5s"])
            .output()
            .is_ok_and(|output| output.status.success())
    })
}

/// Prints what runs; fails where the cluster is not whole.
pub(super) fn status(layout: &Layout) -> Result<ExitCode> {
    let members = Cgroups::new(&layout.prefix())?.processes();
    let all = process::all(layout);
    if all.is_empty() {
        say(format!("cluster {} does not run", layout.name()));
        return Ok(ExitCode::FAILURE);
    }
    let mut whole = layout.up();
    for process in all {
        let alive = process.alive(&members);
        whole &= alive;
        let state = if alive { "runs" } else { "ended" };
        say(format!("{:<24} {state:<6} {:>7}", process.name, process.pid));
    }
    let api = ready(layout);
    say(format!(
        "the API {}",
        if api { "answers" } else { "does not answer" }
    ));
    if api {
        say(output(client(layout, "kubectl")?.args(["get", "nodes"]))?);
    }
    Ok(if whole && api {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A process of its own: it has to outlive the owner, whatever ends that.
fn spawn_watch(place: &Place, owner: u32) -> Result<()> {
    Command::new("setsid")
        .arg(this_program()?)
        .args(["cluster", "watch", "--name", &place.name, "--owner"])
        .arg(owner.to_string())
        .arg("--state")
        .arg(&place.state)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start the watch over the cluster's owner")?;
    Ok(())
}

/// Waits for the owner's end.
pub(super) fn watch(layout: &Layout, owner: u32) -> Result<()> {
    let stat = Path::new("/proc").join(owner.to_string()).join("stat");
    let born = |text: String| born(&text).map(str::to_owned);
    let owner = fs::read_to_string(&stat).ok().and_then(born);
    while owner.is_some() && fs::read_to_string(&stat).ok().and_then(born) == owner {
        if !layout.up() {
            return Ok(());
        }
        sleep(Duration::from_millis(500));
    }
    down::down(layout)
}

/// When a process was started: with its number it names a process for good. From `/proc/PID/stat`, where the
/// program's name, in parentheses, may hold spaces.
fn born(stat: &str) -> Option<&str> {
    let fields = stat.rsplit_once(')')?.1;
    fields.split_whitespace().nth(19)
}

#[cfg(test)]
mod tests {
    #[test]
    fn reads_the_start_of_a_process() {
        let fields = (3..=30)
            .map(|number| number.to_string())
            .collect::<Vec<_>>()
            .join(" ");
        let stat = format!("77 (a (strange) name) {fields}");
        assert_eq!(super::born(&stat), Some("22"));
    }
}
