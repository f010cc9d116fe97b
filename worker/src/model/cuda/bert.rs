//! A BERT model on a GPU that it shares with others.

use std::sync::{Arc, Mutex};

use liquid_process::lock;

use super::error::CudaError;
use super::gpu::{Gpu, Identity};
use super::pass::{Pass, Space};
use super::program::Programs;
use super::weights::{OnDevice, OnHost};
use crate::model::bert::Config;
use crate::model::weights::Weights;
use crate::model::{EmbeddingTable, LoadError, batches};

/// A GPU with the stream and the buffers that all models on it use. Clones are the same GPU; one pass runs at a time.
#[derive(Clone)]
pub(in crate::model) struct SharedGpu {
    number: usize,
    identity: Arc<Identity>,
    opened: Arc<Mutex<Opened>>,
}

/// What is open of a GPU: nothing as long as it has no memory even for that.
#[derive(Default)]
struct Opened {
    space: Option<Space>,
    gpu: Option<Gpu>,
}

impl Opened {
    /// Returns the GPU, opened at the first use, and makes this thread use it.
    fn enter(&mut self, number: usize) -> Result<&mut Gpu, CudaError> {
        let gpu = match &mut self.gpu {
            Some(gpu) => gpu,
            none => none.insert(Gpu::open(number)?),
        };
        gpu.enter()?;
        Ok(gpu)
    }
}

impl SharedGpu {
    /// Finds a GPU by its number. Takes none of its memory.
    ///
    /// # Errors
    /// [`LoadError::Gpu`].
    pub(in crate::model) fn find(number: usize) -> Result<Self, LoadError> {
        let refuse = |source| LoadError::Gpu { number, source };
        Ok(Self {
            number,
            identity: Arc::new(Identity::find(number).map_err(refuse)?),
            opened: Arc::default(),
        })
    }

    /// Returns the GPU in words.
    pub(in crate::model) fn description(&self) -> &str {
        &self.identity.description
    }

    /// Returns the UUID of the GPU.
    pub(in crate::model) fn uuid(&self) -> &str {
        &self.identity.uuid
    }

    /// Compiles the kernels for a model.
    fn compile(&self, config: &Config) -> Result<Programs, CudaError> {
        let mut opened = lock(&self.opened);
        Programs::compile(opened.enter(self.number)?.compute_capability()?, config)
    }
}

/// A BERT model on a GPU.
pub(super) struct CudaBert {
    shared: SharedGpu,
    config: Config,
    programs: Option<Programs>,
    model: Option<OnDevice>,
    /// The model until it is on the device, which may have no memory for it yet.
    waiting: Option<OnHost>,
}

impl CudaBert {
    /// Opens the GPU and compiles the kernels. Too little memory is no error here: it is tried again at each
    /// use, as is the copy of the weights, so that a worker beside a greedy neighbour waits and does not
    /// restart for ever.
    pub(super) fn load(
        shared: &SharedGpu,
        weights: &Weights<'_>,
        config: &Config,
        words: EmbeddingTable,
    ) -> Result<Self, LoadError> {
        let waiting = OnHost::read(weights, config, words)?;
        let programs = match shared.compile(config) {
            Err(CudaError::Memory) => None,
            compiled => Some(compiled.map_err(|source| LoadError::Gpu {
                number: shared.number,
                source,
            })?),
        };
        Ok(Self {
            shared: shared.clone(),
            config: config.clone(),
            programs,
            model: None,
            waiting: Some(waiting),
        })
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Hands `work` a pass over that many tokens. Takes memory if they are more than before.
    pub(super) fn run<T>(
        &mut self,
        tokens: usize,
        work: impl FnOnce(Pass<'_>) -> Result<T, CudaError>,
    ) -> Result<T, CudaError> {
        let programs = match &mut self.programs {
            Some(programs) => programs,
            none => none.insert(self.shared.compile(&self.config)?),
        };
        let mut opened = lock(&self.shared.opened);
        opened.enter(self.shared.number)?;
        let Opened { space, gpu } = &mut *opened;
        let gpu = gpu.as_mut().ok_or(CudaError::Memory)?;
        if let Some(waiting) = &self.waiting {
            self.model = Some(waiting.upload(gpu)?);
            self.waiting = None;
        }
        let rows = batches::rows(tokens);
        if !space.as_ref().is_some_and(|space| space.fits(rows, &self.config)) {
            // The old one first: both together may be too much.
            *space = None;
            *space = Some(Space::new(gpu, rows, &self.config)?);
        }
        work(Pass {
            gpu,
            programs,
            model: self.model.as_ref().ok_or(CudaError::Memory)?,
            space: space.as_mut().ok_or(CudaError::Memory)?,
            config: &self.config,
            rows,
        })
    }
}
