//! Kubernetes, containerd, etcd, CoreDNS and Helm, built from their Go modules. Which versions: the go.mod files in
//! `deploy/cluster`. They are kept by the content of those files, for all checkouts of a user, each version of Kubernetes by
//! itself.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::command::{output, root, run, shared_cache};
use crate::console::say;
use crate::tools;

const CONTAINERD_VERSION: &str = "v2.4.2";

/// A version of Kubernetes that a cluster can run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kubernetes {
    /// The latest.
    #[default]
    #[value(name = Self::Latest.name())]
    Latest,
    /// The oldest that the product promises to run on.
    #[value(name = Self::Oldest.name())]
    Oldest,
}

impl Kubernetes {
    /// What the option and a cluster's folder call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Latest => "1.36",
            Self::Oldest => "1.33",
        }
    }

    /// Flags of a build, with this version's own number in the place of `MINOR`.
    fn complete(self, flags: &str) -> String {
        flags.replace("MINOR", self.name().trim_start_matches("1."))
    }

    fn version(self) -> &'static str {
        match self {
            Self::Latest => "v1.36.3",
            Self::Oldest => "v1.33.13",
        }
    }

    /// The module's folder below `deploy/cluster`.
    pub(super) fn module(self) -> &'static str {
        match self {
            Self::Latest => "kubernetes",
            Self::Oldest => "kubernetes-1.33",
        }
    }

    /// Gates of fields that cases use, as far as this version does not open them by itself.
    pub(super) fn gates(self) -> &'static [&'static str] {
        match self {
            Self::Latest => &[],
            Self::Oldest => &["ImageVolume", "PodLevelResources"],
        }
    }
}

impl fmt::Display for Kubernetes {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.version())
    }
}

/// The folder of the programs.
pub(crate) struct Binaries(pub(crate) PathBuf);

/// One `go build`, and what it makes.
struct Build {
    /// The module's folder below `deploy/cluster`; without one it is that of Kubernetes.
    module: Option<&'static str>,
    flags: &'static str,
    packages: &'static [&'static str],
    /// The name of the program where the package's last part is not it.
    output: &'static str,
    tags: &'static str,
}

/// Kubernetes asks for replacements that the others cannot live with, hence two modules.
const BUILDS: [Build; 3] = [
    Build {
        module: None,
        flags: "-X k8s.io/component-base/version.gitVersion=VERSION -X k8s.io/component-base/version.gitMajor=1 \
                -X k8s.io/component-base/version.gitMinor=MINOR -X k8s.io/component-base/version.gitTreeState=clean \
                -X k8s.io/client-go/pkg/version.gitVersion=VERSION -X k8s.io/client-go/pkg/version.gitMajor=1 \
                -X k8s.io/client-go/pkg/version.gitMinor=MINOR -X k8s.io/client-go/pkg/version.gitTreeState=clean",
        packages: &[
            "k8s.io/kubernetes/cmd/kube-apiserver",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
            "k8s.io/kubernetes/cmd/kube-scheduler",
            "k8s.io/kubernetes/cmd/kubelet",
            "k8s.io/kubernetes/cmd/kube-proxy",
            "k8s.io/kubernetes/cmd/kubectl",
        ],
        output: "",
        tags: "",
    },
    Build {
        module: Some("node"),
        flags: "-X github.com/containerd/containerd/v2/version.Version=CONTAINERD",
        packages: &[
            "github.com/containerd/containerd/v2/cmd/containerd",
            "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
            "github.com/containerd/containerd/v2/cmd/ctr",
            "github.com/coredns/coredns",
            "helm.sh/helm/v4/cmd/helm",
        ],
        output: "",
        tags: "no_btrfs no_zfs no_devmapper no_aufs",
    },
    Build {
        module: Some("node"),
        flags: "",
        packages: &["go.etcd.io/etcd/server/v3"],
        output: "etcd",
        tags: "",
    },
];

/// Builds what is not there yet; two that ask at once build once.
pub(super) fn ensure(kubernetes: Kubernetes) -> Result<Binaries> {
    if let Ok(binaries) = present(kubernetes) {
        return Ok(binaries);
    }
    let folder = folder(kubernetes)?;
    fs::create_dir_all(folder.parent().context("no cache folder")?)?;
    let lock = File::create(folder.with_extension("lock"))?;
    lock.lock()?;
    if let Ok(binaries) = present(kubernetes) {
        return Ok(binaries);
    }
    say(format!(
        "building Kubernetes {kubernetes}, containerd {CONTAINERD_VERSION}, etcd, CoreDNS and Helm \
         (once, 11 minutes on two cores)"
    ));
    let partial = folder.with_extension("partial");
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir_all(&partial)?;
    for build in BUILDS {
        build.run(kubernetes, &partial)?;
    }
    fs::rename(&partial, &folder)?;
    Ok(Binaries(folder))
}

/// The programs, if they are built.
pub(super) fn present(kubernetes: Kubernetes) -> Result<Binaries> {
    let folder = folder(kubernetes)?;
    if !folder.is_dir() {
        bail!("{} is not there", folder.display());
    }
    Ok(Binaries(folder))
}

impl Build {
    fn run(&self, kubernetes: Kubernetes, folder: &Path) -> Result<()> {
        let flags = kubernetes.complete(self.flags);
        let flags = flags.replace("VERSION", kubernetes.version());
        let flags = flags.replace("CONTAINERD", CONTAINERD_VERSION);
        let module = self.module.unwrap_or(kubernetes.module());
        // A path that ends with a slash is a folder to Go: every program under its own name.
        let target = folder.join(self.output);
        let mut go = go(module, "build");
        go.args(["-trimpath", "-tags", self.tags])
            .arg(format!("-ldflags=-s -w {flags}"))
            .arg("-o")
            .arg(target)
            .args(self.packages);
        run(&mut go).with_context(|| format!("cannot build the programs of deploy/cluster/{module}"))
    }
}

/// Programs of one package, which are kept by its version, for all checkouts of a user.
pub(super) struct ModulePrograms {
    /// What the folder is called by, before the version.
    pub(super) name: &'static str,
    /// The module's folder below `deploy/cluster`.
    pub(super) module: &'static str,
    pub(super) package: &'static str,
    /// Where the programs' sources are below the package, each in a folder of its name.
    pub(super) sources: &'static str,
    pub(super) programs: &'static [&'static str],
    /// How long they take to build, for people.
    pub(super) time: &'static str,
}

impl ModulePrograms {
    /// The folder; builds what is not there yet.
    pub(super) fn ensure(&self) -> Result<PathBuf> {
        let version = output(go(self.module, "list").args(["-m", "-f", "{{.Version}}", self.package]))?;
        let folder = shared_cache()?
            .join("cluster")
            .join(format!("{}-{}", self.name, version.trim()));
        if !self.programs.iter().all(|program| folder.join(program).exists()) {
            say(format!(
                "building {} (once, {} on two cores)",
                self.name, self.time
            ));
            let mut go = go(self.module, "build");
            go.args(["-trimpath", "-ldflags=-s -w", "-o"])
                .arg(folder.join(""))
                .args(
                    self.programs
                        .iter()
                        .map(|program| format!("{}/{}/{program}", self.package, self.sources)),
                );
            run(&mut go)
                .with_context(|| format!("cannot build the programs of deploy/cluster/{}", self.module))?;
        }
        Ok(folder)
    }
}

fn go(module: &str, command: &str) -> Command {
    tools::go(&root().join("deploy/cluster").join(module), command)
}

/// A source file of a module that the builds use.
pub(super) fn module_file(module: &str, package: &str, file: &str) -> Result<PathBuf> {
    let folder = output(go(module, "list").args(["-m", "-f", "{{.Dir}}", package]))?;
    Ok(PathBuf::from(folder).join(file))
}

fn folder(kubernetes: Kubernetes) -> Result<PathBuf> {
    let mut hasher = Sha256::new();
    for module in [kubernetes.module(), "node"] {
        for file in ["go.mod", "go.sum"] {
            let path = root().join("deploy/cluster").join(module).join(file);
            hasher.update(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
        }
    }
    for build in BUILDS {
        let flags = kubernetes.complete(build.flags);
        hasher.update([&flags, build.tags, build.output, &build.packages.concat()].concat());
    }
    let digest = hasher.finalize();
    let short = base16ct::lower::encode_string(digest.get(..6).unwrap_or_default());
    Ok(shared_cache()?.join("cluster").join(short))
}
