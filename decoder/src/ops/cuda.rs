//! Memory on an NVIDIA GPU, without burn: what `crate::cuda` reads and writes.

mod pages;
mod states;

pub(crate) use pages::{CudaPages, KvNumbers, PagesOptions, Place, Turns};
pub(crate) use states::{CudaStates, LayerStates, Recurrence, RecurrentRows, slot_bytes};

/// Most rows and sequences of a pass, and most rows whose logits are computed at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    pub(crate) rows: usize,
    pub(crate) sequences: usize,
    pub(crate) wanted: usize,
}
