//! Injection, certificates and election against a real API server, with the operator's parts in this process.
//!
//! Needs a cluster on which no operator runs, and a place from which its API server can call back: the
//! network namespace of its first node. `LIQUID_CLUSTER_KUBECONFIG` names the cluster; without it every test
//! is listed as ignored. `cargo xtask test --only cluster` runs them; by hand:
//!
//!     cargo xtask cluster --name api up --nodes 1
//!     LIQUID_CLUSTER_KUBECONFIG=/var/tmp/liquid-cluster/api/pki/admin.conf \
//!         nsenter --net=/run/netns/liquid-api-node1 cargo test -p liquid-operator --test real_api

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod certificates;
mod election;
mod pods;
mod stage;

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;
use tokio::sync::RwLock;

use stage::Stage;

const KUBECONFIG: &str = "LIQUID_CLUSTER_KUBECONFIG";

/// Everything that all tests share.
struct Shared {
    runtime: Runtime,
    stage: Option<Arc<Stage>>,
    /// Tests that disturb what others rely on hold it alone.
    quiet: RwLock<()>,
}

impl Shared {
    /// A test that runs while no other disturbs.
    fn trial<F, W>(self: &Arc<Self>, name: &'static str, test: F) -> Trial
    where
        F: FnOnce(Arc<Stage>) -> W + Send + 'static,
        W: Future<Output = ()>,
    {
        let shared = Arc::clone(self);
        self.any(name, move |stage| async move {
            let _quiet = shared.quiet.read().await;
            test(stage).await;
        })
    }

    /// A test that disturbs, and so runs alone.
    fn alone<F, W>(self: &Arc<Self>, name: &'static str, test: F) -> Trial
    where
        F: FnOnce(Arc<Stage>) -> W + Send + 'static,
        W: Future<Output = ()>,
    {
        let shared = Arc::clone(self);
        self.any(name, move |stage| async move {
            let _quiet = shared.quiet.write().await;
            test(stage).await;
        })
    }

    fn any<F, W>(self: &Arc<Self>, name: &'static str, test: F) -> Trial
    where
        F: FnOnce(Arc<Stage>) -> W + Send + 'static,
        W: Future<Output = ()>,
    {
        let shared = Arc::clone(self);
        let ignored = shared.stage.is_none();
        Trial::test(name, move || match &shared.stage {
            Some(stage) => {
                shared.runtime.block_on(test(Arc::clone(stage)));
                Ok(())
            }
            None => Err(Failed::from(format!("{KUBECONFIG} is not set"))),
        })
        .with_ignored_flag(ignored)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let runtime = Runtime::new().unwrap();
    let wanted = std::env::var_os(KUBECONFIG).filter(|_| !arguments.list);
    let stage = wanted.map(|path| Arc::new(runtime.block_on(Stage::set(path))));
    let shared = Arc::new(Shared {
        runtime,
        stage,
        quiet: RwLock::new(()),
    });
    let mut trials = pods::trials(&shared);
    trials.extend(certificates::trials(&shared));
    trials.extend(election::trials(&shared));
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(stage) = &shared.stage {
        shared.runtime.block_on(stage.clear());
    }
    conclusion.exit_code()
}
