//! A layer whose weights were looked up: their addresses, for call after call. A call then names input and
//! state instead of eleven tensors, whose look-up on two threads takes longer than the token of a decoding
//! step.
//!
//! burn's tensors do not change, and what is held here keeps them alive, so the addresses stay right for as
//! long as this lives. Whether they are still the layer's weights is for the layer to know
//! (`attention::Remembered`).

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use burn::backend::tensor::FloatTensor;
use burn::tensor::Shape;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeBackend, CubeDevice};

use super::pass::{Call, Layer};
use super::tensors::{LayerInput, LayerOutput, LayerRule, LayerWeights};
use crate::cuda::device::{Queue, acquire, device_index, empty, on_device};
use crate::cuda::error::CudaError;

/// What was looked up, and the number of its GPU.
struct PreparedWeights {
    layer: Layer,
    gpu: usize,
}

// SAFETY: a `Layer` is tensors of burn, which may go to any thread, and what keeps their memory reserved:
// counters and an address. It is used behind the mutex of `LayerSlot`, and dropped by whoever is last.
unsafe impl Send for PreparedWeights {}

/// The place in which the operations find a layer whose weights were looked up.
#[derive(Clone)]
pub struct LayerSlot {
    prepared: Arc<Mutex<Option<PreparedWeights>>>,
    queue: Queue,
    /// Columns of the output.
    pub(super) columns: usize,
}

impl fmt::Debug for LayerSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerSlot")
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

impl LayerSlot {
    /// A place for a layer with so many columns of output, on a device.
    pub(super) fn new(device: &CubeDevice, columns: usize) -> Self {
        Self {
            prepared: Arc::default(),
            queue: Queue::of(device),
            columns,
        }
    }

    /// Whether a layer is there.
    pub(super) fn is_filled(&self) -> bool {
        self.lock().is_ok_and(|prepared| prepared.is_some())
    }

    fn lock(&self) -> Result<MutexGuard<'_, Option<PreparedWeights>>, CudaError> {
        self.prepared.lock().map_err(|_| CudaError::Poisoned)
    }
}

/// Looks the weights up; returns one of them.
pub(super) fn prepare(
    weights: LayerWeights<CubeBackend>,
    slot: &LayerSlot,
) -> Result<FloatTensor<CubeBackend>, CudaError> {
    let client = weights.gamma.client.clone();
    on_device(&client, move || {
        let gamma = weights.gamma.clone();
        let gpu = device_index(&gamma)?;
        let layer = Layer::new(weights)?;
        *slot.lock()? = Some(PreparedWeights { layer, gpu });
        Ok(gamma)
    })
}

/// Enqueues the layer in the slot, and returns what it will have written when burn's later work reads it. The
/// thread that calls does not wait for it: a step would take as long as both then, not as the longer.
pub(super) fn run(
    input: LayerInput<CubeBackend>,
    slot: &LayerSlot,
    rule: LayerRule,
) -> LayerOutput<CubeBackend> {
    let written = LayerOutput::empty(&input, slot.columns);
    let (slot_of, output) = (slot.clone(), written.clone());
    slot.queue.submit(written.tensors(), move || {
        let prepared = slot_of.lock()?;
        let Some(PreparedWeights { layer, gpu }) = &*prepared else {
            return Err(CudaError::Unsupported("a layer that was not prepared".to_owned()));
        };
        let mut gpu = acquire(*gpu)?;
        Call::new(layer, rule, input, output)?.run(&mut gpu)
    });
    written
}

impl LayerOutput<CubeBackend> {
    /// Memory for what a layer writes for an input.
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
