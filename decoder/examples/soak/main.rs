//! Mixed load on an engine for some time: long prompts, long answers, shared documents, cancellations, deadlines, requests
//! that are too large and queues that are full, all at once in little memory. It fails if an answer is not the one that
//! the model gives alone, if a page is lost, or if the process grows.
//!
//!     cargo run --release -p liquid-decoder --example soak -- .cache/models/smollm2-135m-instruct 60
//!
//! On a GPU (`--features cuda`, and `cuda` behind the seconds) sums are made in another order in passes of other sizes. There
//! an answer may part from the one alone where the likeliest token's lead is within what that changes, which is measured for each
//! token before the load begins (`alone.rs`); those are counted.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use burn::tensor::Device;
use liquid_decoder::engine::{Answer, Engine, EngineOptions, Refusal};
use liquid_decoder::{Cancellation, Event, FinishReason, Generation, KvCache, Model, Request, Tokenizer};

#[allow(dead_code, reason = "the example `rounding` reads more of it")]
pub(crate) mod alone;
#[cfg_attr(
    not(feature = "cuda"),
    allow(dead_code, reason = "a load on a GPU asks for the likeliest tokens")
)]
pub(crate) mod requests;

use alone::Alone;
use requests::{CONTEXT, REQUESTS, request};

/// Answers that run at once.
const SEQUENCES: usize = 5;
/// Clients at once: more than are written at once, and more than may wait beside them.
const CLIENTS: u64 = 12;
/// Share of the load after which the process must not grow any more.
const WARM: f64 = 0.3;
/// Milliseconds between two looks at how far a load has come.
const LOOK: u64 = 10;

type Failure = Box<dyn Error + Send + Sync>;

/// How much load there is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extent {
    /// So long.
    Time(Duration),
    /// So many requests of each client.
    #[allow(dead_code, reason = "how much the test asks for")]
    Requests(u64),
}

/// How far a load has come.
struct Progress {
    extent: Extent,
    start: Instant,
    /// Requests of all clients.
    asked: AtomicU64,
}

/// What a load came to.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Answers that ended by themselves, all of them right.
    pub(crate) whole: u64,
    /// Answers that were dropped.
    pub(crate) cancelled: u64,
    /// Answers that were late.
    pub(crate) late: u64,
    /// Requests that were refused as too long.
    pub(crate) too_long: u64,
    /// Requests that were refused because the queue was full.
    pub(crate) queue_full: u64,
    /// Whole answers that part from those alone at a tie.
    pub(crate) ties: u64,
    /// Tokens that were found in memory.
    pub(crate) cached_tokens: u64,
    /// Memory of the process after the first part of the time and at the end, in bytes; on Linux.
    pub(crate) memory: Option<[u64; 2]>,
}

/// A request and its answer alone, known before the load begins.
pub(crate) struct Case {
    pub(crate) request: Request,
    pub(crate) alone: Alone,
}

/// How an answer ended.
#[derive(Debug, PartialEq)]
pub(crate) enum End {
    Dropped,
    Tied,
    Reason(FinishReason),
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("give the folder of a model")?;
    let seconds: u64 = arguments.next().ok_or("give a number of seconds")?.parse()?;
    let (folder, extent) = (Path::new(&folder), Extent::Time(Duration::from_secs(seconds)));
    let report = match arguments.next() {
        None => soak(folder, extent)?,
        Some(device) => soak_gpu(folder, extent, &device)?,
    };
    println!("{report:#?}");
    println!("no wrong answer, no page lost");
    Ok(())
}

/// Loads a model and puts it under load.
///
/// # Errors
/// Says what was wrong.
pub(crate) fn soak(folder: &Path, extent: Extent) -> Result<Report, Failure> {
    let (model, tokenizer) = (Model::load(folder, &Device::flex())?, Tokenizer::read(folder)?);
    let context_tokens = CONTEXT.min(model.most_tokens());
    let cases = cases(&model, &tokenizer, context_tokens)?;
    let pages = 5 * context_tokens.div_ceil(KvCache::PAGE_TOKENS) / 2;
    let options = EngineOptions {
        context_tokens,
        memory_bytes: pages as u64 * KvCache::page_bytes(&model)
            + 2 * SEQUENCES as u64 * KvCache::state_bytes(&model),
        queue: 6,
        step_tokens: 128,
        sequences: SEQUENCES,
    };
    let engine = Engine::start(model, Arc::new(tokenizer), options)?;
    load(&engine, &cases, extent)
}

/// Loads a model to a GPU and puts it under load.
#[cfg(feature = "cuda")]
fn soak_gpu(folder: &Path, extent: Extent, device: &str) -> Result<Report, Failure> {
    use liquid_decoder::cuda::{CudaModel, CudaOptions};
    use liquid_decoder::engine::Runner;

    let device = match device.split_once(':') {
        None if device == "cuda" => 0,
        Some(("cuda", number)) => number.parse()?,
        _ => return Err(format!("{device} is no GPU: write cuda or cuda:N").into()),
    };
    let options = CudaOptions {
        device,
        step_tokens: 128,
        sequences: SEQUENCES,
        ..CudaOptions::default()
    };
    let (model, tokenizer) = (
        CudaModel::load(folder, options, &|_, _| ())?,
        Tokenizer::read(folder)?,
    );
    let context_tokens = CONTEXT.min(model.architecture().most_tokens());
    let vocabulary = model.architecture().vocab_size as u32;
    let pages = 5 * context_tokens.div_ceil(KvCache::PAGE_TOKENS) / 2;
    let options = EngineOptions {
        context_tokens,
        memory_bytes: pages as u64 * model.page_bytes() + 2 * SEQUENCES as u64 * model.state_bytes(),
        queue: 6,
        step_tokens: 128,
        sequences: SEQUENCES,
    };
    let mut reader = alone::Reader::new(model, context_tokens)?;
    let mut cases = Vec::new();
    for seed in 0..REQUESTS {
        let request = requests::likeliest(seed, vocabulary, context_tokens);
        let alone = reader.answer(&request)?;
        cases.push(Case { request, alone });
    }
    let mut answers: Vec<&mut Alone> = cases.iter_mut().map(|case| &mut case.alone).collect();
    alone::lift_ties(&mut answers);
    print_ties(&cases);
    let engine = Engine::start(reader.into_runner(), Arc::new(tokenizer), options)?;
    load(&engine, &cases, extent)
}

/// Prints up to which leads tokens count as ties, and how many of the answers' tokens are ones.
#[cfg(feature = "cuda")]
fn print_ties(cases: &[Case]) {
    let pairs = || {
        cases
            .iter()
            .flat_map(|case| case.alone.leads.iter().zip(&case.alone.ties))
    };
    let ties = pairs().filter(|(lead, tie)| lead <= tie).count();
    let (least, most) = pairs().fold((f32::INFINITY, 0.0_f32), |(least, most), (_, tie)| {
        (least.min(*tie), most.max(*tie))
    });
    println!(
        "ties are leads up to {least:.3} to {most:.3}: {ties} of {} tokens",
        pairs().count()
    );
}

#[cfg(not(feature = "cuda"))]
fn soak_gpu(_: &Path, _: Extent, device: &str) -> Result<Report, Failure> {
    Err(format!("{device}: this build has no CUDA; build with --features cuda").into())
}

impl Progress {
    /// Returns the share of the load that there was.
    fn share(&self) -> f64 {
        match self.extent {
            Extent::Time(time) => self.start.elapsed().as_secs_f64() / time.as_secs_f64(),
            Extent::Requests(each) => self.asked.load(Ordering::Relaxed) as f64 / (CLIENTS * each) as f64,
        }
    }

    /// Whether a client that has asked so many requests asks another one.
    fn goes_on(&self, asked: u64) -> bool {
        match self.extent {
            Extent::Time(time) => self.start.elapsed() < time,
            Extent::Requests(each) => asked < each,
        }
    }
}

/// Puts an engine under load.
fn load(engine: &Engine, cases: &[Case], extent: Extent) -> Result<Report, Failure> {
    let pages = engine.load().pages;
    let progress = &Progress {
        extent,
        start: Instant::now(),
        asked: AtomicU64::new(0),
    };
    let mut warm = None;
    let reports: Vec<Result<Report, Failure>> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|seed| scope.spawn(move || client(engine, cases, seed, progress)))
            .collect();
        while progress.share() < WARM && clients.iter().any(|client| !client.is_finished()) {
            std::thread::sleep(Duration::from_millis(LOOK));
        }
        warm = resident_bytes();
        let join = |client: std::thread::ScopedJoinHandle<'_, Result<Report, Failure>>| {
            client.join().unwrap_or_else(|_| Err("a client panicked".into()))
        };
        clients.into_iter().map(join).collect()
    });
    let mut report = Report::default();
    for part in reports {
        let part = part?;
        report.whole += part.whole;
        report.cancelled += part.cancelled;
        report.late += part.late;
        report.too_long += part.too_long;
        report.queue_full += part.queue_full;
        report.ties += part.ties;
    }
    // What was dropped last is noticed before the next step.
    let last = cases.first().ok_or("no requests")?;
    finish(engine.submit(last.request.clone(), None)?, last, usize::MAX)?;
    let load = engine.load();
    if (load.waiting, load.running, load.pages_used) != (0, 0, 0) || load.pages != pages {
        return Err(format!("pages were lost: {load:?}").into());
    }
    report.cached_tokens = load.prefix_hit_tokens;
    report.memory = warm.zip(resident_bytes()).map(<[u64; 2]>::from);
    match report.memory {
        Some([warm, end]) if end > warm + warm / 10 + (16 << 20) => {
            Err(format!("the process grew from {warm} to {end} bytes").into())
        }
        _ => Ok(report),
    }
}

/// Makes requests of all kinds, and their answers alone.
fn cases(model: &Model, tokenizer: &Tokenizer, context: usize) -> Result<Vec<Case>, Failure> {
    let vocabulary = model.architecture().vocab_size as u32;
    let mut cases = Vec::new();
    for seed in 0..REQUESTS {
        let request = request(seed, vocabulary, context);
        let mut alone = Alone::default();
        for event in Generation::new(model, tokenizer, request.clone(), Cancellation::default())? {
            if let Event::Token { token, .. } = event? {
                alone.tokens.push(token);
            }
        }
        cases.push(Case { request, alone });
    }
    Ok(cases)
}

/// Asks one request after the other as long as there is load.
fn client(engine: &Engine, cases: &[Case], seed: u64, progress: &Progress) -> Result<Report, Failure> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut report = Report::default();
    let mut asked = 0;
    while progress.goes_on(asked) {
        asked += 1;
        progress.asked.fetch_add(1, Ordering::Relaxed);
        let case = cases.get(random.usize(0..cases.len())).ok_or("no requests")?;
        let mut request = case.request.clone();
        let kind = random.u8(0..10);
        if kind == 0 {
            request.max_tokens = usize::MAX - random.usize(0..9);
            match engine.submit(request, None) {
                Err(Refusal::TooLong { .. }) => report.too_long += 1,
                other => return Err(format!("a request that is too long: {other:?}").into()),
            }
            continue;
        }
        let late = kind == 1;
        // Every other one is over at once.
        let milliseconds = random.u64(0..500) * random.u64(0..2);
        let deadline = late.then(|| Instant::now() + Duration::from_millis(milliseconds));
        let events = match kind {
            2 | 3 => random.usize(0..8),
            _ => usize::MAX,
        };
        let answer = match engine.submit(request, deadline) {
            Ok(answer) => answer,
            Err(Refusal::QueueFull { .. }) => {
                report.queue_full += 1;
                std::thread::sleep(Duration::from_millis(random.u64(1..20)));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        match finish(answer, case, events)? {
            End::Dropped => report.cancelled += 1,
            End::Tied => report.ties += 1,
            End::Reason(FinishReason::Deadline) if late => report.late += 1,
            End::Reason(FinishReason::Stop | FinishReason::Length) => report.whole += 1,
            End::Reason(reason) => return Err(format!("an answer ended by {reason:?}").into()),
        }
    }
    Ok(report)
}

/// Reads at most some events of an answer, and checks its tokens. Returns how it ended.
fn finish(mut answer: Answer, case: &Case, events: usize) -> Result<End, Failure> {
    let mut tokens = Vec::new();
    let mut reason = None;
    for _ in 0..events {
        match answer.blocking_next() {
            Some(Ok(Event::Token { token, .. })) => tokens.push(token),
            Some(Ok(Event::Finished { reason: why, .. })) => reason = Some(why),
            Some(Err(error)) => return Err(error.into()),
            None => break,
        }
    }
    judge(&tokens, reason, &case.alone)
}

/// Checks the tokens of an answer, or of its beginning, against those alone. Returns how it ended.
pub(crate) fn judge(tokens: &[u32], reason: Option<FinishReason>, alone: &Alone) -> Result<End, Failure> {
    let end = reason.map_or(End::Dropped, End::Reason);
    let parted = tokens
        .iter()
        .zip(&alone.tokens)
        .position(|(token, expected)| token != expected);
    let lead = parted.and_then(|index| alone.leads.get(index).zip(alone.ties.get(index)));
    if lead.is_some_and(|(lead, tie)| lead <= tie) {
        return Ok(reason.map_or(End::Dropped, |_| End::Tied));
    }
    let whole = matches!(reason, Some(FinishReason::Stop | FinishReason::Length));
    if !alone.tokens.starts_with(tokens) || whole && tokens.len() < alone.tokens.len() {
        let lead = lead.map_or_else(String::new, |(lead, tie)| {
            format!(", where the likeliest token leads by {lead:.3} and {tie:.3} is a tie")
        });
        return Err(format!("a wrong answer: {tokens:?}, alone it is {:?}{lead}", alone.tokens).into());
    }
    Ok(end)
}

/// Returns the memory of the process; none where `/proc` does not say it.
fn resident_bytes() -> Option<u64> {
    /// Bytes of a page of the system.
    const PAGE: u64 = 4096;
    let counts = std::fs::read_to_string("/proc/self/statm").ok()?;
    let resident: u64 = counts.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(resident * PAGE)
}
