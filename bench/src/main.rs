//! `liquid-bench`: measures what the documentation claims. One module a subcommand; each prints a table and
//! writes JSON and a PNG.

// The GPU suite launches kernels, and the decoder's bounds are measured; nothing else has unsafe code.
#![cfg_attr(not(feature = "cuda-worker"), forbid(unsafe_code))]

mod attention;
mod chart;
mod conversation;
mod decoder;
mod evidence;
mod extract;
mod facts;
mod gateway;
mod gpu;
mod process;
#[cfg(feature = "cuda-worker")]
mod python;
mod results;
mod suite;
mod versions;
mod vram;
mod worker;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Measures what the documentation claims")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Time and memory of attention by length, beside its peers
    Attention(attention::Arguments),
    /// What conversations cost by their length, with whole documents and with packs
    Conversation(conversation::Arguments),
    /// A decoder on a GPU: agreement with the processor, speed beside transformers
    Decoder(decoder::Arguments),
    /// How much labelled evidence is kept at a budget
    Evidence(evidence::Arguments),
    /// Time and memory of an extraction by tier and document length
    Extract(extract::Arguments),
    /// Facts that a language model writes about the evaluation sets: what their quotes hold, and what they take
    Facts(facts::Arguments),
    /// What the sidecar adds to a call, beside nginx and LiteLLM, and what it takes in memory
    Gateway(gateway::Arguments),
    /// Encoder and ranker on a GPU: agreement with the processor, speed, and what happens when memory runs out
    Gpu(gpu::Arguments),
    /// The GPU suite: the kernels of attention checked against references, and timed
    Suite(suite::Arguments),
    /// Memory of one forward pass over a document and over its pack, with transformers and with our engine
    Vram(vram::Arguments),
    /// The program liquid-worker on a GPU end to end, beside the processor
    Worker(worker::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Attention(arguments) => attention::run(&arguments),
        Command::Conversation(arguments) => conversation::run(&arguments),
        Command::Decoder(arguments) => decoder::run(&arguments),
        Command::Evidence(arguments) => evidence::run(&arguments),
        Command::Extract(arguments) => extract::run(&arguments),
        Command::Facts(arguments) => facts::run(&arguments),
        Command::Gateway(arguments) => gateway::run(&arguments),
        Command::Gpu(arguments) => gpu::run(&arguments),
        Command::Suite(arguments) => suite::run(&arguments),
        Command::Vram(arguments) => vram::run(&arguments),
        Command::Worker(arguments) => worker::run(&arguments),
    }
}
