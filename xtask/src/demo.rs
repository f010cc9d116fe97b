//! `cargo xtask demo`: the product's main job on a real contract, from nothing to an answer.
//!
//! Weights, build, worker, sidecar, one question asked plainly and once more streamed, the evidence checked
//! against the source byte by byte; then it keeps serving until it is interrupted.

mod case;
mod llm;
mod report;
mod sockets;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::command::{cargo, root, run as run_command};
use crate::console::{bold, dim, human, say, step, warn, wrap};
use crate::model::Weights;
use crate::stack::{self, Ports, Service};
use crate::{http, model};
use case::Case;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// End after the demonstration instead of serving on.
    #[arg(long)]
    once: bool,
    /// Let a small language model in the worker answer, SmolLM2-135M, in place of quoted evidence.
    #[arg(long)]
    llm: bool,
    /// A text file to ask about instead of the contract.
    #[arg(long, value_name = "FILE", requires = "question")]
    document: Option<PathBuf>,
    /// The question to ask about it.
    #[arg(long, value_name = "TEXT")]
    question: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let interrupted = interrupts()?;
    step("1/4  The weights");
    let weights = weights()?;
    let decoder = arguments.llm.then(llm::weights).transpose()?;
    step("2/4  Building worker and sidecar (minutes the first time, seconds after it)");
    let build = [
        "build",
        "--release",
        "--package",
        "liquid-worker",
        "--package",
        "liquid-sidecar",
    ];
    run_command(&mut cargo(&build))?;
    step("3/4  Starting both");
    let ports = Ports::documented()?;
    let models = Models {
        encoder: weights.as_deref(),
        decoder: decoder.as_deref(),
    };
    let mut services = start(ports, models)?;
    step("4/4  A question about a long document");
    let case = case::load(arguments.document.as_deref(), arguments.question.as_deref())?;
    match arguments.llm {
        true => llm::ask(ports, &case, &services)?,
        false => ask(ports, &case)?,
    }
    report::snippet(ports);
    if !arguments.once {
        serve(&interrupted);
    }
    for service in services.iter_mut().rev() {
        service.stop()?;
    }
    say(dim("worker and sidecar have ended"));
    Ok(())
}

/// A message for each SIGINT or SIGTERM; without a handler the services would outlive this program.
fn interrupts() -> Result<mpsc::Receiver<()>> {
    let (send, receive) = mpsc::channel();
    ctrlc::set_handler(move || {
        let _ = send.send(());
    })?;
    Ok(receive)
}

fn weights() -> Result<Option<PathBuf>> {
    match model::ensure()? {
        Weights::Ready(folder) => {
            say("all-MiniLM-L6-v2, 22 million parameters, sha256 as published");
            Ok(Some(folder))
        }
        Weights::Missing(why) => {
            warn(format!("no weights: {why}"));
            say("going on with the lexical tier, which needs none and finds a little less");
            Ok(None)
        }
    }
}

/// Folders of the models that the worker serves.
#[derive(Clone, Copy)]
struct Models<'a> {
    encoder: Option<&'a Path>,
    decoder: Option<&'a Path>,
}

fn start(ports: Ports, models: Models<'_>) -> Result<[Service; 2]> {
    let programs = root().join("target/release");
    let mut command = stack::worker(&programs, ports, models.encoder);
    if let Some(folder) = models.decoder {
        command.env("LIQUID_WORKER__DECODER__FOLDER", folder);
    }
    let mut worker = Service::start("worker", &mut command)?;
    let took = worker.ready(&ports.worker_ready(), progress("worker: loading and warming up"))?;
    say(format!(
        "\rworker   127.0.0.1:{}   ready after {}          ",
        ports.worker,
        human(took)
    ));
    let mut command = stack::sidecar(&programs, ports);
    if models.decoder.is_some() {
        llm::answer_inside(&mut command);
    } else if std::env::var_os("SYNTHESIS_MODEL").is_none() {
        command.env("SYNTHESIS_MODEL", case::SYNTHESIS);
    }
    // A demonstration rather waits on a busy machine than sends the whole document.
    command.env("LIQUID_SIDECAR__EXTRACT__DEADLINE_MS", "30000");
    let mut sidecar = Service::start("sidecar", &mut command)?;
    let took = sidecar.ready(&ports.sidecar_ready(), progress("sidecar: starting"))?;
    say(format!(
        "\rsidecar  127.0.0.1:{}    ready after {}          ",
        ports.sidecar,
        human(took)
    ));
    Ok([worker, sidecar])
}

fn progress(what: &'static str) -> impl FnMut(Duration) {
    let watched = std::io::stdout().is_terminal();
    move |time| {
        if !watched {
            return;
        }
        print!("\r  {what}, {} s", time.as_secs());
        let _ = std::io::stdout().flush();
    }
}

fn ask(ports: Ports, case: &Case) -> Result<()> {
    let url = format!("{}/chat/completions", ports.base_url());
    report::question(case);
    let plain = http::post(&url, &case.request(false))?;
    let pack = plain.header("x-liquid-pack-id").map(str::to_owned);
    match pack {
        Some(id) => {
            let manifest = http::get(&format!("http://127.0.0.1:{}/liquid/packs/{id}", ports.sidecar))?;
            let dry = http::post(&format!("{url}?dry_run=1"), &case.request(false))?;
            report::evidence(case, &manifest, &dry.body)?;
            report::sizes(&plain, &manifest);
        }
        None => report::untouched(&plain),
    }
    say(format!("\n{}", bold("The answer, in one piece")));
    let answer = plain
        .body
        .pointer("/choices/0/message/content")
        .and_then(Value::as_str);
    for line in answer
        .context("the answer has no text")?
        .lines()
        .flat_map(|line| wrap(line, 104))
    {
        say(format!("  {line}"));
    }
    stream(&url, case)
}

fn stream(url: &str, case: &Case) -> Result<()> {
    say(format!("\n{}", bold("The same, streamed")));
    print!("    ");
    let mut pieces = 0_u32;
    let answer = http::events(url, &case.request(true), |chunk| {
        if let Some(text) = chunk.pointer("/choices/0/delta/content").and_then(Value::as_str) {
            pieces += 1;
            print!("{}", text.replace('\n', "\n    "));
            let _ = std::io::stdout().flush();
        }
    })?;
    say(format!(
        "\n{}",
        dim(&format!("{pieces} pieces in {}", human(answer.took)))
    ));
    Ok(())
}

fn serve(interrupted: &mpsc::Receiver<()>) {
    say(format!("\n{}", bold("Serving. Ctrl-C ends both.")));
    let _ = interrupted.recv();
    say("\nending: running requests finish first");
}

impl Case {
    /// The body that any OpenAI client would send.
    fn request(&self, stream: bool) -> Value {
        json!({
            "model": "gpt-5.6",
            "stream": stream,
            "messages": [
                {"role": "system", "content": "You are a careful paralegal. Answer from the document only."},
                {"role": "user", "content": self.document},
                {"role": "user", "content": self.question},
            ],
        })
    }
}
