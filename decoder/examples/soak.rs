//! Mixed load on an engine for some time: long prompts, long answers, shared documents, cancellations, deadlines, requests
//! that are too large and queues that are full, all at once in little memory. It fails if an answer is not the one that
//! the model gives alone, if a page is lost, or if the process grows.
//!
//!     cargo run --release -p liquid-decoder --example soak -- .cache/models/smollm2-135m-instruct 60
//!
//! On a GPU (`--features cuda`, and `cuda` behind the seconds) answers may part from those alone where the two likeliest tokens
//! are as likely within the rounding of bf16; those are counted.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use liquid_decoder::engine::{Answer, Engine, EngineOptions, Refusal};
use liquid_decoder::{
    Cancellation, Event, FinishReason, Generation, KvCache, Model, Request, Sampling, Tokenizer,
};

/// Answers that run at once.
const SEQUENCES: usize = 5;
/// Most tokens of a request.
const CONTEXT: usize = 1024;
/// Different requests; their answers are known before the load begins.
const REQUESTS: u64 = 24;
/// Clients at once: more than are written at once, and more than may wait beside them.
const CLIENTS: u64 = 12;
/// Share of the time after which the process must not grow any more.
const WARM: f64 = 0.3;

type Failure = Box<dyn Error + Send + Sync>;

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

/// A request and the tokens of its answer.
struct Case {
    request: Request,
    expected: Vec<u32>,
    /// On a GPU, how much likelier each token was than the next likeliest one: the difference of the logarithms.
    leads: Vec<f32>,
}

/// Difference of the logarithms below which another token is no wrong one, on a GPU.
const TIE: f32 = 0.1;

/// How an answer ended.
enum End {
    Dropped,
    Tied,
    Reason(FinishReason),
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("give the folder of a model")?;
    let seconds: u64 = arguments.next().ok_or("give a number of seconds")?.parse()?;
    let (folder, time) = (Path::new(&folder), Duration::from_secs(seconds));
    let report = match arguments.next() {
        None => soak(folder, time)?,
        Some(device) => soak_gpu(folder, time, &device)?,
    };
    println!("{report:#?}");
    println!("no wrong answer, no page lost");
    Ok(())
}

/// Loads a model and puts it under load.
///
/// # Errors
/// Says what was wrong.
pub(crate) fn soak(folder: &Path, time: Duration) -> Result<Report, Failure> {
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
    load(&engine, &cases, time)
}

/// Loads a model to a GPU and puts it under load.
#[cfg(feature = "cuda")]
fn soak_gpu(folder: &Path, time: Duration, device: &str) -> Result<Report, Failure> {
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
    let engine = Engine::start(model, Arc::new(tokenizer), options)?;
    let mut cases = Vec::new();
    for seed in 0..REQUESTS {
        let mut request = request(seed, vocabulary, context_tokens);
        // The likeliest token, so that an answer that parts is at a tie or wrong.
        request.sampling = Sampling::default();
        request.ignore_end = true;
        let mut alone = request.clone();
        alone.sampling.logprobs = Some(2);
        let (mut expected, mut leads) = (Vec::new(), Vec::new());
        let mut answer = engine.submit(alone, None)?;
        while let Some(event) = answer.blocking_next() {
            if let Event::Token { token, top, .. } = event? {
                let lead = top.first().zip(top.get(1));
                expected.push(token);
                leads.push(lead.map_or(0.0, |(first, second)| first.logprob - second.logprob));
            }
        }
        cases.push(Case {
            request,
            expected,
            leads,
        });
    }
    load(&engine, &cases, time)
}

#[cfg(not(feature = "cuda"))]
fn soak_gpu(_: &Path, _: Duration, device: &str) -> Result<Report, Failure> {
    Err(format!("{device}: this build has no CUDA; build with --features cuda").into())
}

/// Puts an engine under load.
fn load(engine: &Engine, cases: &[Case], time: Duration) -> Result<Report, Failure> {
    let pages = engine.load().pages;
    let start = Instant::now();
    let mut warm = None;
    let reports: Vec<Result<Report, Failure>> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|seed| scope.spawn(move || client(engine, cases, seed, start + time)))
            .collect();
        std::thread::sleep(time.mul_f64(WARM));
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
        let mut expected = Vec::new();
        for event in Generation::new(model, tokenizer, request.clone(), Cancellation::default())? {
            if let Event::Token { token, .. } = event? {
                expected.push(token);
            }
        }
        cases.push(Case {
            request,
            expected,
            leads: Vec::new(),
        });
    }
    Ok(cases)
}

/// Makes one of the different requests: a document that several ask about, and what is asked; a long prompt; or a long
/// answer.
fn request(seed: u64, vocabulary: u32, context: usize) -> Request {
    let tokens = |seed: u64, count: usize| {
        let mut random = fastrand::Rng::with_seed(seed);
        (0..count)
            .map(|_| random.u32(3..vocabulary))
            .collect::<Vec<u32>>()
    };
    let (mut prompt, own, max_tokens) = match seed % 4 {
        0 | 1 => (tokens(1000 + seed % 3, context / 2), 1 + 5 * seed as usize, 8),
        2 => (Vec::new(), 3 * context / 4, 2),
        _ => (Vec::new(), 10, context / 8),
    };
    prompt.extend(tokens(seed, own));
    Request {
        prompt,
        max_tokens,
        sampling: Sampling {
            temperature: (seed % 3) as f32 * 0.5,
            frequency_penalty: 0.2,
            seed: Some(seed),
            ..Sampling::default()
        },
        ..Request::default()
    }
}

/// Asks one request after the other until the time is over.
fn client(engine: &Engine, cases: &[Case], seed: u64, end: Instant) -> Result<Report, Failure> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut report = Report::default();
    while Instant::now() < end {
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
        let deadline = late.then(|| Instant::now() + Duration::from_millis(random.u64(0..500)));
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
    let parted = tokens
        .iter()
        .zip(&case.expected)
        .position(|(token, expected)| token != expected);
    let lead = parted.and_then(|index| case.leads.get(index));
    if lead.is_some_and(|lead| *lead < TIE) {
        return Ok(reason.map_or(End::Dropped, |_| End::Tied));
    }
    let whole = matches!(reason, Some(FinishReason::Stop | FinishReason::Length));
    if !case.expected.starts_with(&tokens) || whole && tokens.len() < case.expected.len() {
        let lead = lead.map_or_else(String::new, |lead| {
            format!(", where the likeliest token led by {lead:.3}")
        });
        return Err(format!(
            "a wrong answer: {tokens:?}, alone it is {:?}{lead}",
            case.expected
        )
        .into());
    }
    Ok(reason.map_or(End::Dropped, End::Reason))
}

/// Returns the memory of the process; none where `/proc` does not say it.
fn resident_bytes() -> Option<u64> {
    /// Bytes of a page of the system.
    const PAGE: u64 = 4096;
    let counts = std::fs::read_to_string("/proc/self/statm").ok()?;
    let resident: u64 = counts.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(resident * PAGE)
}
