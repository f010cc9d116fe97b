//! A layer whose weights were looked up: their addresses, for call after call. A call then names input and state instead
//! of eleven tensors, whose look-up on two threads takes longer than the token of a decoding step.
//!
//! burn's tensors do not change, and what is held here keeps them alive, so the addresses stay right for as long as
//! this lives. Whether they are still the layer's weights is for the layer to know (`attention::Remembered`).

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use burn::backend::Dispatch;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{DType, Device, Tensor};
use burn_cubecl::CubeBackend;

use super::buffer::{device_index, on_device};
use super::error::CudaError;
use super::gpu::acquire;
use super::launch::serves;
use super::layer::{LayerOps, LayerOutput, LayerRule, LayerWeights};
use super::pass::{Call, Layer};

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

/// Runs the layer in the slot. On the thread on which burn submits to the device: there buffers cost no round trip.
pub(super) fn run(
    x: FloatTensor<CubeBackend>,
    state: FloatTensor<CubeBackend>,
    lengths: Option<FloatTensor<CubeBackend>>,
    (slot, rule): (&Slot, LayerRule),
) -> Result<LayerOutput<CubeBackend>, CudaError> {
    let client = x.client.clone();
    on_device(&client, move || {
        let held = slot.lock()?;
        let Some(Held { layer, gpu }) = &*held else {
            return Err(CudaError::Unsupported("a layer that is not held".to_owned()));
        };
        let mut gpu = acquire(*gpu)?;
        let call = Call::new(layer, rule, (x, state, lengths))?;
        call.run(&mut gpu)?;
        Ok(LayerOutput {
            output: call.output.tensor,
            state: call.last.tensor,
        })
    })
}

/// The parameters of a layer as burn's tensors, in the order of [`LayerWeights`].
pub(crate) struct WeightTensors {
    /// Queries, keys, values, log-gates, strengths, output.
    pub(crate) matrices: [Tensor<2>; 6],
    /// `a_log`, `dt_bias`, `gamma`.
    pub(crate) small: [Tensor<1>; 3],
}

impl WeightTensors {
    /// Whether the kernels serve them: bf16, heads of 64, 128 or 256. The kernels take their word for the extents, so
    /// weights that were replaced by others of other sizes must not come that far.
    fn are_served(&self, sizes: Sizes, device: &Device) -> bool {
        let Sizes { embed, heads, width } = sizes;
        let inner = heads * width;
        let [.., output] = &self.matrices;
        let [_, columns] = output.dims();
        let shapes = [
            [embed, inner],
            [embed, inner],
            [embed, inner],
            [embed, heads],
            [embed, heads],
            [inner, columns],
        ];
        serves(heads, width, width)
            && self.matrices.iter().zip(shapes).all(|(weight, shape)| {
                weight.dtype() == DType::BF16 && weight.dims() == shape && weight.device() == *device
            })
            && self
                .small
                .iter()
                .zip([heads, heads, width])
                .all(|(numbers, count)| {
                    matches!(numbers.dtype(), DType::BF16 | DType::F32)
                        && numbers.dims() == [count]
                        && numbers.device() == *device
                })
    }

    fn sizes(&self) -> Sizes {
        let [query, ..] = &self.matrices;
        let [a_log, _, gamma] = &self.small;
        Sizes {
            embed: query.dims()[0],
            heads: a_log.dims()[0],
            width: gamma.dims()[0],
        }
    }

    fn into_weights(self) -> LayerWeights<Dispatch> {
        let [query, key, value, gate_a, gate_b, output] = self.matrices.map(Tensor::into_dispatch);
        let [a_log, dt_bias, gamma] = self.small.map(Tensor::into_dispatch);
        LayerWeights {
            query,
            key,
            value,
            gate_a,
            gate_b,
            output,
            a_log,
            dt_bias,
            gamma,
        }
    }
}

/// Widths of a layer.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    embed: usize,
    heads: usize,
    width: usize,
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
        let [query, .., output] = &weights.matrices;
        let (device, sizes) = (query.device(), weights.sizes());
        if !weights.are_served(sizes, &device) {
            return None;
        }
        let slot = Slot {
            held: Arc::default(),
            columns: output.dims()[1],
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

    /// Whether the layer can run over `x [B, N, E]` from `state [B, H, D, D]`.
    pub(crate) fn takes(&self, x: &Tensor<3>, state: &Tensor<4>) -> bool {
        let Sizes { embed, heads, width } = self.sizes;
        let [batch, _, given] = x.dims();
        let types = x.dtype() == DType::BF16 && state.dtype() == DType::F32;
        let here = x.device() == self.device && state.device() == self.device;
        types && here && given == embed && state.dims() == [batch, heads, width, width]
    }

    /// Runs the layer over what it [takes](Self::takes); gives its output and the state after the last token. With
    /// `lengths [B]`, f32, tokens behind the length of their sequence are padding: they leave the state alone, and their
    /// output is of no use.
    pub(crate) fn run(
        &self,
        x: Tensor<3>,
        state: Tensor<4>,
        lengths: Option<Tensor<1>>,
        rule: LayerRule,
    ) -> (Tensor<3>, Tensor<4>) {
        let (x, state, slot) = (x.into_dispatch(), state.into_dispatch(), self.slot.clone());
        let LayerOutput { output, state } = match lengths {
            None => <Dispatch as LayerOps>::held_layer(x, state, slot, rule),
            Some(lengths) => {
                <Dispatch as LayerOps>::held_layer_padded(x, state, lengths.into_dispatch(), slot, rule)
            }
        };
        (Tensor::from_dispatch(output), Tensor::from_dispatch(state))
    }
}
