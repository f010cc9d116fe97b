//! A layer that is ready to run on a GPU whose kernels serve it.

use burn::backend::Dispatch;
use burn::tensor::{DType, Device, Tensor};
use liquid_cuda::rule::{CONVOLUTION_WIDTHS, Columns, serves};

use super::ops::LayerOps;
use super::slot::LayerSlot;
use super::tensors::{InputWeights, LayerInput, LayerOutput, LayerRule, LayerWeights};
use crate::cuda::device::cuda_device;

/// The parameters of a layer as burn's tensors.
pub(crate) struct WeightTensors {
    /// Weights of queries, keys, values, log-gates, strengths.
    pub(crate) input: [Tensor<2>; 5],
    /// Weights of the output gate.
    pub(crate) gate: Option<Tensor<2>>,
    /// Biases of queries, keys and values.
    pub(crate) input_bias: [Option<Tensor<1>>; 3],
    pub(crate) output: Tensor<2>,
    pub(crate) output_bias: Option<Tensor<1>>,
    /// Weights of the short convolution.
    pub(crate) convolution: Option<Tensor<2>>,
    /// The parameters `a_log`, `dt_bias`, `gamma`.
    pub(crate) small: [Tensor<1>; 3],
}

impl WeightTensors {
    /// Whether the kernels serve them: bf16, heads of 64, 128 or 256. The kernels take their word for the
    /// extents, so weights that were replaced by others of other sizes must not come that far.
    fn are_served(&self, sizes: &Sizes, device: &Device) -> bool {
        let Sizes {
            embed,
            heads,
            keys,
            width,
            ..
        } = *sizes;
        let (inner, columns) = (heads * width, self.output.dims()[1]);
        let matrix = |matrix: &Tensor<2>, shape| fits(matrix, shape, &[DType::BF16], device);
        let bias = |bias: &Option<Tensor<1>>, count| {
            bias.as_ref()
                .is_none_or(|bias| fits(bias, [count], &[DType::BF16], device))
        };
        let small = |numbers, count| fits(numbers, [count], &[DType::BF16, DType::F32], device);
        let convolution = |weight: &Tensor<2>| {
            let taps = weight.dims()[1];
            CONVOLUTION_WIDTHS.contains(&taps) && matrix(weight, [2 * keys + inner, taps])
        };
        serves(heads, width, width)
            && keys.is_multiple_of(width)
            && keys > 0
            && heads.is_multiple_of(keys / width)
            && self
                .input
                .iter()
                .zip([keys, keys, inner, heads, heads])
                .all(|(weight, columns)| matrix(weight, [embed, columns]))
            && self.gate.as_ref().is_none_or(|gate| matrix(gate, [embed, inner]))
            && self
                .input_bias
                .iter()
                .zip([keys, keys, inner])
                .all(|(numbers, count)| bias(numbers, count))
            && matrix(&self.output, [inner, columns])
            && bias(&self.output_bias, columns)
            && self.convolution.as_ref().is_none_or(convolution)
            && self
                .small
                .iter()
                .zip([heads, heads, width])
                .all(|(numbers, count)| small(numbers, count))
    }

    fn sizes(&self) -> Sizes {
        let [query, ..] = &self.input;
        let [a_log, _, gamma] = &self.small;
        let [embed, keys] = query.dims();
        Sizes {
            embed,
            heads: a_log.dims()[0],
            keys,
            width: gamma.dims()[0],
            tail: self.convolution.as_ref().map(|weight| {
                let [channels, width] = weight.dims();
                [width - 1, channels]
            }),
        }
    }

    /// The biases of queries, keys and values where the products with their matrices lie, zeros elsewhere.
    fn input_bias(&self) -> Option<Tensor<1>> {
        if self.input_bias.iter().all(Option::is_none) {
            return None;
        }
        let [query, _, value, gates, _] = self.input.each_ref().map(|weight| weight.dims()[1]);
        let gate = self.gate.as_ref().map_or(0, |gate| gate.dims()[1]);
        let places = Columns::new([query, query, value, gates, gates, gate]);
        let device = self.output.device();
        let zeros = Tensor::zeros([places.pitch], (&device, DType::BF16));
        let biases = self.input_bias.iter().zip(places.starts);
        Some(biases.fold(zeros, |row, (bias, start)| match bias {
            Some(bias) => row.slice_assign(start..start + bias.dims()[0], bias.clone()),
            None => row,
        }))
    }

    fn into_weights(self) -> LayerWeights<Dispatch> {
        let input_bias = self.input_bias();
        let maybe = |bias: Option<Tensor<1>>| bias.map(Tensor::into_dispatch).into();
        let [a_log, dt_bias, gamma] = self.small.map(Tensor::into_dispatch);
        LayerWeights {
            input: InputWeights::of(self.input, self.gate),
            input_bias: maybe(input_bias),
            output: self.output.into_dispatch(),
            output_bias: maybe(self.output_bias),
            convolution: self.convolution.map(Tensor::into_dispatch).into(),
            a_log,
            dt_bias,
            gamma,
        }
    }
}

/// Whether a parameter is of this shape and one of these types, and lies on this device.
fn fits<const D: usize>(parameter: &Tensor<D>, shape: [usize; D], types: &[DType], device: &Device) -> bool {
    types.contains(&parameter.dtype()) && parameter.dims() == shape && parameter.device() == *device
}

/// Widths of a layer.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    embed: usize,
    heads: usize,
    /// Numbers of a token's queries, and of its keys.
    keys: usize,
    width: usize,
    /// Tokens that the convolution keeps of a sequence, and their channels.
    tail: Option<[usize; 2]>,
}

/// What a layer remembers of its sequences.
pub(crate) struct LayerMemory {
    /// State `[B, H, D, D]`, f32.
    pub(crate) state: Tensor<4>,
    /// Tokens that the convolution keeps, `[B, K - 1, channels]`, where there is one.
    pub(crate) tail: Option<Tensor<3>>,
}

/// A layer whose weights were looked up on a GPU.
#[derive(Clone, Debug)]
pub(crate) struct PreparedLayer {
    slot: LayerSlot,
    sizes: Sizes,
    device: Device,
}

impl PreparedLayer {
    /// Looks a layer up on a device that `may_serve` accepts, if the kernels serve its weights.
    pub(crate) fn new(weights: WeightTensors) -> Option<Self> {
        let (device, sizes) = (weights.output.device(), weights.sizes());
        let (cuda, _) = cuda_device(&device)?;
        if !weights.are_served(&sizes, &device) {
            return None;
        }
        let slot = LayerSlot::new(cuda, weights.output.dims()[1]);
        drop(<Dispatch as LayerOps>::prepare_layer(
            weights.into_weights(),
            slot.clone(),
        ));
        // Calls may come from another thread, whose operations burn queues apart: they must find the layer.
        device.sync().ok()?;
        slot.is_filled().then_some(Self { slot, sizes, device })
    }

    /// Whether the layer can run over `x [B, N, E]` from `state [B, H, D, D]` and what its convolution keeps.
    pub(crate) fn takes(&self, x: &Tensor<3>, state: &Tensor<4>, tail: Option<&Tensor<3>>) -> bool {
        let Sizes {
            embed, heads, width, ..
        } = self.sizes;
        let [batch, _, given] = x.dims();
        let types = x.dtype() == DType::BF16 && state.dtype() == DType::F32;
        let here = x.device() == self.device && state.device() == self.device;
        let tails = match (tail, self.sizes.tail) {
            (Some(tail), Some([reach, channels])) => {
                tail.dims() == [batch, reach, channels]
                    && tail.dtype() == DType::BF16
                    && tail.device() == self.device
            }
            (None, None) => true,
            _ => false,
        };
        types && here && tails && given == embed && state.dims() == [batch, heads, width, width]
    }

    /// Runs the layer over what it [takes](Self::takes); returns its output and the memory after the last
    /// token. With `lengths [B]`, f32, tokens behind the length of their sequence are padding: they leave the
    /// memory alone, and their output is of no use.
    pub(crate) fn run(
        &self,
        x: Tensor<3>,
        before: LayerMemory,
        lengths: Option<Tensor<1>>,
        rule: LayerRule,
    ) -> (Tensor<3>, LayerMemory) {
        let input = LayerInput {
            x: x.into_dispatch(),
            state: before.state.into_dispatch(),
            tail: before.tail.map(Tensor::into_dispatch).into(),
            lengths: lengths.map(Tensor::into_dispatch).into(),
        };
        let LayerOutput { output, state, tail } =
            <Dispatch as LayerOps>::prepared_layer(input, self.slot.clone(), rule);
        let after = LayerMemory {
            state: Tensor::from_dispatch(state),
            tail: tail.into_option().map(Tensor::from_dispatch),
        };
        (Tensor::from_dispatch(output), after)
    }
}
