//! Random inputs that are the same in every run.

use burn::tensor::{DType, Device};
use liquid_attention::core::DeltaTensors;

use crate::suite::random::Random;
use crate::suite::tensors::tensor;

/// Sizes of a case, whose tensors are `[batch, tokens, heads, width]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) batch: usize,
    pub(super) tokens: usize,
    pub(super) heads: usize,
    pub(super) width: usize,
}

/// A distribution of inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Ordinary gates and keys.
    Plain,
    /// Gates near 1: nothing is forgotten.
    Slow,
    /// Nearly identical keys, and gates nearer to 1 still.
    Near,
    /// Sudden forgetting of almost everything.
    Extreme,
    /// Sudden forgetting of everything.
    Sudden,
}

impl Kind {
    /// The name in the suite's output.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Slow => "slow",
            Self::Near => "near",
            Self::Extreme => "extreme",
            Self::Sudden => "sudden",
        }
    }

    /// The log-gate of a uniform number.
    fn gate(self, x: f64) -> f64 {
        match self {
            Self::Slow => -0.01 * x,
            Self::Near => -1e-4 * x,
            Self::Extreme if x < 0.3 => -60.0,
            Self::Sudden if x < 0.3 => -1e4,
            Self::Sudden => -0.01 * x,
            Self::Plain | Self::Extreme => (x.max(1e-9)).ln() * 0.7,
        }
    }
}

/// Inputs of the rule, in the layout of `liquid_attention::core`.
pub(super) struct Case {
    pub(super) size: Size,
    pub(super) q: Vec<f32>,
    pub(super) k: Vec<f32>,
    pub(super) v: Vec<f32>,
    pub(super) g: Vec<f32>,
    pub(super) beta: Vec<f32>,
    pub(super) state: Vec<f32>,
}

impl Case {
    /// Random inputs that are the same for the same seed.
    pub(super) fn new(kind: Kind, size: Size, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let Size {
            batch,
            tokens,
            heads,
            width,
        } = size;
        let (rows, numbers) = (batch * tokens * heads * width, batch * tokens * heads);
        let (q, mut k, v) = (random.normals(rows), random.normals(rows), random.normals(rows));
        let g = (0..numbers).map(|_| kind.gate(random.uniform()) as f32).collect();
        let beta = (0..numbers).map(|_| random.uniform() as f32).collect();
        if kind == Kind::Near {
            let first: Vec<f32> = k[..heads * width].to_vec();
            for (index, x) in k.iter_mut().enumerate() {
                let near = first[index % (heads * width)] + 1e-2 * *x;
                *x = f32::from_bits(near.to_bits() & 0xffff_0000);
            }
        }
        let state = random.normals(batch * heads * width * width);
        Self {
            size,
            q,
            k,
            v,
            g,
            beta,
            state,
        }
    }

    /// Puts the inputs onto a device; q, k and v in `dtype`, the rest in f32.
    pub(super) fn tensors(&self, dtype: DType, device: &Device) -> DeltaTensors {
        let Size {
            batch,
            tokens,
            heads,
            width,
        } = self.size;
        let rows = |x: &[f32]| tensor(x, [batch, tokens, heads, width], dtype, device);
        let numbers = |x: &[f32]| tensor(x, [batch, tokens, heads], DType::F32, device);
        DeltaTensors {
            q: rows(&self.q),
            k: rows(&self.k),
            v: rows(&self.v),
            g: numbers(&self.g),
            beta: numbers(&self.beta),
            state: tensor(&self.state, [batch, heads, width, width], DType::F32, device),
        }
    }
}
