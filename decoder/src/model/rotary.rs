//! Frequencies of rotary positions. Arithmetic and rounding follow `modeling_rope_utils.py` of transformers, in f32: at
//! position 100,000 an angle that is rounded otherwise is another angle.

use std::f64::consts::PI;

use crate::config::{Architecture, RopeScaling};

/// Frequencies of the pairs of numbers of a head that are turned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frequencies {
    /// Radians a position, `width / 2` of them.
    inverse: Vec<f32>,
    /// Factor on cosine and sine.
    scale: f32,
}

impl Frequencies {
    /// Computes the frequencies for sequences of at most `limit` tokens; only dynamic scaling looks at the limit.
    pub(crate) fn new(architecture: &Architecture, limit: usize) -> Self {
        let (width, theta) = (architecture.rotary_dim, architecture.rope.theta);
        let plain = inverse(theta, width);
        let (inverse, scale) = match architecture.rope.scaling {
            RopeScaling::Default => (plain, 1.0),
            RopeScaling::Linear { factor } => {
                let divided = plain.iter().map(|frequency| frequency / factor as f32);
                (divided.collect(), 1.0)
            }
            RopeScaling::Dynamic { factor } => {
                let most = architecture.max_positions as f64;
                let stretch = factor * (limit as f64).max(most) / most - (factor - 1.0);
                let base = theta * stretch.powf(width as f64 / (width as f64 - 2.0).max(1.0));
                (inverse(base, width), 1.0)
            }
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_positions,
            } => {
                let turns = Turns {
                    low: low_freq_factor as f32,
                    high: high_freq_factor as f32,
                    trained: original_max_positions as f32,
                };
                let scaled = plain
                    .iter()
                    .map(|frequency| turns.scaled(*frequency, factor as f32));
                (scaled.collect(), 1.0)
            }
            RopeScaling::Yarn { .. } => yarn(&architecture.rope.scaling, theta, width),
        };
        Self { inverse, scale }
    }

    /// Appends cosine and sine of a position.
    pub(crate) fn turn(&self, position: usize, cos: &mut Vec<f32>, sin: &mut Vec<f32>) {
        for frequency in &self.inverse {
            let angle = f64::from(position as f32 * frequency);
            cos.push(angle.cos() as f32 * self.scale);
            sin.push(angle.sin() as f32 * self.scale);
        }
    }
}

/// Computes `1 / theta^(2 i / width)`.
fn inverse(theta: f64, width: usize) -> Vec<f32> {
    powers(theta, width).into_iter().map(f32::recip).collect()
}

fn powers(theta: f64, width: usize) -> Vec<f32> {
    let exponents = (0..width / 2).map(|pair| (2 * pair) as f32 / width as f32);
    exponents.map(|exponent| (theta as f32).powf(exponent)).collect()
}

/// Turns within the trained length that part Llama 3.1's frequencies.
struct Turns {
    low: f32,
    high: f32,
    trained: f32,
}

impl Turns {
    fn scaled(&self, frequency: f32, factor: f32) -> f32 {
        let wavelength = (2.0 * PI) as f32 / frequency;
        if wavelength < self.trained / self.high {
            return frequency;
        }
        if wavelength > self.trained / self.low {
            return frequency / factor;
        }
        let smooth = (self.trained / wavelength - self.low) / (self.high - self.low);
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}

/// Computes YaRN's frequencies and the factor on cosine and sine.
fn yarn(scaling: &RopeScaling, theta: f64, width: usize) -> (Vec<f32>, f32) {
    let RopeScaling::Yarn {
        factor,
        attention_factor,
        beta_fast,
        beta_slow,
        mscale,
        truncate,
        original_max_positions,
    } = scaling
    else {
        return (inverse(theta, width), 1.0);
    };
    let line = |weight: f64| {
        if *factor <= 1.0 {
            1.0
        } else {
            0.1 * weight * factor.ln() + 1.0
        }
    };
    let scale = attention_factor.unwrap_or_else(|| match mscale {
        Some((above, below)) => line(*above) / line(*below),
        None => line(1.0),
    });
    let pair = |turns: f64| {
        let trained = *original_max_positions as f64;
        width as f64 * (trained / (turns * 2.0 * PI)).ln() / (2.0 * theta.ln())
    };
    let (mut begin, mut end) = (pair(*beta_fast), pair(*beta_slow));
    if *truncate {
        (begin, end) = (begin.floor(), end.ceil());
    }
    let (begin, mut end) = (begin.max(0.0), end.min(width as f64 - 1.0));
    if begin == end {
        end += 0.001;
    }
    let ramp = |index: usize| ((index as f32 - begin as f32) / (end - begin) as f32).clamp(0.0, 1.0);
    let frequencies = powers(theta, width)
        .into_iter()
        .enumerate()
        .map(|(index, power)| {
            let kept = 1.0 - ramp(index);
            1.0 / (*factor as f32 * power) * (1.0 - kept) + 1.0 / power * kept
        });
    (frequencies.collect(), scale as f32)
}
