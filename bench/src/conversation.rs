//! `liquid-bench conversation`: what conversations about documents cost, turn by turn, with whole documents and with
//! what the sidecar sends in their place.
//!
//! Every turn of a scripted conversation goes through a real sidecar's compressor and a real worker in this process.
//! A provider is taken to know the longest beginning that an earlier call of the conversation has sent, in whole
//! messages; `liquid_sidecar::policy::cost` prices the rest. Chats ask up to 20 questions on one document, the
//! labelled ones spread over the turns; an agent reads 30 documents one after the other, each longer than the last.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use liquid_sidecar::compress::Outcome;
use liquid_sidecar::policy::cost::Prompt;
use liquid_worker::engine::Tier;

use crate::evidence::{data, metric};
use crate::{chart, results};

mod ledger;
mod report;
mod script;
mod stack;

use ledger::Ledger;
use report::{Report, Run, Step};
use script::Script;
use stack::Stack;

/// Conversations to run and where to write what they cost.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Sets that give documents and questions, .jsonl or .jsonl.gz [default: all of eval/]
    files: Vec<PathBuf>,
    /// Conversations of each set, each on a document of its own
    #[arg(long, default_value_t = 6)]
    conversations: usize,
    /// Turns of a conversation
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100))]
    turns: u64,
    /// Calls of the agent; 0 for none
    #[arg(long, default_value_t = 30)]
    agent_turns: usize,
    /// Engines of the worker; those that need the model are left out where it is missing
    #[arg(long, value_delimiter = ',', default_values_t = [Tier::Lexical, Tier::Encoder])]
    tiers: Vec<Tier>,
    /// Write the figures there
    #[arg(long, default_value = "target/bench/conversation.json")]
    json: PathBuf,
    /// Draw them there
    #[arg(long, default_value = "target/bench/conversation.png")]
    png: PathBuf,
    /// The model's folder
    #[arg(long, default_value = ".cache/models/all-minilm-l6-v2")]
    model: PathBuf,
}

/// Runs the conversations, prints, writes.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let sets = data::load_all(&arguments.files, &data::Choice::default())?;
    let turns = usize::try_from(arguments.turns)?;
    let mut scripts = Vec::new();
    for set in &sets {
        let chats = script::chats(set, arguments.conversations, turns)
            .with_context(|| format!("cannot make conversations of {}", set.name))?;
        scripts.push((set.name.clone(), chats));
    }
    if arguments.agent_turns > 0 {
        let agent = script::agent(&sets, arguments.agent_turns)?;
        scripts.push(("agent".to_owned(), vec![agent]));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut reports = Vec::new();
    for &tier in &arguments.tiers {
        if tier.needs_model() && !arguments.model.join("manifest.json").exists() {
            println!(
                "no model in {}: {tier} is left out; `cargo xtask model` fetches it",
                arguments.model.display()
            );
            continue;
        }
        for (name, scripts) in &scripts {
            let runs = runtime.block_on(run_all(tier, arguments, scripts))?;
            let report = Report::new(tier, name, runs);
            println!("{report}");
            reports.push(report);
        }
    }
    ensure!(
        !reports.is_empty(),
        "nothing was run: name a tier that needs no model"
    );
    results::write_json(&arguments.json, &reports)?;
    let labels = chart::Labels {
        title: "Cost of a conversation with packs",
        x: "turns",
        y: "share of what whole documents cost, %",
        scale: chart::Scale::Linear,
    };
    chart::lines(&arguments.png, &labels, &report::series(&reports))?;
    println!(
        "written: {} and {}",
        arguments.json.display(),
        arguments.png.display()
    );
    Ok(())
}

/// Runs conversations one after the other with a sidecar and a worker of their own, which remember nothing of others.
async fn run_all(tier: Tier, arguments: &Arguments, scripts: &[Script]) -> anyhow::Result<Vec<Run>> {
    let stack = Stack::start(tier, &arguments.model).await?;
    let mut runs = Vec::new();
    for script in scripts {
        let steps = run_one(&stack, script).await;
        runs.push(steps.with_context(|| format!("in the conversation on {}", script.name))?);
    }
    stack.stop().await?;
    Ok(runs)
}

/// Sends every turn of a conversation.
async fn run_one(stack: &Stack, script: &Script) -> anyhow::Result<Run> {
    let (mut whole, mut packed) = (Ledger::default(), Ledger::default());
    let mut steps = Vec::new();
    for (at, turn) in script.turns.iter().enumerate() {
        let body = Bytes::from(script.body(at));
        let before = whole.enter(&body)?;
        let (left, decision) = match stack.compress(body).await {
            Outcome::Forward { body, decision, .. } => (body, decision),
            Outcome::Reject { rejection, .. } => bail!("turn {}: {}", at + 1, rejection.message),
        };
        if let Some(error) = decision.worker_error {
            bail!("turn {}: {error}", at + 1);
        }
        let after = packed.enter(&left)?;
        let recall = match turn.evidence.as_slice() {
            [] => None,
            evidence => metric::score(&[], evidence, &ledger::text(&left)?).evidence,
        };
        steps.push(Step {
            whole: before.prompt,
            packed: after.prompt,
            stable: after.stable,
            recall,
            action: decision.action.as_str(),
            reason: decision.reason.as_str(),
        });
    }
    Ok(Run {
        name: script.name.clone(),
        steps,
    })
}

/// Returns the tokens of a prompt.
fn size(prompt: Prompt) -> u64 {
    prompt.seen + prompt.new
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::evidence::data::{Half, Item, Set};

    /// A report with one sentence about a bridge among many about deliveries.
    fn item() -> Item {
        let deliveries = |from: u32| {
            let sentence = |n: u32| {
                format!(
                    "Delivery {n} came to hall {} on day {} and was accepted.\n",
                    n % 7,
                    n * 3
                )
            };
            (from..from + 300).map(sentence).collect::<String>()
        };
        let evidence = "The bridge over the river was closed for repairs in spring.";
        Item {
            index: 0,
            half: Half::First,
            id: "report".to_owned(),
            document: format!("{}{evidence}\n{}", deliveries(0), deliveries(300)),
            question: "When was the bridge over the river closed for repairs?".to_owned(),
            answers: Vec::new(),
            evidence: vec![evidence.to_owned()],
        }
    }

    #[test]
    fn a_turn_through_sidecar_and_worker_costs_less_and_keeps_the_evidence() {
        let set = Set {
            name: "set".to_owned(),
            items: vec![item()],
        };
        let script = script::chats(&set, 1, 1).expect("a chat").remove(0);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let run = runtime.block_on(async {
            let stack = Stack::start(Tier::Lexical, "no-model".as_ref())
                .await
                .expect("a stack");
            let run = run_one(&stack, &script).await.expect("a run");
            stack.stop().await.expect("a worker that ends");
            run
        });
        let [step] = run.steps.as_slice() else {
            unreachable!("one turn")
        };
        assert_eq!((step.action, step.recall), ("compressed", Some(1.0)));
        assert!(
            3 * size(step.packed) < size(step.whole),
            "{:?} {:?}",
            step.packed,
            step.whole
        );
    }
}
