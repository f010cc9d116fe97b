//! The short convolution of ragged sequences, its tails in slots, against each sequence alone and in f64.

use anyhow::Result;
use liquid_cuda::device::Address;
use liquid_cuda::rule::ragged::{RaggedPlan, RaggedSequence, SlotStrides, Snapshot};
use liquid_cuda::rule::{Convolution, ConvolvedRows, Rows, Sequences};

use super::super::Report;
use super::super::recurrence::relative_error;
use super::sequence;
use crate::suite::gpu::Gpu;
use crate::suite::random::Random;

const CHANNELS: usize = 1_088;
/// Elements between rows: more than channels.
const PITCH: usize = CHANNELS + 64;

/// A sequence, and the tokens before it.
struct Piece {
    rows: Vec<f32>,
    tail: Vec<f32>,
    tokens: usize,
}

impl Piece {
    fn new(random: &mut Random, tokens: usize, width: usize) -> Self {
        Self {
            rows: random.normals(tokens * PITCH),
            tail: random.normals((width - 1) * CHANNELS),
            tokens,
        }
    }

    /// The last tokens of the first so many.
    fn last(&self, tokens: usize, width: usize) -> Vec<f32> {
        let rows = self.rows.chunks(PITCH).take(tokens).map(|row| &row[..CHANNELS]);
        let all: Vec<f32> = (self.tail.chunks(CHANNELS).chain(rows))
            .flatten()
            .copied()
            .collect();
        all[all.len() - (width - 1) * CHANNELS..].to_vec()
    }

    /// The convolution in f64.
    fn exact(&self, weight: &[f32], width: usize) -> Vec<f64> {
        let rows = self.rows.chunks(PITCH).map(|row| &row[..CHANNELS]);
        let all: Vec<&[f32]> = self.tail.chunks(CHANNELS).chain(rows).collect();
        let mut output = Vec::with_capacity(self.tokens * CHANNELS);
        for seen in all.windows(width) {
            for channel in 0..CHANNELS {
                let terms =
                    (0..width).map(|i| f64::from(weight[channel * width + i]) * f64::from(seen[i][channel]));
                let sum: f64 = terms.sum();
                output.push(sum / (1.0 + (-sum).exp()));
            }
        }
        output
    }
}

pub(super) fn check(gpu: &mut Gpu, report: &mut Report) -> Result<()> {
    for width in [2, 4, 8] {
        check_width(gpu, report, width)?;
    }
    Ok(())
}

/// Sequences of these lengths, and their slots: in place, to another slot, and from nothing; snapshots of the
/// first and the last.
const LENGTHS: [usize; 7] = [300, 1, 64, 0, 65, 2, 200];
/// A sequence that starts from nothing.
const NEW: usize = 2;
/// Slots of the pool.
const SLOTS: usize = 2 * LENGTHS.len();

/// The slots of a sequence.
fn slots(number: usize, tokens: usize) -> RaggedSequence {
    let other = LENGTHS.len() + number;
    match number {
        1 | 4 => sequence(tokens, Some(number), Some(other)),
        NEW => sequence(tokens, None, Some(number)),
        0 | 6 => RaggedSequence {
            snapshot: Some(Snapshot {
                after: if number == 0 { 128 } else { tokens },
                slot: other,
            }),
            ..sequence(tokens, Some(number), Some(number))
        },
        _ => sequence(tokens, Some(number), Some(number)),
    }
}

fn check_width(gpu: &mut Gpu, report: &mut Report, width: usize) -> Result<()> {
    let mut random = Random::new(31 + width as u64);
    let weight = random.normals(CHANNELS * width);
    let mut pieces = LENGTHS.map(|tokens| Piece::new(&mut random, tokens, width));
    pieces[NEW].tail.fill(0.0);
    let numbered = LENGTHS.into_iter().enumerate();
    let sequences: Vec<_> = numbered.map(|(number, tokens)| slots(number, tokens)).collect();
    let reach = (width - 1) * CHANNELS;
    let stride = reach + 8;
    let mut pool = random.normals(SLOTS * stride);
    for (sequence, piece) in sequences.iter().zip(&pieces) {
        if let Some(slot) = sequence.from {
            pool[slot * stride..][..reach].copy_from_slice(&piece.tail);
        }
    }
    let (output, pool) = convolve(
        gpu,
        &pieces,
        &sequences,
        &Weights {
            weight: &weight,
            width,
        },
        &pool,
    )?;
    let slot = |slot: usize| &pool[slot * stride..][..reach];
    let mut first = 0;
    for (piece, sequence) in pieces.iter().zip(&sequences) {
        let name = format!("ragged convolution of {width}, {} tokens", piece.tokens);
        let ours = &output[first * CHANNELS..][..piece.tokens * CHANNELS];
        first += piece.tokens;
        if piece.tokens > 0 {
            report.add(&name, relative_error(ours, &piece.exact(&weight, width)), 4e-3);
        }
        if let Some(to) = sequence.to {
            let wanted = piece.last(piece.tokens, width);
            report.holds(&format!("{name}, tail"), slot(to) == wanted);
        }
        if let Some(snapshot) = sequence.snapshot {
            let wanted = piece.last(snapshot.after, width);
            report.holds(
                &format!("{name}, snapshot of the tail"),
                slot(snapshot.slot) == wanted,
            );
        }
    }
    Ok(())
}

/// Weights of a convolution, `[channels, width]`.
struct Weights<'a> {
    weight: &'a [f32],
    width: usize,
}

/// Output of all sequences, and the pool of tails afterwards.
fn convolve(
    gpu: &mut Gpu,
    pieces: &[Piece],
    sequences: &[RaggedSequence],
    Weights { weight, width }: &Weights<'_>,
    pool: &[f32],
) -> Result<(Vec<f32>, Vec<f32>)> {
    let rows: Vec<f32> = pieces.iter().flat_map(|piece| &piece.rows).copied().collect();
    let total: usize = pieces.iter().map(|piece| piece.tokens).sum();
    let (x, weights) = (gpu.upload_bf16(&rows)?, gpu.upload_bf16(weight)?);
    let (tails, y) = (gpu.upload_bf16(pool)?, gpu.zeroed(2 * total * CHANNELS)?);
    let plan = RaggedPlan::new(sequences, SLOTS)?;
    let memory = gpu.context.allocate(plan.bytes())?;
    let strides = SlotStrides {
        state: 0,
        tail: pool.len() / SLOTS,
    };
    let launch = ConvolvedRows {
        sequences: Sequences::Ragged(plan.write(&gpu.stream, &memory, strides)?),
        from: Rows {
            address: x.address(),
            stride: PITCH,
        },
        to: y.address(),
        lengths: Address::NULL,
        first: 0,
    };
    let convolution = Convolution {
        weight: weights.address(),
        tail: tails.address(),
        last: tails.address(),
        width: *width,
        channels: CHANNELS,
    };
    // SAFETY: the buffers have room for these rows and slots, and live until the results were read.
    unsafe { gpu.kernels.convolve(&gpu.stream, &launch, &convolution)? };
    Ok((
        gpu.read_bf16(&y, total * CHANNELS)?,
        gpu.read_bf16(&tails, pool.len())?,
    ))
}
