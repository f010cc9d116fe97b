//! One command's access to the cluster: the client, the namespaces that are looked at, and what may not be read.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use liquid_operator::api::LiquidMemoryProxy;

use crate::output::Format;

/// Options of every command.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Global {
    /// Look at this namespace alone [default: all that you may list, else that of the context].
    #[arg(long, short, global = true)]
    pub(crate) namespace: Option<String>,
    /// Context of the kubeconfig.
    #[arg(long, global = true)]
    pub(crate) context: Option<String>,
    /// The kubeconfig [default: $KUBECONFIG, else ~/.kube/config].
    #[arg(long, global = true)]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// How to print.
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

/// What every command works with.
pub(crate) struct Session {
    /// Client of the API server.
    pub(crate) client: Client,
    /// The namespace that was asked for; none: all.
    pub(crate) namespace: Option<String>,
    /// The namespace of the kubeconfig's context.
    pub(crate) default_namespace: String,
    /// How results are printed.
    pub(crate) format: Format,
}

impl Session {
    /// Connects as the kubeconfig says.
    ///
    /// # Errors
    /// There is no kubeconfig, or it cannot be used.
    pub(crate) async fn open(global: &Global) -> Result<Self> {
        let options = KubeConfigOptions {
            context: global.context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = match &global.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path)
                    .with_context(|| format!("the kubeconfig {} cannot be read", path.display()))?;
                Config::from_custom_kubeconfig(file, &options).await
            }
            None => Config::from_kubeconfig(&options).await,
        };
        let config = config.context("no cluster: name a kubeconfig with --kubeconfig or $KUBECONFIG")?;
        let default_namespace = config.default_namespace.clone();
        let client = Client::try_from(config).context("the kubeconfig cannot be used")?;
        Ok(Self {
            client,
            namespace: global.namespace.clone(),
            default_namespace,
            format: global.output,
        })
    }

    /// Returns the same session, for the namespace that was asked for or that of the context.
    pub(crate) fn within_one_namespace(&self) -> Self {
        Self {
            client: self.client.clone(),
            namespace: Some(self.scope().to_owned()),
            default_namespace: self.default_namespace.clone(),
            format: self.format,
        }
    }

    /// Returns the namespace that was asked for, else that of the context.
    pub(crate) fn scope(&self) -> &str {
        self.namespace.as_deref().unwrap_or(&self.default_namespace)
    }

    /// Asks the API server for its version.
    ///
    /// # Errors
    /// It cannot be reached.
    pub(crate) async fn require_cluster(&self) -> Result<()> {
        let version = self.client.apiserver_version().await;
        version.map(|_| ()).context("the cluster cannot be reached")
    }

    /// Lists the proxies: of the namespace that was asked for, else of all; of the context's, where the user may not list
    /// all.
    ///
    /// # Errors
    /// The API server refuses or does not answer.
    pub(crate) async fn list_proxies(&self) -> Result<Vec<LiquidMemoryProxy>> {
        let params = ListParams::default();
        let of = |namespace: &str| Api::<LiquidMemoryProxy>::namespaced(self.client.clone(), namespace);
        let list = match &self.namespace {
            Some(namespace) => of(namespace).list(&params).await,
            None => match Api::<LiquidMemoryProxy>::all(self.client.clone())
                .list(&params)
                .await
            {
                Err(kube::Error::Api(refusal)) if refusal.code == 403 => {
                    of(&self.default_namespace).list(&params).await
                }
                list => list,
            },
        };
        Ok(list.context("LiquidMemoryProxies cannot be listed")?.items)
    }
}
