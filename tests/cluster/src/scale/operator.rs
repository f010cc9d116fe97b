//! The operator as a process: started as the chart starts it, and watched from outside.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::api::Api;
use crate::kubectl::{output, text};
use crate::world::{OPERATOR, OPERATOR_METRICS, SYSTEM, eventually};

/// The port at which the API server calls, behind the Service's address.
const WEBHOOK_PORT: u16 = 443;
/// The kernel's unit of a process's time, the same on every machine.
const TICKS_PER_SECOND: f64 = 100.0;
/// Its account, as the audit log names it.
const ACCOUNT: &str = "system:serviceaccount:liquid-memory:liquid-operator";

/// What the chart has installed, but for the pods, which no kubelet runs.
pub(super) struct Installation {
    program: PathBuf,
    environment: Vec<(String, String)>,
    kubeconfig: PathBuf,
    log: PathBuf,
}

impl Installation {
    /// Reads the operator's environment from its Deployment, gets a token of its account, and leads the address of its Service
    /// to this machine.
    pub(super) fn read(api: &Api, program: &Path) -> Result<Self> {
        let deployment = api.get(&format!(
            "/apis/apps/v1/namespaces/{SYSTEM}/deployments/{OPERATOR}"
        ))?;
        let service = api.get(&format!("/api/v1/namespaces/{SYSTEM}/services/{OPERATOR}"))?;
        let address = text(&service, "/spec/clusterIP");
        output(Command::new("ip").args(["addr", "add", &format!("{address}/32"), "dev", "lo"]))?;
        let all = deployment.pointer("/spec/template/spec/containers/0/env");
        let all = all.and_then(Value::as_array).into_iter().flatten();
        // What a kubelet would look up is the pod's address: without it, IPv4.
        let given = all.filter(|one| one.get("value").is_some());
        let environment = given.map(|one| (text(one, "/name").to_owned(), text(one, "/value").to_owned()));
        let folder = std::env::temp_dir().join(format!("liquid-scale-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Self {
            program: program.to_owned(),
            environment: environment.collect(),
            kubeconfig: write_kubeconfig(api, &folder)?,
            log: folder.join("operator.log"),
        })
    }

    /// Starts the operator.
    pub(super) fn start(&self) -> Result<Operator> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new(&self.program)
            .arg("serve")
            .env_clear()
            .envs(self.environment.iter().cloned())
            .env("LIQUID_OPERATOR_WEBHOOK_PORT", WEBHOOK_PORT.to_string())
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        eprintln!(
            "the operator runs as {}, its log is {}",
            child.id(),
            self.log.display()
        );
        Ok(Operator { child })
    }
}

/// Writes the kubeconfig of the operator's account.
fn write_kubeconfig(api: &Api, folder: &Path) -> Result<PathBuf> {
    let path = format!("/api/v1/namespaces/{SYSTEM}/serviceaccounts/{OPERATOR}/token");
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"expirationSeconds": 24 * 60 * 60},
    });
    let token = api.create(&path, &request)?.object;
    let own = std::env::var("KUBECONFIG").context("KUBECONFIG is not set")?;
    let mut config: Value = serde_json::from_str(&fs::read_to_string(own)?)?;
    let user = config
        .pointer_mut("/users/0/user")
        .context("a kubeconfig without a user")?;
    *user = json!({"token": text(&token, "/status/token")});
    let path = folder.join("operator.conf");
    fs::write(&path, config.to_string())?;
    Ok(path)
}

/// Counts the operator's requests by verb and kind, in the audit log from a position on.
pub(super) fn count_requests(audit: &Path, from: u64) -> Result<BTreeMap<String, usize>> {
    let cannot = || format!("cannot read {}", audit.display());
    let mut log = File::open(audit).with_context(cannot)?;
    log.seek(SeekFrom::Start(from)).with_context(cannot)?;
    let mut counts = BTreeMap::new();
    for line in BufReader::new(log).lines() {
        if let Some(request) = describe_request(&line.with_context(cannot)?) {
            *counts.entry(request).or_default() += 1;
        }
    }
    Ok(counts)
}

/// Returns verb and kind, if a line of the audit log is a request of the operator. A watch is written when it begins and when
/// it ends.
fn describe_request(line: &str) -> Option<String> {
    let entry: Value = serde_json::from_str(line).ok()?;
    let counts = text(&entry, "/user/username") == ACCOUNT && text(&entry, "/stage") != "ResponseStarted";
    let object = entry.get("objectRef").unwrap_or(&Value::Null);
    let words = [
        text(&entry, "/verb"),
        text(object, "/resource"),
        text(object, "/subresource"),
    ];
    counts.then(|| words.join(" ").trim().to_owned())
}

/// Memory in MiB.
pub(super) struct Memory {
    pub(super) present: f64,
    pub(super) peak: f64,
}

/// A running operator; it ends with the value.
pub(super) struct Operator {
    child: Child,
}

impl Operator {
    /// Returns the time that all its threads have had on a processor.
    pub(super) fn processor_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(self.process_file("stat"))?;
        // The program's name, in parentheses, may hold spaces.
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace());
        let ticks = fields.into_iter().flatten().skip(11).take(2);
        let ticks = ticks.map(str::parse::<f64>).sum::<Result<f64, _>>()?;
        Ok(Duration::from_secs_f64(ticks / TICKS_PER_SECOND))
    }

    /// Returns its resident memory.
    pub(super) fn memory(&self) -> Result<Memory> {
        let status = fs::read_to_string(self.process_file("status"))?;
        let read = |name: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kilobytes = line.and_then(|rest| rest.split_whitespace().next());
            let kilobytes = kilobytes.with_context(|| format!("no {name} of the operator"))?;
            Ok(kilobytes.parse::<f64>()? / 1024.0)
        };
        Ok(Memory {
            present: read("VmRSS:")?,
            peak: read("VmHWM:")?,
        })
    }

    fn process_file(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(name)
    }

    /// Waits until it answers reviews.
    pub(super) fn wait_until_ready(&self, limit: Duration) -> Result<()> {
        eventually("the operator's readiness", limit, || {
            Ok(fetch("readyz").is_ok().then_some(()))
        })
    }

    /// Waits until it leads and has reconciled so many proxies since its start.
    pub(super) fn wait_until_reconciled(&self, proxies: usize, limit: Duration) -> Result<()> {
        eventually("the reconciliation of all proxies", limit, || {
            let metrics = fetch("metrics")?;
            let name = "liquid_operator_reconciliations_total{outcome=\"done\"} ";
            let done = metrics.lines().find_map(|line| line.strip_prefix(name));
            let done = done
                .and_then(|done| done.parse::<usize>().ok())
                .unwrap_or_default();
            Ok((done >= proxies).then_some(()))
        })
    }

    /// Ends it without a warning, as a machine that fails does.
    pub(super) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn fetch(path: &str) -> Result<String> {
    let url = format!("http://127.0.0.1:{OPERATOR_METRICS}/{path}");
    Ok(ureq::get(url).call()?.body_mut().read_to_string()?)
}
