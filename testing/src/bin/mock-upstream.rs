//! The mock upstream as a process, for clients that are not written in Rust. Prints its address on one line,
//! then serves until its standard input closes or it is interrupted, so it never outlives its parent process.

#![forbid(unsafe_code)]

use std::net::SocketAddr;

use clap::Parser;
use liquid_testing::MockUpstream;
use tokio::sync::oneshot;

/// A mock LLM provider: OpenAI chat, responses, models, embeddings, files, WebSocket echo; Anthropic messages.
#[derive(Debug, Parser)]
struct Arguments {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Keep serving when standard input closes.
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let upstream = MockUpstream::bind(arguments.listen).await?;
    println!("{}", upstream.url());
    upstream.serve_until(end(arguments.keep)).await;
    Ok(())
}

async fn end(keep: bool) {
    // A thread, not a blocking task: the runtime would wait for a task that never ends.
    let (closed, input_closed) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop(closed);
    });
    tokio::select! {
        _ = input_closed, if !keep => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
