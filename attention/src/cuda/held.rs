//! A layer whose weights were looked up: their addresses, for call after call. A call then names input and state instead
//! of eleven tensors, whose look-up on two threads takes longer than the token of a decoding step.
//!
//! burn's tensors do not change, and what is held here keeps them alive, so the addresses stay right for as long as
//! this lives. Whether they are still the layer's weights is for the layer to know (`attention::Remembered`).

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use burn::backend::Dispatch;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{DType, Device, Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::buffer::{device_index, empty};
use super::convolution::WIDTHS;
use super::error::CudaError;
use super::gpu::acquire;
use super::launch::serves;
use super::layer::{InputWeights, LayerInput, LayerOps, LayerOutput, LayerRule, LayerWeights};
use super::pass::{Call, Layer};
use super::queue::{Queue, on_device};
use super::weights::Columns;

/// What was looked up, and the number of its GPU.
struct Held {
    layer: Layer,
    gpu: usize,
}

// SAFETY: a `Layer` is tensors of burn, which may go to any thread, and what keeps their memory reserved: counters and
// an address. It is used behind the mutex of `Slot`, and dropped by whoever is last.
unsafe impl Send for Held {}

/// Where the operations find a layer that is held.
#[derive(Clone)]
pub struct Slot {
    held: Arc<Mutex<Option<Held>>>,
    queue: Queue,
    /// Of the output.
    pub(super) columns: usize,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

impl Slot {
    fn lock(&self) -> Result<MutexGuard<'_, Option<Held>>, CudaError> {
        self.held.lock().map_err(|_| CudaError::Poisoned)
    }
}

/// Looks the weights up; gives one of them back.
pub(super) fn hold(
    weights: LayerWeights<CubeBackend>,
    slot: &Slot,
) -> Result<FloatTensor<CubeBackend>, CudaError> {
    let client = weights.gamma.client.clone();
    on_device(&client, move || {
        let gamma = weights.gamma.clone();
        let gpu = device_index(&gamma)?;
        let layer = Layer::new(weights)?;
        *slot.lock()? = Some(Held { layer, gpu });
        Ok(gamma)
    })
}

/// Enqueues the layer in the slot, and gives what it will have written when burn's later work reads it. The thread that
/// calls does not wait for it: a step would take as long as both then, not as the longer.
pub(super) fn run(input: LayerInput<CubeBackend>, slot: &Slot, rule: LayerRule) -> LayerOutput<CubeBackend> {
    let written = LayerOutput::empty(&input, slot.columns);
    let (slot_of, output) = (slot.clone(), written.clone());
    slot.queue.submit(written.tensors(), move || {
        let held = slot_of.lock()?;
        let Some(Held { layer, gpu }) = &*held else {
            return Err(CudaError::Unsupported("a layer that is not held".to_owned()));
        };
        let mut gpu = acquire(*gpu)?;
        Call::new(layer, rule, input, output)?.run(&mut gpu)
    });
    written
}

impl LayerOutput<CubeBackend> {
    /// Memory for what a layer gives for an input.
    fn empty(input: &LayerInput<CubeBackend>, columns: usize) -> Self {
        let LayerInput { x, state, tail, .. } = input;
        let like = |tensor: &CubeTensor, shape| empty(x, shape, tensor.dtype);
        let shape = x.meta.shape();
        Self {
            output: like(x, Shape::from([shape[0], shape[1], columns])),
            state: like(state, state.meta.shape().clone()),
            tail: (tail.as_option())
                .map(|tail| like(tail, tail.meta.shape().clone()))
                .into(),
        }
    }

    fn tensors(&self) -> impl Iterator<Item = &CubeTensor> {
        let always = [&self.output, &self.state];
        always.into_iter().chain(self.tail.as_option())
    }
}

/// The parameters of a layer as burn's tensors.
pub(crate) struct WeightTensors {
    /// Queries, keys, values, log-gates, strengths.
    pub(crate) input: [Tensor<2>; 5],
    /// Of the output gate.
    pub(crate) gate: Option<Tensor<2>>,
    /// Biases of queries, keys and values.
    pub(crate) input_bias: [Option<Tensor<1>>; 3],
    pub(crate) output: Tensor<2>,
    pub(crate) output_bias: Option<Tensor<1>>,
    /// Of the short convolution.
    pub(crate) convolution: Option<Tensor<2>>,
    /// `a_log`, `dt_bias`, `gamma`.
    pub(crate) small: [Tensor<1>; 3],
}

impl WeightTensors {
    /// Whether the kernels serve them: bf16, heads of 64, 128 or 256. The kernels take their word for the extents, so
    /// weights that were replaced by others of other sizes must not come that far.
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
            WIDTHS.contains(&taps) && matrix(weight, [2 * keys + inner, taps])
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
    /// What the convolution keeps of a sequence.
    tail: Option<[usize; 2]>,
}

/// Whether there are kernels and products for layers on a device: a Hopper GPU, without gradients.
pub(crate) fn may_serve(device: &Device) -> bool {
    super::device_number(device).is_some_and(super::products_ready)
}

/// A layer held on a GPU.
#[derive(Clone, Debug)]
pub(crate) struct HeldLayer {
    slot: Slot,
    sizes: Sizes,
    device: Device,
}

impl HeldLayer {
    /// Holds a layer on a device that [`may_serve`], if the kernels serve its weights.
    pub(crate) fn new(weights: WeightTensors) -> Option<Self> {
        let (device, sizes) = (weights.output.device(), weights.sizes());
        let (cuda, _) = super::cuda_device(&device)?;
        if !weights.are_served(&sizes, &device) {
            return None;
        }
        let slot = Slot {
            held: Arc::default(),
            queue: Queue::of(cuda),
            columns: weights.output.dims()[1],
        };
        drop(<Dispatch as LayerOps>::hold_layer(
            weights.into_weights(),
            slot.clone(),
        ));
        // Calls may come from another thread, whose operations burn queues apart: they must find the layer.
        device.sync().ok()?;
        let is_held = slot.lock().is_ok_and(|held| held.is_some());
        is_held.then_some(Self { slot, sizes, device })
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

    /// Runs the layer over what it [takes](Self::takes); gives its output, and the state and what the convolution keeps
    /// after the last token. With `lengths [B]`, f32, tokens behind the length of their sequence are padding: they leave
    /// both alone, and their output is of no use.
    pub(crate) fn run(
        &self,
        x: Tensor<3>,
        (state, tail): (Tensor<4>, Option<Tensor<3>>),
        lengths: Option<Tensor<1>>,
        rule: LayerRule,
    ) -> (Tensor<3>, (Tensor<4>, Option<Tensor<3>>)) {
        let input = LayerInput {
            x: x.into_dispatch(),
            state: state.into_dispatch(),
            tail: tail.map(Tensor::into_dispatch).into(),
            lengths: lengths.map(Tensor::into_dispatch).into(),
        };
        let LayerOutput { output, state, tail } =
            <Dispatch as LayerOps>::held_layer(input, self.slot.clone(), rule);
        let tail = tail.into_option().map(Tensor::from_dispatch);
        (
            Tensor::from_dispatch(output),
            (Tensor::from_dispatch(state), tail),
        )
    }
}
