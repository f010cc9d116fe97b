//! `liquid-bench worker`: `liquid-worker` on an NVIDIA GPU end to end, beside the same program on the processor: it starts,
//! says how far it is, is ready once it has answered, writes the processor's answers, streamed and held to a schema, and
//! facts about a real contract, with encoder, ranker and decoder on one card. What is wrong ends the command with an error.

mod answers;
mod client;
mod extraction;
mod server;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::evidence::data;
use answers::Answers;
use client::Client;
use extraction::Extraction;
use server::Server;

/// Words of the contract that the language model reads.
const WORDS: usize = 900;
/// Share of the GPU's memory that a decoder takes: two run at once, the server's and the command line's.
const SHARE: f64 = 0.3;
/// Share that holds no context.
const SMALL_SHARE: f64 = 0.003;

/// The program, its models, and where it runs.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The program liquid-worker, built with the feature cuda
    #[arg(long, default_value = "target/release/liquid-worker")]
    program: PathBuf,
    /// The GPU: cuda or cuda:N
    #[arg(long, default_value = "cuda")]
    device: String,
    /// The language model's folder
    #[arg(long, default_value = ".cache/models/smollm2-135m-instruct")]
    decoder: PathBuf,
    /// The encoder's folder
    #[arg(long, default_value = ".cache/models/all-minilm-l6-v2")]
    model: PathBuf,
    /// The ranker's folder
    #[arg(long, default_value = "ranker/model")]
    ranker: PathBuf,
    /// File whose first item is asked about, in the format of eval/
    #[arg(long, default_value = "eval/cuad.jsonl.gz")]
    items: PathBuf,
    /// Folder for the logs
    #[arg(long, default_value = "target/bench/worker")]
    folder: PathBuf,
    /// Run the GPU's part alone, and compare with nothing
    #[arg(long)]
    alone: bool,
}

impl Arguments {
    /// Variables of a worker on a device.
    fn variables(&self, device: &str, share: f64) -> Vec<(&'static str, String)> {
        let path = |path: &Path| path.display().to_string();
        vec![
            ("LIQUID_WORKER__MODEL__DEVICE", device.to_owned()),
            ("LIQUID_WORKER__MODEL__FOLDER", path(&self.model)),
            ("LIQUID_WORKER__MODEL__RANKER", path(&self.ranker)),
            ("LIQUID_WORKER__DECODER__FOLDER", path(&self.decoder)),
            ("LIQUID_WORKER__DECODER__NAME", client::MODEL.to_owned()),
            ("LIQUID_WORKER__DECODER__MEMORY_SHARE", share.to_string()),
        ]
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    std::fs::create_dir_all(&arguments.folder)
        .with_context(|| format!("cannot make {}", arguments.folder.display()))?;
    let sets = data::load_all_of(std::slice::from_ref(&arguments.items), &data::Choice::default())?;
    let item = sets.first().and_then(|set| set.items.first());
    let item = item.with_context(|| format!("{} holds no item", arguments.items.display()))?;
    let prompt = prompt(&item.document, &item.question);
    refuses_too_small_a_share(arguments)?;
    let gpu = serve(arguments, &arguments.device, &prompt)?;
    let document = arguments.folder.join("contract.txt");
    std::fs::write(&document, &item.document)?;
    let extract = |device: &str| {
        Extraction::run(
            &arguments.program,
            &arguments.variables(device, SHARE),
            &document,
            &item.question,
        )
        .with_context(|| format!("extract on {device}"))
    };
    // Beside the server, whose decoder has taken its share of the same card.
    let facts = extract(&arguments.device)?;
    facts.check(&item.document)?;
    println!("{}: {}", arguments.device, facts.summary());
    gpu.server.end()?;
    if arguments.alone {
        return Ok(());
    }
    let cpu = serve(arguments, "cpu", &prompt)?;
    cpu.server.end()?;
    cpu.answers.compare(&gpu.answers)?;
    let there = extract("cpu")?;
    println!("cpu: {}", there.summary());
    println!("{}", there.compare(&facts));
    println!("worker: everything as expected");
    Ok(())
}

/// A conversation about the beginning of a document.
fn prompt(document: &str, question: &str) -> Value {
    let words: Vec<&str> = document.split_whitespace().take(WORDS).collect();
    json!([
        { "role": "system", "content": "Answer from the document alone, in two sentences." },
        { "role": "user", "content": format!("{}\n\n{question}", words.join(" ")) },
    ])
}

/// A worker that has answered.
struct Served {
    server: Server,
    answers: Answers,
}

fn serve(arguments: &Arguments, device: &str, prompt: &Value) -> Result<Served> {
    let name = device.replace(':', "-");
    let mut server = Server::start(
        &name,
        &arguments.folder,
        &arguments.program,
        &arguments.variables(device, SHARE),
    )?;
    let ready = server
        .ready()
        .with_context(|| format!("the worker on {device}"))?;
    println!(
        "{device}: ready after {:.2} s: {}",
        ready.as_secs_f64(),
        server.phases()?
    );
    let client = Client::new(server.address());
    let answers = Answers::ask(&client, prompt).with_context(|| format!("the worker on {device}"))?;
    println!("{device}: {}", answers.summary());
    Ok(Served { server, answers })
}

/// A share that holds no context is refused at the start, with its numbers.
fn refuses_too_small_a_share(arguments: &Arguments) -> Result<()> {
    let variables = arguments.variables(&arguments.device, SMALL_SHARE);
    let output = server::check(&arguments.program, &variables)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let Some(line) = said.lines().rev().find(|line| !line.trim().is_empty()) else {
        bail!("a share of {SMALL_SHARE} was not refused: {output:?}");
    };
    ensure!(
        !output.status.success(),
        "a share of {SMALL_SHARE} was taken: {said}"
    );
    ensure!(
        said.contains("decoder") && line.chars().any(|letter| letter.is_ascii_digit()),
        "the refusal of a share of {SMALL_SHARE} has no numbers: {said}"
    );
    println!("a share of {SMALL_SHARE} is refused: {}", line.trim());
    Ok(())
}
