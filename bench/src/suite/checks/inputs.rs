//! Random inputs that are the same in every run.

use burn::tensor::{DType, Device};
use liquid_attention::core::DeltaTensors;

use crate::suite::tensors::tensor;

/// Random numbers that are the same in every run.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The numbers of a seed, from the first on.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x0123_4567_89AB_CDEF)
    }

    /// The next number from 0 to 1.
    pub(super) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The next standard normal numbers, each exact in bf16.
    pub(super) fn normals(&mut self, count: usize) -> Vec<f32> {
        let mut next = || {
            let (u, v) = (self.uniform().max(1e-300), self.uniform());
            let x = ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32;
            f32::from_bits((x.to_bits() + 0x7fff + ((x.to_bits() >> 16) & 1)) & 0xffff_0000)
        };
        (0..count).map(|_| next()).collect()
    }
}

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
