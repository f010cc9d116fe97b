//! A layer that is held for decoding: weights and state as addresses that were looked up once. A step then names one
//! tensor instead of eleven, and the state changes where it lies.
//!
//! burn's tensors do not change, and what is held here keeps them alive, so the addresses stay right for as long as
//! this lives. The state is a copy that nothing else refers to.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use burn::backend::Dispatch;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::CubeBackend;

use super::buffer::{Buffer, device_index, on_device};
use super::decode::FEW;
use super::error::CudaError;
use super::gpu::acquire;
use super::layer::{LayerInputs, LayerOps, LayerRule, LayerTensors, serves_layer};
use super::pass::{Layer, StepAt};

/// What was looked up.
struct Held(Layer);

// SAFETY: a `Layer` is tensors of burn, which may go to any thread, and what keeps their memory reserved: counters and
// an address. It is used behind the mutex of `Slot`, and dropped by whoever is last.
unsafe impl Send for Held {}

/// Where the operations find a layer that is held, and what they give.
#[derive(Clone)]
pub struct Slot {
    held: Arc<Mutex<Option<Held>>>,
    rule: LayerRule,
    /// Of the output, `[B, 1, F]`.
    pub(super) output: Shape,
    /// Of the state, `[B, H, D, D]`.
    pub(super) state: Shape,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("output", &self.output)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Slot {
    fn lock(&self) -> Result<MutexGuard<'_, Option<Held>>, CudaError> {
        self.held.lock().map_err(|_| CudaError::Poisoned)
    }
}

/// Looks the layer up; gives back its input. Leaves the slot empty where a step cannot go the short way.
pub(super) fn hold(
    inputs: LayerInputs<CubeBackend>,
    slot: &Slot,
) -> Result<FloatTensor<CubeBackend>, CudaError> {
    let client = inputs.x.client.clone();
    on_device(&client, move || {
        let x = inputs.x.clone();
        let mut gpu = acquire(device_index(&x)?)?;
        let layer = Layer::new(inputs, None, slot.rule)?;
        if layer.is_step() {
            // The state that was given may be a snapshot of others too: it is copied before it changes in place.
            let bytes = 4 * layer.state.tensor.meta.num_elements();
            gpu.inside(|gpu| gpu.copy(layer.last.address, layer.state.address, bytes))?;
            *slot.lock()? = Some(Held(layer));
        }
        Ok(x)
    })
}

/// One token of every sequence.
pub(super) fn step(x: FloatTensor<CubeBackend>, slot: &Slot) -> Result<FloatTensor<CubeBackend>, CudaError> {
    let client = x.client.clone();
    on_device(&client, move || {
        let mut gpu = acquire(device_index(&x)?)?;
        let held = slot.lock()?;
        let Some(Held(layer)) = held.as_ref() else {
            return Err(CudaError::Unsupported("a layer that is not held".to_owned()));
        };
        let x = Buffer::of(x)?.typed(DType::BF16)?;
        let output = Buffer::new(&x.tensor, slot.output.clone(), DType::BF16)?;
        let at = StepAt {
            x: x.address,
            output: output.address,
            initial: layer.last.address,
            last: layer.last.address,
        };
        gpu.inside(|gpu| layer.step(gpu, &at))?;
        Ok(output.tensor)
    })
}

/// The state as it is, and the end of holding.
pub(super) fn release(slot: &Slot) -> Result<FloatTensor<CubeBackend>, CudaError> {
    match slot.lock()?.take() {
        Some(Held(layer)) => Ok(layer.last.tensor),
        None => Err(CudaError::Unsupported("a layer that is not held".to_owned())),
    }
}

/// A layer held on a GPU; see [`crate::Decoder`].
#[derive(Debug)]
pub(crate) struct HeldLayer {
    slot: Slot,
    /// The operations need a tensor to know the device by.
    anchor: Tensor<3>,
}

impl HeldLayer {
    /// Holds a layer whose tensors [`serves_layer`] accepts, for few sequences; `x` is zeros of a step's input.
    pub(crate) fn new(tensors: LayerTensors, rule: LayerRule) -> Option<Self> {
        let [batch, _, _] = tensors.x.dims();
        if batch > FEW || !serves_layer(&tensors) {
            return None;
        }
        let slot = Slot {
            held: Arc::default(),
            rule,
            output: Shape::from([batch, 1, tensors.output.dims()[1]]),
            state: tensors.state.shape(),
        };
        let anchor = <Dispatch as LayerOps>::hold_layer(tensors.into_inputs(), slot.clone());
        let anchor = Tensor::<3>::from_dispatch(anchor);
        // Steps may come from another thread, whose operations burn queues apart: what follows must find the layer.
        anchor.device().sync().ok()?;
        let held = slot.lock().is_ok_and(|held| held.is_some());
        held.then_some(Self { slot, anchor })
    }

    /// One token, `[B, 1, E]`.
    pub(crate) fn step(&self, x: Tensor<3>) -> Tensor<3> {
        Tensor::from_dispatch(<Dispatch as LayerOps>::held_step(
            x.into_dispatch(),
            self.slot.clone(),
        ))
    }

    /// The state after the last step.
    pub(crate) fn into_state(self) -> Tensor<4> {
        let anchor = self.anchor.into_dispatch();
        Tensor::from_dispatch(<Dispatch as LayerOps>::held_state(anchor, self.slot))
    }
}
