//! The settings of a layer, and its construction.

use burn::config::Config;
use burn::module::Param;
use burn::nn::{Initializer, LinearConfig, RmsNormConfig};
use burn::tensor::{Device, Tensor};

use crate::attention::{LiquidAttention, Settings};
use crate::conv::ShortConvolution;
use crate::error::AttentionError;
use crate::precision::Precision;

/// Settings of [`LiquidAttention`]. The first two are those of `MultiHeadAttentionConfig`, and so are the names of
/// the biases and the initialisation of the projections.
#[derive(Config, Debug)]
pub struct LiquidAttentionConfig {
    /// Width of the input and the output.
    pub d_model: usize,
    /// Number of heads of the state, which are the heads of the values.
    pub n_heads: usize,
    /// Number of heads of queries and keys; each serves `n_heads / n_key_heads` heads. As many as `n_heads` unless set.
    #[config(default = "None")]
    pub n_key_heads: Option<usize>,
    /// Width of a head's queries and keys. `d_model / n_heads` unless set.
    #[config(default = "None")]
    pub d_key: Option<usize>,
    /// Width of a head's values. `d_model / n_heads` unless set.
    #[config(default = "None")]
    pub d_value: Option<usize>,
    /// Whether the delta rule is applied; off is simple gated linear attention.
    #[config(default = true)]
    pub erase: bool,
    /// Width of a short causal convolution of queries, keys and values. `Some(4)` helps a model that is trained
    /// with it; `None` is the drop-in.
    #[config(default = "None")]
    pub conv_kernel: Option<usize>,
    /// Whether the normed output is multiplied by `silu` of a further projection.
    #[config(default = false)]
    pub output_gate: bool,
    /// Whether a call without a causal mask scans in both directions and adds, instead of the order-free sum
    /// over all keys.
    #[config(default = false)]
    pub bidirectional: bool,
    /// Constant that is added to the mean square under the root of the output's norm.
    #[config(default = 1e-6)]
    pub norm_epsilon: f64,
    /// When kernels keep more digits.
    #[config(default = "Precision::Auto")]
    pub precision: Precision,
    /// Bias of the query projection.
    #[config(default = true)]
    pub query_bias: bool,
    /// Bias of the key projection.
    #[config(default = true)]
    pub key_bias: bool,
    /// Bias of the value projection.
    #[config(default = true)]
    pub value_bias: bool,
    /// Bias of the output projection.
    #[config(default = true)]
    pub output_bias: bool,
    /// Initialisation of the projections.
    #[config(default = "Initializer::KaimingUniform{gain: 1.0 / 3.0f64.sqrt(), fan_out_only: false}")]
    pub initializer: Initializer,
}

impl LiquidAttentionConfig {
    /// Fills in every width, or says why they do not fit.
    pub fn resolve(&self) -> Result<Settings, AttentionError> {
        let refuse = |field, value: String, reason: &str| {
            Err(AttentionError::Config {
                field,
                value,
                reason: reason.to_owned(),
            })
        };
        let Self { d_model, n_heads, .. } = *self;
        if d_model == 0 || n_heads == 0 {
            return refuse(
                "d_model, n_heads",
                format!("{d_model}, {n_heads}"),
                "both must be at least 1",
            );
        }
        if (self.d_key.is_none() || self.d_value.is_none()) && !d_model.is_multiple_of(n_heads) {
            let reason = "does not divide d_model; choose a divisor, or set d_key and d_value";
            return refuse("n_heads", n_heads.to_string(), reason);
        }
        let key_heads = self.n_key_heads.unwrap_or(n_heads);
        if key_heads == 0 || !n_heads.is_multiple_of(key_heads) {
            return refuse("n_key_heads", key_heads.to_string(), "must divide n_heads");
        }
        let (d_key, d_value) = (
            self.d_key.unwrap_or(d_model / n_heads),
            self.d_value.unwrap_or(d_model / n_heads),
        );
        if d_key == 0 || d_value == 0 {
            return refuse(
                "d_key, d_value",
                format!("{d_key}, {d_value}"),
                "both must be at least 1",
            );
        }
        if let Some(kernel @ (0 | 1)) = self.conv_kernel {
            return refuse(
                "conv_kernel",
                kernel.to_string(),
                "must be at least 2; None switches it off",
            );
        }
        if self.bidirectional && self.conv_kernel.is_some() {
            let reason = "the convolution is causal; set conv_kernel = None";
            return refuse("bidirectional", "true".to_owned(), reason);
        }
        Ok(Settings {
            d_model,
            n_heads,
            key_heads,
            d_key,
            d_value,
            erase: self.erase,
            bidirectional: self.bidirectional,
            precision: self.precision,
            needs_distillation: false,
        })
    }

    /// Creates a layer with new weights.
    ///
    /// # Errors
    /// [`AttentionError::Config`] when the widths do not fit together.
    pub fn init(&self, device: &Device) -> Result<LiquidAttention, AttentionError> {
        let settings = self.resolve()?;
        let (model, heads) = (settings.d_model, settings.n_heads);
        let (keys, values) = (settings.key_heads * settings.d_key, heads * settings.d_value);
        let linear = |input, output, bias| {
            LinearConfig::new(input, output)
                .with_bias(bias)
                .with_initializer(self.initializer.clone())
                .init(device)
        };
        let (a_log, dt_bias) = gate_parameters(heads, device);
        Ok(LiquidAttention {
            query: linear(model, keys, self.query_bias),
            key: linear(model, keys, self.key_bias),
            value: linear(model, values, self.value_bias),
            output: linear(values, model, self.output_bias),
            gate_a: linear(model, heads, false),
            gate_b: linear(model, heads, false),
            a_log,
            dt_bias,
            norm: RmsNormConfig::new(settings.d_value)
                .with_epsilon(self.norm_epsilon)
                .init(device),
            output_gate: self.output_gate.then(|| linear(model, values, false)),
            conv: self
                .conv_kernel
                .map(|kernel| ShortConvolution::new(2 * keys + values, kernel, device)),
            settings,
            #[cfg(feature = "cuda")]
            prepared: Default::default(),
        })
    }
}

/// Returns the gates' parameters for heads from slow to fast: at a gate input of 0 the log-gate is `-A * dt` with `A`
/// from 1 to 16 and `dt` from 0.001 to 0.1, the ranges that Mamba-2 draws from. Head 0 halves its state in some 700
/// tokens, the last in less than one.
fn gate_parameters(heads: usize, device: &Device) -> (Param<Tensor<1>>, Param<Tensor<1>>) {
    let at = |head: usize, from: f64, to: f64| from + (to - from) * head as f64 / (heads.max(2) - 1) as f64;
    let a_log: Vec<f32> = (0..heads).map(|head| at(head, 1.0, 16.0).ln() as f32).collect();
    let dt_bias: Vec<f32> = (0..heads)
        .map(|head| {
            let dt = at(head, 1e-3f64.ln(), 1e-1f64.ln()).exp();
            // The inverse of softplus.
            (dt + (-(-dt).exp_m1()).ln()) as f32
        })
        .collect();
    let param = |values: Vec<f32>| Param::from_tensor(Tensor::from_floats(values.as_slice(), device));
    (param(a_log), param(dt_bias))
}
