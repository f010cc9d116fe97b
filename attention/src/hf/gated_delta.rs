//! One gated delta layer from a checkpoint.

use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::{DType, Device, Tensor};

use super::LoadError;
use super::checkpoint::Checkpoint;
use super::config::{GatedDeltaConfig, Layout};
use crate::attention::LiquidAttention;

/// Input projections, one row an output: `[out, hidden]`.
struct Inputs {
    query: Tensor<2>,
    key: Tensor<2>,
    value: Tensor<2>,
    gate: Tensor<2>,
    strength: Tensor<2>,
    forget: Tensor<2>,
}

/// Reads tensors of one layer.
struct Reader<'a> {
    checkpoint: &'a Checkpoint,
    prefix: String,
    dtype: Option<DType>,
    device: &'a Device,
}

impl Reader<'_> {
    fn tensor<const D: usize>(&self, name: &str, shape: [usize; D]) -> Result<Tensor<D>, LoadError> {
        self.checkpoint
            .tensor(&format!("{}{name}", self.prefix), shape, self.dtype, self.device)
    }
}

impl GatedDeltaConfig {
    /// Reads layer `index` (counted from 0 over all layers). `dtype` is that of the layer, as stored if `None`.
    ///
    /// # Errors
    /// [`LoadError::Config`] if the layer is not a gated delta layer, and what [`Checkpoint::tensor`] says.
    pub fn load(
        &self,
        checkpoint: &Checkpoint,
        index: usize,
        dtype: Option<DType>,
        device: &Device,
    ) -> Result<LiquidAttention, LoadError> {
        if !self.linear_layers.get(index).copied().unwrap_or(false) {
            let reason = format!(
                "layer {index} is no gated delta layer of these {}",
                self.linear_layers.len()
            );
            return Err(LoadError::Config {
                key: "layer_types".to_owned(),
                reason,
            });
        }
        let prefix = format!("{}layers.{index}.linear_attn.", self.prefix);
        let reader = Reader {
            checkpoint,
            prefix,
            dtype,
            device,
        };
        let inputs = match self.layout {
            Layout::Apart => self.apart(&reader)?,
            Layout::Grouped => self.grouped(&reader)?,
        };
        let (keys, values) = (self.key_heads * self.d_key, self.value_heads * self.d_value);
        let kernel = self.conv_kernel;
        let conv = reader.tensor("conv1d.weight", [2 * keys + values, 1, kernel])?;
        let mut layer = self.layer().init(device)?;
        layer.query = linear(inputs.query);
        layer.key = linear(inputs.key);
        layer.value = linear(inputs.value);
        layer.gate_a = linear(inputs.forget);
        layer.gate_b = linear(inputs.strength);
        layer.output_gate = Some(linear(inputs.gate));
        layer.output = linear(reader.tensor("out_proj.weight", [self.hidden_size, values])?);
        layer.a_log = exact(reader.tensor("A_log", [self.value_heads])?);
        layer.dt_bias = exact(reader.tensor("dt_bias", [self.value_heads])?);
        layer.norm.gamma = Param::from_tensor(reader.tensor("norm.weight", [self.d_value])?);
        if let Some(short) = &mut layer.conv {
            short.weight = Param::from_tensor(conv.reshape([2 * keys + values, kernel]));
        }
        Ok(layer)
    }

    fn apart(&self, reader: &Reader<'_>) -> Result<Inputs, LoadError> {
        let hidden = self.hidden_size;
        let (keys, values) = (self.key_heads * self.d_key, self.value_heads * self.d_value);
        let all = reader.tensor("in_proj_qkv.weight", [2 * keys + values, hidden])?;
        Ok(Inputs {
            query: all.clone().narrow(0, 0, keys),
            key: all.clone().narrow(0, keys, keys),
            value: all.narrow(0, 2 * keys, values),
            gate: reader.tensor("in_proj_z.weight", [values, hidden])?,
            strength: reader.tensor("in_proj_b.weight", [self.value_heads, hidden])?,
            forget: reader.tensor("in_proj_a.weight", [self.value_heads, hidden])?,
        })
    }

    /// Splits the interleaved rows: for each key head its query, its key, the values of its value heads, their gates.
    fn grouped(&self, reader: &Reader<'_>) -> Result<Inputs, LoadError> {
        let (hidden, groups) = (self.hidden_size, self.key_heads);
        let shared = self.value_heads / groups;
        let (dk, dv) = (self.d_key, shared * self.d_value);
        let width = 2 * dk + 2 * dv;
        let all = reader.tensor("in_proj_qkvz.weight", [groups * width, hidden])?;
        let all = all.reshape([groups, width, hidden]);
        let part = |start, length| {
            all.clone()
                .narrow(1, start, length)
                .reshape([groups * length, hidden])
        };
        let gates = reader.tensor("in_proj_ba.weight", [2 * self.value_heads, hidden])?;
        let gates = gates.reshape([groups, 2 * shared, hidden]);
        let half = |start| {
            gates
                .clone()
                .narrow(1, start, shared)
                .reshape([self.value_heads, hidden])
        };
        Ok(Inputs {
            query: part(0, dk),
            key: part(dk, dk),
            value: part(2 * dk, dv),
            gate: part(2 * dk + dv, dv),
            strength: half(0),
            forget: half(shared),
        })
    }
}

/// Returns a linear layer of `[out, in]`, transposed as burn holds it.
pub(super) fn linear(weight: Tensor<2>) -> Linear {
    Linear {
        weight: Param::from_tensor(weight.transpose()),
        bias: None,
    }
}

/// Returns a parameter of the gate, which stays f32: it is an exponent.
fn exact(values: Tensor<1>) -> Param<Tensor<1>> {
    Param::from_tensor(values.cast(DType::F32))
}
