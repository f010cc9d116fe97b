//! What kubelets and workers would do: pods that are ready, and answers when their figures are read.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::Result;
use liquid_contract::ports::WORKER_ADMIN;
use serde_json::{Value, json};

use crate::api::Api;
use crate::kubectl::text;

/// The address of every worker's pod: this machine's.
const ADDRESS: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// What a worker says that nobody has called, as far as the operator reads it, and as much again.
const METRICS: &str = "\
# HELP liquid_worker_tokens_in_flight Document tokens.\n\
# TYPE liquid_worker_tokens_in_flight gauge\n\
liquid_worker_tokens_in_flight 0\n\
# HELP liquid_worker_calls Calls.\n\
# TYPE liquid_worker_calls counter\n\
liquid_worker_calls_total 0\n\
# HELP liquid_worker_call_tokens_before Tokens.\n\
# TYPE liquid_worker_call_tokens_before counter\n\
liquid_worker_call_tokens_before_total 0\n\
# HELP liquid_worker_call_tokens_after Tokens.\n\
# TYPE liquid_worker_call_tokens_after counter\n\
liquid_worker_call_tokens_after_total 0\n\
# EOF\n";

/// Answers in the name of all workers, until the program ends.
pub(super) fn serve() -> Result<()> {
    let listener = TcpListener::bind((ADDRESS, WORKER_ADMIN))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A reader that goes away shows in the operator's figures alone.
            let _ = answer(&stream);
        }
    });
    Ok(())
}

fn answer(mut stream: &TcpStream) -> Result<()> {
    let request = BufReader::new(stream).lines().map_while(Result::ok);
    request.take_while(|line| !line.is_empty()).for_each(drop);
    let length = METRICS.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{METRICS}"
    )?;
    Ok(())
}

/// Says of every worker's pod that it is ready; returns how many there are.
pub(super) fn make_ready(api: &Api) -> Result<usize> {
    let list = api.get("/api/v1/pods?labelSelector=app.kubernetes.io/component=worker")?;
    let pods = list.get("items").and_then(Value::as_array).into_iter().flatten();
    let mut count = 0;
    for pod in pods {
        count += 1;
        if text(pod, "/status/phase") != "Running" {
            let (namespace, name) = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
            let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/status");
            api.merge(&path, &ready_status())?;
        }
    }
    Ok(count)
}

fn ready_status() -> Value {
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"];
    let conditions = conditions.map(|name| json!({"type": name, "status": "True"}));
    json!({"status": {
        "phase": "Running", "podIP": ADDRESS, "podIPs": [{"ip": ADDRESS}], "conditions": conditions,
    }})
}
