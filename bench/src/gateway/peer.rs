//! The peers, each with one worker thread in front of the same upstream: this sidecar, nginx, LiteLLM.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::{Process, free};

/// A gateway that runs.
pub(super) struct Peer {
    /// Name in tables.
    pub(super) name: &'static str,
    /// Address that calls go to.
    pub(super) address: SocketAddr,
    /// The running program.
    pub(super) process: Process,
}

/// Time for a peer's start to settle before its idle memory is read.
const SETTLE: Duration = Duration::from_secs(1);

/// The page that answers when a peer is ready.
struct Ready<'a> {
    address: SocketAddr,
    path: &'a str,
}

impl Peer {
    /// Starts a peer that takes calls at `address`, and waits until it is ready.
    fn start(
        name: &'static str,
        folder: &Path,
        address: SocketAddr,
        ready: Ready<'_>,
        command: &mut Command,
    ) -> Result<Self> {
        let mut process = Process::start(name, folder, command)?;
        process.ready(ready.address, ready.path).context(name)?;
        std::thread::sleep(SETTLE);
        Ok(Self {
            name,
            address,
            process,
        })
    }

    /// The sidecar with its defaults, but for addresses and one thread. `worker` need not be there.
    pub(super) fn sidecar(
        program: &Path,
        folder: &Path,
        upstream: SocketAddr,
        worker: SocketAddr,
    ) -> Result<Self> {
        let (address, admin) = (free()?, free()?);
        let mut command = Command::new(program);
        command.env_clear();
        for (key, value) in [
            ("LISTEN__ADDRESS", address.to_string()),
            ("LISTEN__ADMIN", admin.to_string()),
            ("LISTEN__THREADS", "1".to_owned()),
            (
                "UPSTREAM__PROVIDERS__OPENAI__BASE_URL",
                format!("http://{upstream}/v1"),
            ),
            ("EXTRACT__WORKERS", worker.to_string()),
        ] {
            command.env(format!("LIQUID_SIDECAR__{key}"), value);
        }
        let ready = Ready {
            address: admin,
            path: "/readyz",
        };
        Self::start("sidecar", folder, address, ready, &mut command)
    }

    /// nginx as a reverse proxy: one worker, kept connections, no logs.
    pub(super) fn nginx(program: &Path, folder: &Path, upstream: SocketAddr) -> Result<Self> {
        let (address, prefix) = (free()?, folder.join("nginx"));
        std::fs::create_dir_all(&prefix)?;
        // Started by root its worker is another user, who must reach the folder.
        for folder in [folder, &prefix] {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
        }
        let file = prefix.join("nginx.conf");
        std::fs::write(&file, nginx_conf(address, upstream))?;
        let mut command = Command::new(program);
        command.arg("-p").arg(&prefix).arg("-c").arg(&file);
        let ready = Ready {
            address,
            path: "/ready",
        };
        Self::start("nginx", folder, address, ready, &mut command)
    }

    /// LiteLLM's proxy: one worker, nothing else switched on.
    pub(super) fn litellm(program: &Path, folder: &Path, upstream: SocketAddr) -> Result<Self> {
        let (address, file) = (free()?, folder.join("litellm.yaml"));
        let model = format!(
            "model_list:\n  - model_name: gpt-4o\n    litellm_params: \
             {{model: openai/gpt-4o, api_base: http://{upstream}/v1, api_key: sk-x}}\n"
        );
        std::fs::write(&file, model)?;
        let mut command = Command::new(program);
        command
            .arg("--config")
            .arg(&file)
            .args(["--host", "127.0.0.1", "--port", &address.port().to_string()])
            .args(["--num_workers", "1", "--telemetry", "False"])
            // Its price list comes from the network otherwise.
            .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            // Without a key to check, which the other peers do not check either; it listens on loopback only.
            .env("LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY", "true");
        let ready = Ready {
            address,
            path: "/health/liveliness",
        };
        Self::start("litellm", folder, address, ready, &mut command)
    }
}

fn nginx_conf(address: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "worker_processes 1; daemon off; pid nginx.pid; error_log stderr;\n\
         events {{ worker_connections 2048; }}\n\
         http {{\n\
           access_log off; client_body_buffer_size 1m; client_max_body_size 64m; keepalive_requests 1000000;\n\
           client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n\
           uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
           upstream mock {{ server {upstream}; keepalive 64; keepalive_requests 1000000; }}\n\
           server {{\n\
             listen {address};\n\
             location = /ready {{ return 200; }}\n\
             location / {{ proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}\n\
           }}\n\
         }}\n"
    )
}

/// A worker of its lexical tier, which needs no weights.
pub(super) fn worker(program: &Path, folder: &Path) -> Result<(Process, SocketAddr)> {
    let (grpc, admin) = (free()?, free()?);
    let mut command = Command::new(program);
    command
        .arg("serve")
        .env_clear()
        .env("LIQUID_WORKER__GRPC__LISTEN", grpc.to_string())
        .env("LIQUID_WORKER__ADMIN__LISTEN", admin.to_string());
    let mut process = Process::start("worker", folder, &mut command)?;
    process.ready(admin, "/readyz").context("worker")?;
    Ok((process, grpc))
}
