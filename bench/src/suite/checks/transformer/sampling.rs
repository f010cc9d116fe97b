//! Drawing tokens: the largest logit, candidates, masks, penalties, and that what is drawn has the probability that it
//! should have.

use std::collections::HashMap;

use anyhow::Result;
use liquid_cuda::device::Buffer;
use liquid_cuda::transformer::{Candidate, Draw, Penalty, Sample, SampleRows};

use crate::suite::checks::Report;
use crate::suite::gpu::Gpu;
use crate::suite::random::Random;

/// Rows of a launch.
const ROWS: usize = 32;
/// Draws of which shares are counted.
const DRAWS: usize = 8192;

/// Checks vocabularies of several sizes.
pub(super) fn check(gpu: &mut Gpu, report: &mut Report) -> Result<()> {
    for vocabulary in [50, 1000, 32_003, 151_936, 327_680] {
        let logits = Logits::new(gpu, vocabulary)?;
        greedy(gpu, report, &logits)?;
        changed(gpu, report, &logits)?;
    }
    shares(gpu, report)
}

/// Rows of logits, some of them equal.
struct Logits {
    vocabulary: usize,
    stride: usize,
    numbers: Vec<f32>,
    memory: Buffer,
}

impl Logits {
    fn new(gpu: &Gpu, vocabulary: usize) -> Result<Self> {
        let stride = vocabulary.next_multiple_of(4) + 4;
        // bf16 numbers, so that many are equal.
        let numbers: Vec<f32> = Random::new(vocabulary as u64)
            .normals(ROWS * stride)
            .into_iter()
            .map(|x| 3.0 * x)
            .collect();
        let memory = gpu.upload(&numbers)?;
        Ok(Self {
            vocabulary,
            stride,
            numbers,
            memory,
        })
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.numbers[row * self.stride..][..self.vocabulary]
    }

    fn log_sum(&self, row: usize) -> f64 {
        self.row(row)
            .iter()
            .map(|x| f64::from(*x).exp())
            .sum::<f64>()
            .ln()
    }
}

/// What is asked of a launch besides the draws.
#[derive(Default)]
struct Changes {
    masks: Vec<u32>,
    penalties: Vec<Penalty>,
}

struct Drawn {
    tokens: Vec<u32>,
    samples: Vec<Sample>,
    best: Vec<Candidate>,
}

fn draw(
    gpu: &mut Gpu,
    logits: &Logits,
    draws: &[Draw],
    changes: &Changes,
    candidates: usize,
) -> Result<Drawn> {
    let rows = draws.len();
    let memory = gpu.upload(draws)?;
    let (masks, penalties) = (gpu.upload(&changes.masks)?, gpu.upload(&changes.penalties)?);
    let (tokens, samples) = (gpu.zeroed(4 * rows)?, gpu.zeroed(size_of::<Sample>() * rows)?);
    let best = gpu.zeroed(size_of::<Candidate>() * rows * candidates)?;
    let launch = SampleRows {
        logits: logits.memory.address(),
        stride: logits.stride,
        vocabulary: logits.vocabulary,
        rows,
        draws: memory.address(),
        masks: masks.address(),
        penalties: penalties.address(),
        candidates,
        tokens: tokens.address(),
        samples: samples.address(),
        best: best.address(),
    };
    // SAFETY: the buffers have these extents and live until the results were read.
    unsafe { gpu.transformer.sample(&gpu.stream, &launch)? };
    Ok(Drawn {
        tokens: gpu.stream.read(&tokens, rows)?,
        samples: gpu.stream.read(&samples, rows)?,
        best: gpu.stream.read(&best, rows * candidates)?,
    })
}

/// A draw of the largest logit of all tokens.
fn largest() -> Draw {
    Draw {
        top_p: 1.0,
        mask: -1,
        ..Draw::default()
    }
}

/// Tokens by falling logit, of equal ones the first first.
fn order(row: &[f32]) -> Vec<u32> {
    let mut tokens: Vec<u32> = (0..row.len() as u32).collect();
    tokens.sort_by(|a, b| row[*b as usize].total_cmp(&row[*a as usize]).then(a.cmp(b)));
    tokens
}

fn greedy(gpu: &mut Gpu, report: &mut Report, logits: &Logits) -> Result<()> {
    let candidates = 64;
    let one = Draw {
        temperature: 0.7,
        top_k: 1,
        seed_low: 5,
        ..largest()
    };
    let little = Draw {
        temperature: 1.3,
        top_p: 1e-6,
        ..largest()
    };
    let near = Draw {
        temperature: 1.0,
        min_p: 1.0,
        ..largest()
    };
    let draws: Vec<Draw> = (0..ROWS)
        .map(|row| [largest(), one, little, near][row % 4])
        .collect();
    let drawn = draw(gpu, logits, &draws, &Changes::default(), candidates)?;
    let (mut tokens, mut best, mut worst) = (true, true, 0.0_f64);
    for row in 0..ROWS {
        let (numbers, order, log_sum) = (logits.row(row), order(logits.row(row)), logits.log_sum(row));
        let (token, sample) = (drawn.tokens[row], drawn.samples[row]);
        // With min_p = 1 all of the largest logits may be drawn.
        let equal = row % 4 == 3 && numbers[token as usize] == numbers[order[0] as usize];
        tokens &= (token == order[0] || equal) && sample.token == token && sample.rank == 0;
        let mut off = |ours: f32, token: u32| {
            let difference = (f64::from(ours) - (f64::from(numbers[token as usize]) - log_sum)).abs();
            worst = if difference <= worst { worst } else { difference };
        };
        off(sample.log_probability, token);
        let given = &drawn.best[row * candidates..][..candidates];
        let count = candidates.min(order.len());
        for (candidate, token) in given[..count].iter().zip(&order) {
            best &= candidate.token == *token;
            off(candidate.log_probability, *token);
        }
        best &= given[count..].iter().all(|candidate| candidate.token == u32::MAX);
    }
    let name = format!("sampling of {}", logits.vocabulary);
    report.holds(
        &format!("{name}: the largest logit, of equal ones the first"),
        tokens,
    );
    report.holds(&format!("{name}: the 64 largest in their order"), best);
    report.add(&format!("{name}: log-probabilities"), worst, 1e-4);
    Ok(())
}

/// Masks and penalties, which change what is drawn and not what is said about it.
fn changed(gpu: &mut Gpu, report: &mut Report, logits: &Logits) -> Result<()> {
    let mut changes = Changes {
        masks: vec![0; 3 * logits.vocabulary.div_ceil(32)],
        ..Changes::default()
    };
    let mut draws = vec![largest(); ROWS];
    let rows = draws.iter_mut().enumerate();
    let wanted: Vec<u32> = rows
        .map(|(row, draw)| change(logits, row, draw, &mut changes))
        .collect();
    let drawn = draw(gpu, logits, &draws, &changes, 0)?;
    let name = format!("sampling of {}", logits.vocabulary);
    report.holds(&format!("{name}: masks and penalties"), drawn.tokens == wanted);
    let given = (0..ROWS).filter(|row| *row != 2).all(|row| {
        let exact = f64::from(logits.row(row)[wanted[row] as usize]) - logits.log_sum(row);
        (f64::from(drawn.samples[row].log_probability) - exact).abs() < 1e-4
    });
    report.holds(&format!("{name}: log-probabilities without them"), given);
    Ok(())
}

/// Changes what may be drawn of a row, and returns what then is drawn.
fn change(logits: &Logits, row: usize, draw: &mut Draw, changes: &mut Changes) -> u32 {
    let (words, order) = (logits.vocabulary.div_ceil(32), order(logits.row(row)));
    let mut allow = |token: u32| changes.masks[row * words + token as usize / 32] |= 1 << (token % 32);
    match row {
        // One token is allowed; the last; none.
        0 => {
            allow(order[40]);
            (draw.mask, draw.temperature) = (0, 1.0);
            order[40]
        }
        1 => {
            let last = logits.vocabulary as u32 - 1;
            allow(last);
            draw.mask = 1;
            last
        }
        2 => {
            draw.mask = 2;
            u32::MAX
        }
        // The largest logit loses to the second, by one of the three numbers.
        _ => {
            draw.first_penalty = changes.penalties.len() as u32;
            draw.penalties = 1;
            let (divide, subtract) = if row.is_multiple_of(2) {
                (4.0, 0.0)
            } else {
                (1.0, 20.0)
            };
            changes.penalties.push(Penalty {
                token: order[0],
                divide,
                subtract,
            });
            let numbers = logits.row(row);
            let left = numbers[order[0] as usize] / divide - subtract;
            let second = order[1..].iter().find(|token| numbers[**token as usize] > left);
            second.copied().unwrap_or(order[0])
        }
    }
}

/// Draws of one row many times: every token as often as its probability says, and none that is not allowed.
fn shares(gpu: &mut Gpu, report: &mut Report) -> Result<()> {
    let vocabulary = 32_003;
    let numbers = Random::new(8).normals(vocabulary + 1);
    let numbers: Vec<f32> = numbers.into_iter().map(|x| 2.5 * x).collect();
    let logits = Logits {
        vocabulary,
        stride: 0,
        memory: gpu.upload(&numbers)?,
        numbers,
    };
    for (top_k, top_p, min_p, temperature) in [
        (0, 1.0, 0.0, 1.0),
        (20, 1.0, 0.0, 0.8),
        (0, 0.5, 0.0, 0.7),
        (0, 1.0, 0.05, 1.2),
        (300, 0.9, 0.01, 1.0),
    ] {
        let one = Draw {
            temperature,
            top_p,
            min_p,
            top_k,
            seed_low: 7,
            ..largest()
        };
        let counted = |counter: usize| Draw {
            counter: counter as u32,
            ..one
        };
        let draws: Vec<Draw> = (0..DRAWS).map(counted).collect();
        let first = draw(gpu, &logits, &draws, &Changes::default(), 0)?.tokens;
        let again = draw(gpu, &logits, &draws[..64], &Changes::default(), 0)?.tokens;
        let nucleus = nucleus(logits.row(0), one);
        let mut counts: HashMap<u32, usize> = HashMap::new();
        for token in &first {
            *counts.entry(*token).or_default() += 1;
        }
        let inside = counts
            .keys()
            .all(|token| nucleus.iter().any(|of| of.token == *token));
        let worst = nucleus.iter().take(30).map(|Share { token, share }| {
            let given = counts.get(token).copied().unwrap_or_default() as f64 / DRAWS as f64;
            (given - share).abs() / (share * (1.0 - share) / DRAWS as f64).sqrt().max(1e-9)
        });
        let name =
            format!("sampling, top_k {top_k}, top_p {top_p}, min_p {min_p}, temperature {temperature}");
        let tokens = counts.len();
        report.holds(
            &format!("{name}: {tokens} tokens of which all may be drawn"),
            inside,
        );
        let worst = worst.fold(0.0, f64::max);
        report.add(&format!("{name}: shares, in deviations"), worst, 5.0);
        report.holds(&format!("{name}: the same again"), again == first[..64]);
    }
    Ok(())
}

/// A token that may be drawn, and its probability.
struct Share {
    token: u32,
    share: f64,
}

/// Tokens that may be drawn, the most likely first.
fn nucleus(row: &[f32], draw: Draw) -> Vec<Share> {
    let order = order(row);
    let largest = f64::from(row[order[0] as usize]);
    let weigh = |token: &u32| Share {
        token: *token,
        share: ((f64::from(row[*token as usize]) - largest) / f64::from(draw.temperature)).exp(),
    };
    let count = if draw.top_k == 0 {
        order.len()
    } else {
        draw.top_k as usize
    };
    let kept = order[..count].iter().map(weigh);
    // A token at the border may be drawn or not: sums of f32 decide.
    let mut kept: Vec<Share> = kept
        .filter(|of| of.share >= f64::from(draw.min_p) - 1e-6)
        .collect();
    for wanted in [f64::from(draw.top_p) + 1e-4, f64::INFINITY] {
        let all: f64 = kept.iter().map(|of| of.share).sum();
        kept.iter_mut().for_each(|of| of.share /= all);
        let mut before = 0.0;
        kept.retain(|of| {
            before += of.share;
            before - of.share < wanted
        });
    }
    kept
}
