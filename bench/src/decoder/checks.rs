//! Small random models of every architecture on the GPU, against the processor and against themselves in other pieces,
//! batches and launches. What is wrong ends the command with an error.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use liquid_decoder::cuda::{CudaModel, CudaOptions, Precision};
use liquid_decoder::engine::Runner;
use liquid_decoder::{CacheSize, Draw, KvCache, Logits, Model, Segment, Sequence, Wanted};
use serde_json::json;

use super::checkpoint::{Checkpoint, Random, hybrids};

/// Tokens of a prompt.
const PROMPT: usize = 333;
/// Tokens that are read one by one after it.
const STEPS: usize = 40;
/// Most error of logits, as a share of their size: the rounding of bf16 through a few layers.
const BF16_ERROR: f64 = 0.03;
/// The same of a single row, which averages nothing. The norm of a head's output makes a small one, such as that of a first token
/// whose query and key are nearly orthogonal, as large as others with its rounding.
const BF16_ROW_ERROR: f64 = 0.045;
/// Most error of all rows with projections in FP8. Random weights are of one size, so a wider model has larger scores and
/// sharper attention: at 576 numbers a row twice the error of 256, whatever the heads.
const FP8_ERROR: f64 = 0.3;
/// The same with keys and values in FP8.
const KV_ERROR: f64 = 0.15;
/// Share of the logits' size by which two tokens may differ and still change places.
const TIE: f32 = 0.12;

/// Checks every architecture.
pub(super) fn run(gpu: usize, folder: &Path) -> Result<()> {
    println!(
        "{:<14} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "error of", "bf16", "pieces", "batch", "steps", "fp8", "kv fp8"
    );
    let models = [
        (
            "llama",
            "llama",
            json!({ "attention_bias": true, "mlp_bias": true }),
        ),
        ("mistral", "mistral", json!({ "sliding_window": 100 })),
        ("qwen2", "qwen2", json!({ "tie_word_embeddings": true })),
        (
            "qwen3",
            "qwen3",
            json!({ "head_dim": 128, "num_attention_heads": 8, "num_key_value_heads": 1 }),
        ),
        (
            "heads of 256",
            "mistral",
            json!({ "head_dim": 256, "num_attention_heads": 6, "sliding_window": null }),
        ),
        // Three heads of queries to a head of keys, widths that are no powers of two, and a vocabulary of many blocks.
        (
            "smollm2",
            "llama",
            json!({
                "vocab_size": 49_152, "hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9,
                "num_key_value_heads": 3, "tie_word_embeddings": true
            }),
        ),
        ("qwen3.5", "qwen3_5_text", hybrids::small(4, 8, 128)),
        ("qwen3-next", "qwen3_next", hybrids::small(2, 8, 64)),
    ];
    for (name, model_type, changes) in models {
        let folder = folder.join(name.replace(' ', "-"));
        Checkpoint::small(model_type, changes).write(&folder)?;
        model(gpu, &folder, name).with_context(|| name.to_owned())?;
    }
    Ok(())
}

fn options(gpu: usize) -> CudaOptions {
    CudaOptions {
        device: gpu,
        step_tokens: 1024,
        ..CudaOptions::default()
    }
}

/// A model with a cache.
struct Subject<R: Runner> {
    runner: R,
    cache: KvCache,
    size: CacheSize,
}

impl<R: Runner> Subject<R> {
    fn new(mut runner: R) -> Result<Self> {
        let size = CacheSize {
            context_tokens: 1024,
            pages: 512,
            states: 64,
        };
        let cache = runner.cache(size)?;
        Ok(Self { runner, cache, size })
    }

    /// Forgets all sequences.
    fn forget(&mut self) -> Result<()> {
        self.cache = self.runner.cache(self.size)?;
        Ok(())
    }

    /// Begins a sequence that takes nothing over.
    fn begin(&mut self) -> Result<Sequence> {
        Ok(self.cache.sequence(&[], 512)?)
    }

    fn read(&mut self, sequence: &mut Sequence, tokens: &[u32], wanted: Wanted) -> Result<Logits> {
        let mut segments = [Segment {
            sequence,
            tokens,
            wanted,
        }];
        let logits = self.runner.pass(&mut self.cache, &mut segments)?;
        logits.into_iter().next().context("no logits")
    }

    /// Reads all tokens in pieces of a size, and returns the logits of every one.
    fn all(&mut self, tokens: &[u32], size: usize) -> Result<Vec<f32>> {
        let mut sequence = self.begin()?;
        let mut values = Vec::new();
        for piece in tokens.chunks(size) {
            values.extend(self.read(&mut sequence, piece, Wanted::All)?.into_values());
        }
        self.cache.release(sequence);
        Ok(values)
    }
}

fn model(gpu: usize, folder: &Path, name: &str) -> Result<()> {
    let mut cpu = Subject::new(Model::load(folder, &Device::flex())?)?;
    let mut ours = Subject::new(CudaModel::load(folder, options(gpu), &|_, _| ())?)?;
    let vocabulary = cpu.runner.architecture().vocab_size;
    let tokens = Random(42).tokens(PROMPT + STEPS, vocabulary);
    let exact = cpu.all(&tokens, PROMPT)?;
    let whole = ours.all(&tokens, tokens.len())?;
    let bf16 = compare(&exact, &whole, vocabulary, BF16_ERROR).context("one pass against the processor")?;
    let mut pieces = 0.0_f64;
    for size in [7, 64, 100] {
        let cut = ours.all(&tokens, size)?;
        let error = compare(&exact, &cut, vocabulary, BF16_ERROR);
        pieces = pieces.max(error.with_context(|| format!("pieces of {size} tokens"))?);
    }
    let batch = batches(&mut ours, &tokens, &exact, vocabulary)?;
    let steps = steps(&mut ours, &tokens, &exact, vocabulary)?;
    prefix(&mut ours, &tokens, &exact, vocabulary)?;
    chosen(&mut ours, &tokens, vocabulary)?;
    drop(ours);
    let fp8 = CudaOptions {
        precision: Precision::Fp8,
        ..options(gpu)
    };
    let fp8 = rounded(folder, fp8, &tokens, &exact, FP8_ERROR).context("FP8")?;
    let kv = CudaOptions {
        keys_values: Precision::Fp8,
        ..options(gpu)
    };
    let kv = rounded(folder, kv, &tokens, &exact, KV_ERROR).context("keys and values of FP8")?;
    println!("{name:<14} {bf16:>9.4} {pieces:>9.4} {batch:>9.4} {steps:>9.4} {fp8:>9.4} {kv:>9.4}");
    Ok(())
}

/// The error of a model some of whose numbers are FP8: read in one pass, in pieces, in short ones, and, behind its prompt,
/// token by token.
fn rounded(folder: &Path, options: CudaOptions, tokens: &[u32], exact: &[f32], limit: f64) -> Result<f64> {
    let mut subject = Subject::new(CudaModel::load(folder, options, &|_, _| ())?)?;
    let mut worst = 0.0_f64;
    for size in [tokens.len(), 50, 16] {
        let error = relative(exact, &subject.all(tokens, size)?);
        ensure!(error < limit, "in pieces of {size}: error {error:.3}");
        worst = worst.max(error);
    }
    let mut sequence = subject.begin()?;
    let mut values = subject
        .read(&mut sequence, &tokens[..PROMPT], Wanted::All)?
        .into_values();
    for token in &tokens[PROMPT..] {
        let one = std::slice::from_ref(token);
        values.extend(subject.read(&mut sequence, one, Wanted::Last)?.into_values());
    }
    let error = relative(exact, &values);
    ensure!(error < limit, "token by token: error {error:.3}");
    Ok(worst.max(error))
}

/// Several sequences of other lengths in one pass, against the processor.
fn batches<R: Runner>(
    ours: &mut Subject<R>,
    tokens: &[u32],
    exact: &[f32],
    vocabulary: usize,
) -> Result<f64> {
    let lengths = [1, 5, 64, 65, 130, 200];
    let mut sequences = Vec::new();
    for _ in lengths {
        sequences.push(ours.begin()?);
    }
    let mut segments: Vec<Segment<'_>> = sequences
        .iter_mut()
        .zip(lengths)
        .map(|(sequence, length)| Segment {
            sequence,
            tokens: &tokens[..length],
            wanted: Wanted::Last,
        })
        .collect();
    let logits = ours.runner.pass(&mut ours.cache, &mut segments)?;
    let mut worst = 0.0_f64;
    for (logits, length) in logits.iter().zip(lengths) {
        let row = &exact[(length - 1) * vocabulary..length * vocabulary];
        let error = compare(row, logits.last().context("no row")?, vocabulary, BF16_ROW_ERROR);
        worst = worst.max(error.with_context(|| format!("{length} tokens in a batch"))?);
    }
    for sequence in sequences {
        ours.cache.release(sequence);
    }
    Ok(worst)
}

/// Single tokens of several sequences: captured steps against the processor, and bit by bit against the same rows beside
/// others.
fn steps<R: Runner>(ours: &mut Subject<R>, tokens: &[u32], exact: &[f32], vocabulary: usize) -> Result<f64> {
    let mut worst = 0.0_f64;
    let mut first: Option<Vec<f32>> = None;
    for count in [1, 3, 16, 40] {
        let mut sequences = Vec::new();
        for _ in 0..count {
            let mut sequence = ours.begin()?;
            ours.read(&mut sequence, &tokens[..PROMPT], Wanted::Nothing)?;
            sequences.push(sequence);
        }
        let mut values = Vec::new();
        for token in &tokens[PROMPT..] {
            let mut segments: Vec<Segment<'_>> = sequences
                .iter_mut()
                .map(|sequence| Segment {
                    sequence,
                    tokens: std::slice::from_ref(token),
                    wanted: Wanted::Last,
                })
                .collect();
            let logits = ours.runner.pass(&mut ours.cache, &mut segments)?;
            let rows: Vec<&[f32]> = logits.iter().filter_map(Logits::last).collect();
            ensure!(
                rows.len() == count && rows.iter().all(|row| *row == rows[0]),
                "equal sequences have other logits"
            );
            values.extend_from_slice(rows[0]);
        }
        let error = compare(&exact[PROMPT * vocabulary..], &values, vocabulary, BF16_ERROR);
        worst = worst.max(error.with_context(|| format!("{count} sequences, token by token"))?);
        match &first {
            Some(first) if count <= 8 => ensure!(
                *first == values,
                "a row of {count} has not the bits that it has alone"
            ),
            _ => first = first.or(Some(values)),
        }
        for sequence in sequences {
            ours.cache.release(sequence);
        }
    }
    Ok(worst)
}

/// Sequences that take over what another one has left, of a hybrid copies of its states, against the processor.
fn prefix<R: Runner>(ours: &mut Subject<R>, tokens: &[u32], exact: &[f32], vocabulary: usize) -> Result<()> {
    // Where copies of the states are, one, two and four pages before the last end of a page.
    const ENDS: [usize; 4] = [64, 192, 256, 320];
    const BEHIND: usize = 5;
    for size in [PROMPT, 100] {
        ours.forget()?;
        let mut sequence = ours.cache.sequence(&tokens[..PROMPT], 512)?;
        ensure!(
            sequence.length() == 0,
            "tokens that nobody has read are in memory"
        );
        for piece in tokens[..PROMPT].chunks(size) {
            ours.read(&mut sequence, piece, Wanted::Nothing)?;
        }
        ours.cache.release(sequence);
        for end in ENDS {
            let prompt = &tokens[..end + BEHIND];
            let mut sequence = ours.cache.sequence(prompt, 512)?;
            let taken = sequence.length();
            ensure!(taken == end, "{taken} tokens of {end} were found in memory");
            let logits = ours.read(&mut sequence, &prompt[taken..], Wanted::All)?;
            let rows = &exact[end * vocabulary..(end + BEHIND) * vocabulary];
            compare(rows, &logits.into_values(), vocabulary, BF16_ERROR)
                .with_context(|| format!("after {end} tokens from memory, read in pieces of {size}"))?;
            ours.cache.release(sequence);
        }
    }
    Ok(())
}

/// Tokens that the device chooses, against the logits of the same pass.
fn chosen<R: Runner>(ours: &mut Subject<R>, tokens: &[u32], vocabulary: usize) -> Result<()> {
    let draw = Draw {
        temperature: 0.0,
        top_k: None,
        top_p: 1.0,
        min_p: 0.0,
        seed: 1,
        counter: 0,
    };
    for length in [1, 100] {
        let mut sequences = [ours.begin()?, ours.begin()?, ours.begin()?];
        let draws = [
            Wanted::Last,
            Wanted::Token(draw),
            Wanted::Token(Draw {
                temperature: 2.0,
                top_k: Some(2),
                ..draw
            }),
        ];
        let mut segments: Vec<Segment<'_>> = sequences
            .iter_mut()
            .zip(draws)
            .map(|(sequence, wanted)| Segment {
                sequence,
                tokens: &tokens[..length],
                wanted,
            })
            .collect();
        let logits = ours.runner.pass(&mut ours.cache, &mut segments)?;
        let row = logits[0].last().context("no row")?;
        let mut order: Vec<usize> = (0..vocabulary).collect();
        order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
        let token = |index: usize| logits[index].token().map(|token| token as usize);
        ensure!(
            token(1) == Some(order[0]),
            "the likeliest is {}, not {:?}",
            order[0],
            token(1)
        );
        ensure!(
            token(2).is_some_and(|token| order[..2].contains(&token)),
            "{:?} is none of the two likeliest",
            token(2)
        );
        for sequence in sequences {
            ours.cache.release(sequence);
        }
    }
    Ok(())
}

/// Returns the root mean square error as a share of the exact values' size.
fn relative(exact: &[f32], ours: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x).powi(2);
    let error: f64 = exact
        .iter()
        .zip(ours)
        .map(|(exact, ours)| square(exact - ours))
        .sum();
    let size: f64 = exact.iter().map(|exact| square(*exact)).sum();
    match exact.len() == ours.len() {
        true => (error / size).sqrt(),
        false => f64::INFINITY,
    }
}

/// Compares rows of logits: their error, and that the likeliest tokens are the same but for ties.
fn compare(exact: &[f32], ours: &[f32], vocabulary: usize, most: f64) -> Result<f64> {
    let error = relative(exact, ours);
    ensure!(error < most, "error {error:.4}, at most {most}");
    let size = (exact.iter().map(|x| x * x).sum::<f32>() / exact.len() as f32).sqrt();
    let best = |row: &[f32]| {
        let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        best.map_or(0, |(token, _)| token)
    };
    let rows = exact.chunks_exact(vocabulary).zip(ours.chunks_exact(vocabulary));
    for (number, (exact, ours)) in rows.enumerate() {
        let (right, given) = (best(exact), best(ours));
        ensure!(
            exact[right] - exact[given] <= TIE * size,
            "row {number}: token {given} is {} below token {right}",
            exact[right] - exact[given]
        );
    }
    Ok(error)
}
