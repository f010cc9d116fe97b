//! The recurrence written plainly in f64, and random inputs. Shares no code with the crate.

/// Random numbers that are the same in every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x0123_4567_89AB_CDEF)
    }

    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Standard normal, exact in bf16.
    pub(crate) fn normals(&mut self, count: usize) -> Vec<f32> {
        let mut next = || {
            let (u, v) = (self.uniform().max(1e-300), self.uniform());
            let x = ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32;
            f32::from_bits((x.to_bits() + 0x7fff + ((x.to_bits() >> 16) & 1)) & 0xffff_0000)
        };
        (0..count).map(|_| next()).collect()
    }
}

/// Sizes of a case: `[B, N, H, D]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) batch: usize,
    pub(crate) tokens: usize,
    pub(crate) heads: usize,
    pub(crate) width: usize,
}

/// Inputs in the layout of the crate.
pub(crate) struct Case {
    pub(crate) size: Size,
    pub(crate) q: Vec<f32>,
    pub(crate) k: Vec<f32>,
    pub(crate) v: Vec<f32>,
    pub(crate) g: Vec<f32>,
    pub(crate) beta: Vec<f32>,
    pub(crate) state: Vec<f32>,
}

impl Case {
    /// Ordinary inputs; `slow` has gates near 1, `near` nearly identical keys besides, `extreme` sudden forgetting, `sudden` of
    /// everything.
    pub(crate) fn new(kind: &str, size: Size, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let Size {
            batch,
            tokens,
            heads,
            width,
        } = size;
        let (rows, numbers) = (batch * tokens * heads * width, batch * tokens * heads);
        let (q, mut k, v) = (random.normals(rows), random.normals(rows), random.normals(rows));
        let gate = |x: f64| match kind {
            "slow" => -0.01 * x,
            "near" => -1e-4 * x,
            "extreme" if x < 0.3 => -60.0,
            "sudden" if x < 0.3 => -1e4,
            "sudden" => -0.01 * x,
            _ => (x.max(1e-9)).ln() * 0.7,
        };
        let g = (0..numbers).map(|_| gate(random.uniform()) as f32).collect();
        let beta = (0..numbers).map(|_| random.uniform() as f32).collect();
        if kind == "near" {
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
}

/// Output `[B, N, H, D]` and last state `[B, H, D, D]`, one thread a head.
pub(crate) fn recurrence(case: &Case, erase: bool) -> (Vec<f64>, Vec<f64>) {
    let Size {
        batch,
        tokens,
        heads,
        width,
    } = case.size;
    let mut output = vec![0.0; batch * tokens * heads * width];
    let mut last = Vec::new();
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..batch * heads)
            .map(|lane| scope.spawn(move || head(case, lane, erase)))
            .collect();
        for (lane, thread) in lanes.into_iter().enumerate() {
            let (rows, state) = thread.join().unwrap_or_default();
            for (token, row) in rows.chunks(width).enumerate() {
                let at = ((lane / heads * tokens + token) * heads + lane % heads) * width;
                output[at..at + width].copy_from_slice(row);
            }
            last.extend(state);
        }
    });
    (output, last)
}

fn head(case: &Case, lane: usize, erase: bool) -> (Vec<f64>, Vec<f64>) {
    let Size {
        tokens, heads, width, ..
    } = case.size;
    let mut state: Vec<f64> = case.state[lane * width * width..][..width * width]
        .iter()
        .map(|&x| f64::from(x))
        .collect();
    let mut output = Vec::with_capacity(tokens * width);
    for token in 0..tokens {
        let number = (lane / heads * tokens + token) * heads + lane % heads;
        let row = |x: &[f32]| {
            x[number * width..][..width]
                .iter()
                .map(|&x| f64::from(x))
                .collect::<Vec<_>>()
        };
        let unit = |x: Vec<f64>| {
            let norm = (x.iter().map(|x| x * x).sum::<f64>() + 1e-6).sqrt();
            x.into_iter().map(|x| x / norm).collect::<Vec<_>>()
        };
        let (q, k, v) = (unit(row(&case.q)), unit(row(&case.k)), row(&case.v));
        let (decay, beta) = (f64::from(case.g[number]).exp(), f64::from(case.beta[number]));
        let mut known = vec![0.0; width];
        for (k, states) in k.iter().zip(state.chunks_mut(width)) {
            for (state, known) in states.iter_mut().zip(&mut known) {
                *state *= decay;
                *known += k * *state;
            }
        }
        let news: Vec<f64> = v
            .iter()
            .zip(&known)
            .map(|(v, known)| beta * (v - if erase { *known } else { 0.0 }))
            .collect();
        let mut out = vec![0.0; width];
        for ((k, q), states) in k.iter().zip(&q).zip(state.chunks_mut(width)) {
            for ((state, news), out) in states.iter_mut().zip(&news).zip(&mut out) {
                *state += k * news;
                *out += q * *state / (width as f64).sqrt();
            }
        }
        output.extend(out);
    }
    (output, state)
}

/// Euclidean norm of the difference over that of the reference; infinite where a number is none.
pub(crate) fn error(values: &[f32], reference: &[f64]) -> f64 {
    let (mut off, mut all) = (0.0, 0.0);
    for (&value, &wanted) in values.iter().zip(reference) {
        off += (f64::from(value) - wanted).powi(2);
        all += wanted.powi(2);
    }
    let error = (off / all).sqrt();
    if error.is_finite() && values.len() == reference.len() {
        error
    } else {
        f64::INFINITY
    }
}
