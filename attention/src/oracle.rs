//! The reference that everything is compared with: the recurrence and the layer, written plainly in f64, one token
//! after the other. It shares no code with the rest of the crate.

use crate::core::DeltaRule;

pub(crate) mod layer;

/// Random numbers that are the same in every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1234_5678_9ABC_DEF0)
    }

    /// Returns a number that is uniform between 0 and 1.
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Returns a standard normal number, rounded to f32 so that f32 code can be given the same number.
    pub(crate) fn normal(&mut self) -> f64 {
        let (u, v) = (self.uniform().max(1e-300), self.uniform());
        f64::from(((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32)
    }

    pub(crate) fn normals(&mut self, count: usize) -> Vec<f64> {
        (0..count).map(|_| self.normal()).collect()
    }
}

/// Inputs of the rule, in the layout of the crate: `[B, N, H, D]`, `[B, N, H]`, `[B, H, dk, dv]`.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) batch: usize,
    pub(crate) tokens: usize,
    pub(crate) heads: usize,
    pub(crate) dk: usize,
    pub(crate) dv: usize,
    pub(crate) q: Vec<f64>,
    pub(crate) k: Vec<f64>,
    pub(crate) v: Vec<f64>,
    pub(crate) g: Vec<f64>,
    pub(crate) beta: Vec<f64>,
    pub(crate) state: Vec<f64>,
}

impl Case {
    /// Draws ordinary inputs: gates between -1 and 0, strengths between 0 and 1, a state that is not empty.
    pub(crate) fn random(seed: u64, [batch, tokens, heads, dk, dv]: [usize; 5]) -> Self {
        let mut random = Random::new(seed);
        let numbers = batch * tokens * heads;
        Self {
            batch,
            tokens,
            heads,
            dk,
            dv,
            q: random.normals(numbers * dk),
            k: random.normals(numbers * dk),
            v: random.normals(numbers * dv),
            g: (0..numbers)
                .map(|_| f64::from(-random.uniform().powi(3) as f32))
                .collect(),
            beta: (0..numbers).map(|_| f64::from(random.uniform() as f32)).collect(),
            state: random.normals(batch * heads * dk * dv),
        }
    }

    /// Computes the output `[B, N, H, dv]` and the last state.
    pub(crate) fn run(&self, rule: DeltaRule) -> (Vec<f64>, Vec<f64>) {
        let mut output = vec![0.0; self.batch * self.tokens * self.heads * self.dv];
        let mut states = self.state.clone();
        let size = self.dk * self.dv;
        for b in 0..self.batch {
            for h in 0..self.heads {
                let state = &mut states[(b * self.heads + h) * size..][..size];
                for t in 0..self.tokens {
                    let at = (b * self.tokens + t) * self.heads + h;
                    let o = self.token(at, state, rule);
                    output[at * self.dv..][..self.dv].copy_from_slice(&o);
                }
            }
        }
        (output, states)
    }

    fn token(&self, at: usize, state: &mut [f64], rule: DeltaRule) -> Vec<f64> {
        let (dk, dv) = (self.dk, self.dv);
        let row = |rows: &[f64]| {
            let row = &rows[at * dk..][..dk];
            let norm = if rule.normalise {
                (row.iter().map(|x| x * x).sum::<f64>() + 1e-6).sqrt()
            } else {
                1.0
            };
            row.iter().map(|x| x / norm).collect::<Vec<_>>()
        };
        let (q, k, v) = (row(&self.q), row(&self.k), &self.v[at * dv..][..dv]);
        let read = |state: &[f64], by: &[f64]| {
            (0..dv)
                .map(|j| (0..dk).map(|i| by[i] * state[i * dv + j]).sum())
                .collect::<Vec<f64>>()
        };
        state.iter_mut().for_each(|s| *s *= self.g[at].exp());
        let held = if rule.erase {
            read(state, &k)
        } else {
            vec![0.0; dv]
        };
        for i in 0..dk {
            for j in 0..dv {
                state[i * dv + j] += self.beta[at] * k[i] * (v[j] - held[j]);
            }
        }
        read(state, &q)
            .iter()
            .map(|o| o * f64::from(rule.scale))
            .collect()
    }

    /// Returns the inputs, to be varied one number at a time.
    pub(crate) fn tensors(&mut self) -> [&mut Vec<f64>; 6] {
        [
            &mut self.q,
            &mut self.k,
            &mut self.v,
            &mut self.g,
            &mut self.beta,
            &mut self.state,
        ]
    }
}

/// Computes the relative error `|given - wanted| / |wanted|` over all numbers.
pub(crate) fn error(given: &[f64], wanted: &[f64]) -> f64 {
    assert_eq!(given.len(), wanted.len());
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>();
    let difference = square(&mut given.iter().zip(wanted).map(|(a, b)| a - b));
    (difference / square(&mut wanted.iter().copied()).max(1e-30)).sqrt()
}
