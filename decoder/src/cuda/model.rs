//! A model in a GPU's memory.

use std::path::Path;

use liquid_cuda::device::{Buffer, Context, DeviceInfo, Library, Precision, Products};
use liquid_cuda::rule::{self, CONVOLUTION_WIDTHS};
use liquid_cuda::transformer::{BatchLimits, HEAD_WIDTHS, TransformerKernels};

use super::CudaError;
use super::error::failed;
use super::graphs::{self, Caches, Graphs, Parts};
use super::layers::{Launcher, heads};
use super::load::{self, LoadProgress};
use super::pass::{self, Runnable};
use super::space::{Space, Widths};
use super::weights::{self, Weights};
use crate::config::{Architecture, GatedDelta};
use crate::engine::{Runner, RunnerLimits};
use crate::model::{
    CacheSize, Frequencies, KvCache, LoadError, Logits, Memory, PassError, Segment, check, load as tensors,
    page_shape, state_shape,
};
use crate::ops::cuda::{Capacity, CudaPages, CudaStates, KvNumbers, PagesOptions, Turns, slot_bytes};
use crate::ops::{PAGE_TOKENS, PageMemory, PageShape, StateMemory};
use crate::weights::Checkpoint;

/// Most rows whose logits are computed at once.
const MOST_WANTED: usize = 256;

/// Device memory that is left to what this crate does not allocate itself: compiled kernels, graphs, other models' batches.
const RESERVE: u64 = 2 << 30;

/// How a model is loaded to a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CudaOptions {
    /// The GPU, as CUDA counts the visible ones.
    pub device: usize,
    /// Number type of the layers' projections.
    pub precision: Precision,
    /// Number type of keys and values. With FP8 each head of a token has a scale, a power of two; they take half the memory.
    pub keys_values: Precision,
    /// Most tokens of a pass; buffers are taken for so many.
    pub step_tokens: usize,
    /// Most sequences of a pass.
    pub sequences: usize,
}

impl Default for CudaOptions {
    fn default() -> Self {
        Self {
            device: 0,
            precision: Precision::Bf16,
            keys_values: Precision::Bf16,
            step_tokens: 2048,
            sequences: 64,
        }
    }
}

/// A decoder model on a GPU: a [`Runner`] for an [`Engine`](crate::engine::Engine).
///
/// Arithmetic is bf16 with sums in f32. The logits of a row depend on how many rows its pass has, as sums are made in
/// another order: by about the rounding of bf16.
#[derive(Debug)]
pub struct CudaModel {
    architecture: Architecture,
    options: CudaOptions,
    context: Context,
    launcher: Launcher,
    graphs: Option<Graphs>,
    space: Space,
    weights: Weights,
    memory: Buffer,
}

impl CudaModel {
    /// Loads a Hugging Face folder to a GPU, and compiles what its passes need meanwhile.
    ///
    /// # Errors
    /// [`CudaError`] names the field, tensor or library, or the bytes that are missing.
    pub fn load(folder: &Path, options: CudaOptions, progress: LoadProgress<'_>) -> Result<Self, CudaError> {
        for library in [Library::Cuda, Library::Nvrtc, Library::CublasLt] {
            library.require()?;
        }
        let architecture = Architecture::read(folder).map_err(LoadError::from)?;
        let checkpoint = Checkpoint::open(folder)?;
        tensors::check(&architecture, &checkpoint)?;
        check_sizes(&architecture)?;
        let layout = weights::plan(&architecture, &checkpoint, options.precision)?;
        let widths = Widths::new(&architecture);
        let capacity = Capacity {
            rows: options.step_tokens.next_multiple_of(PAGE_TOKENS),
            sequences: options.sequences,
            wanted: options.sequences.clamp(graphs::MOST_ROWS, MOST_WANTED),
        };
        let context = Context::open(options.device)?;
        let needed = layout.bytes as u64 + Space::bytes(widths, capacity, options.precision);
        let free = context.free_memory()? as u64;
        if needed > free {
            return Err(CudaError::Memory {
                purpose: "weights and buffers",
                needed,
                free,
            });
        }
        let memory = context.allocate(layout.bytes)?;
        let mut model = Self {
            weights: layout.at(memory.address()),
            space: Space::new(&context, widths, capacity, options.precision)?,
            launcher: Launcher {
                stream: context.stream()?,
                kernels: TransformerKernels::default(),
                rule: rule::Kernels::default(),
                products: Products::new()?,
            },
            graphs: None,
            memory,
            context,
            options,
            architecture,
        };
        for vector in &layout.vectors {
            let stream = &model.launcher.stream;
            stream.write_at(&model.memory, vector.to, &vector.values)?;
        }
        let (context, base) = (model.context.clone(), model.memory.address());
        std::thread::scope(|scope| {
            let transfer = || load::transfer(&context, base, &layout.copies, progress);
            let transfer = std::thread::Builder::new().spawn_scoped(scope, transfer)?;
            // What the weights are does not matter to the compiler.
            let warm = model.warm_up();
            let transferred = match transfer.join() {
                Ok(transferred) => transferred,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            transferred.and(warm)
        })?;
        Ok(model)
    }

    /// Returns the bytes that weights and buffers take.
    pub fn memory_bytes(&self) -> u64 {
        let widths = Widths::new(&self.architecture);
        self.memory.bytes() as u64 + Space::bytes(widths, self.space.capacity, self.options.precision)
    }

    /// Returns the bytes for keys and values if the model may take a share of the GPU's memory in all; never more than is
    /// free but for a reserve.
    ///
    /// # Errors
    /// [`CudaError::Device`].
    pub fn memory_left(&self, share: f64) -> Result<u64, CudaError> {
        let total = DeviceInfo::of(self.options.device)?.memory as f64;
        let own = (total * share.clamp(0.0, 1.0)) as u64;
        let free = (self.context.free_memory()? as u64).saturating_sub(RESERVE);
        Ok(own.saturating_sub(self.memory_bytes()).min(free))
    }

    /// Compiles all kernels.
    fn warm_up(&mut self) -> Result<(), CudaError> {
        let size = CacheSize {
            context_tokens: PAGE_TOKENS.min(self.architecture.most_tokens()),
            pages: 1,
            states: 1,
        };
        let pages = self.pages(KvCache::shape(&self.architecture, size)?, size)?;
        let states = self.states(size)?;
        let caches = Caches {
            pages: &pages,
            states: states.as_ref(),
        };
        let parts = Parts {
            architecture: &self.architecture,
            weights: &self.weights,
            space: &self.space,
        };
        Ok(pass::warm_up(&mut self.launcher, parts, caches)?)
    }

    /// Takes memory for the states of a hybrid.
    fn states(&self, size: CacheSize) -> Result<Option<CudaStates>, CudaError> {
        let shape = state_shape(&self.architecture, size.states);
        let states = shape.delta.map(|delta| {
            let (context, stream) = (&self.context, &self.launcher.stream);
            CudaStates::new(context, stream, shape, delta, self.space.capacity)
        });
        Ok(states.transpose()?)
    }

    /// Returns the largest batch over a cache.
    fn batch_limits(&self, size: CacheSize) -> BatchLimits {
        let sequences = self.options.sequences;
        BatchLimits {
            rows: self.space.capacity.rows,
            sequences,
            pages: sequences * size.context_tokens.div_ceil(PAGE_TOKENS),
            pool: size.pages,
            decode_rows: 1,
        }
    }

    /// Takes memory for sequences.
    fn pages(&self, shape: PageShape, size: CacheSize) -> Result<CudaPages, CudaError> {
        let frequencies = Frequencies::new(&self.architecture, size.context_tokens);
        let mut turns = Turns {
            cosines: Vec::new(),
            sines: Vec::new(),
        };
        // The pass that compiles the kernels reads a whole page, also of a model that is made for fewer tokens.
        for position in 0..size.context_tokens.next_multiple_of(PAGE_TOKENS) {
            frequencies.turn(position, &mut turns.cosines, &mut turns.sines);
        }
        let options = PagesOptions {
            shape,
            heads: heads(&self.architecture),
            precision: self.options.keys_values,
            limits: self.batch_limits(size),
        };
        Ok(CudaPages::new(
            &self.context,
            &self.launcher.stream,
            &turns,
            options,
        )?)
    }

    /// Checks that a pass has room for its segments.
    fn check_room(&self, segments: &[Segment<'_>]) -> Result<(), PassError> {
        let rows: usize = segments.iter().map(|segment| segment.tokens.len()).sum();
        let most = self.limits();
        for (what, count, most) in [
            ("tokens", rows, most.step_tokens),
            ("sequences", segments.len(), most.sequences),
        ] {
            if count > most {
                return Err(PassError::TooMany { what, count, most });
            }
        }
        Ok(())
    }
}

impl Runner for CudaModel {
    fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    fn page_bytes(&self) -> u64 {
        let numbers = KvNumbers {
            precision: self.options.keys_values,
            width: self.architecture.head_dim,
        };
        numbers.bytes(page_shape(&self.architecture, 1).page()) as u64
    }

    fn state_bytes(&self) -> u64 {
        slot_bytes(state_shape(&self.architecture, 1)) as u64
    }

    fn limits(&self) -> RunnerLimits {
        RunnerLimits {
            step_tokens: self.space.capacity.rows,
            sequences: self.options.sequences,
        }
    }

    fn cache(&mut self, size: CacheSize) -> Result<KvCache, PassError> {
        let shape = KvCache::shape(&self.architecture, size)?;
        let bytes = self.page_bytes().saturating_mul(size.pages as u64);
        let bytes = bytes.saturating_add(self.state_bytes().saturating_mul(size.states as u64));
        self.context.bind().map_err(failed)?;
        let memory = |error| match error {
            CudaError::Device(error) if error.is_out_of_memory() => PassError::Memory { bytes },
            error => PassError::Device(error.to_string()),
        };
        let pages = self.pages(shape, size).map_err(memory)?;
        let states = self.states(size).map_err(memory)?;
        let parts = Parts {
            architecture: &self.architecture,
            weights: &self.weights,
            space: &self.space,
        };
        let caches = Caches {
            pages: &pages,
            states: states.as_ref(),
        };
        let graphs = Graphs::capture(&mut self.launcher, parts, caches).map_err(failed)?;
        self.graphs = Some(graphs);
        let memory = Memory {
            pages: PageMemory::Cuda(pages),
            states: states.map_or_else(StateMemory::none, StateMemory::Cuda),
        };
        Ok(KvCache::over(memory, &self.architecture, size))
    }

    fn chooses(&self) -> bool {
        true
    }

    fn pass(&mut self, cache: &mut KvCache, segments: &mut [Segment<'_>]) -> Result<Vec<Logits>, PassError> {
        check(&self.architecture, cache, segments)?;
        self.check_room(segments)?;
        if segments.is_empty() {
            return Ok(Vec::new());
        }
        self.context.bind().map_err(failed)?;
        for segment in segments.iter_mut() {
            cache.grow(segment.sequence, segment.tokens.len())?;
        }
        let memory = cache.memory();
        let PageMemory::Cuda(pages) = &mut memory.pages else {
            return Err(PassError::OtherCache);
        };
        let states = match &mut memory.states {
            StateMemory::Cuda(states) => Some(states),
            _ => None,
        };
        let mut runnable = Runnable {
            parts: Parts {
                architecture: &self.architecture,
                weights: &self.weights,
                space: &self.space,
            },
            launcher: &mut self.launcher,
            graphs: self.graphs.as_ref(),
            pages,
            states,
        };
        let logits = runnable.run(segments).map_err(|error| {
            pages.lose();
            failed(error)
        })?;
        for segment in segments.iter_mut() {
            cache.advance(segment.sequence, segment.tokens);
        }
        Ok(logits)
    }
}

/// Checks that there are kernels for a model's sizes.
fn check_sizes(architecture: &Architecture) -> Result<(), CudaError> {
    const WIDTHS: &str = "heads of 64, 128 or 256 numbers";
    const SIXTEENS: &str = "widths that are multiples of 16";
    if let Some(delta) = architecture.delta {
        check_delta(delta)?;
    }
    let multiple = |size: usize| size.is_multiple_of(16);
    let checks = [
        (
            "head_dim",
            architecture.head_dim,
            HEAD_WIDTHS.contains(&architecture.head_dim),
            WIDTHS,
        ),
        (
            "hidden_size",
            architecture.hidden_size,
            multiple(architecture.hidden_size),
            SIXTEENS,
        ),
        (
            "intermediate_size",
            architecture.intermediate_size,
            multiple(architecture.intermediate_size),
            SIXTEENS,
        ),
        (
            "vocab_size",
            architecture.vocab_size,
            multiple(architecture.vocab_size),
            SIXTEENS,
        ),
    ];
    match checks.iter().find(|(_, _, served, _)| !served) {
        Some((field, value, _, expected)) => Err(CudaError::Unsupported {
            field,
            value: value.to_string(),
            expected,
        }),
        None => Ok(()),
    }
}

/// Checks that there are kernels for layers of the gated delta rule.
fn check_delta(delta: GatedDelta) -> Result<(), CudaError> {
    let unsupported = |field, value: usize, expected| CudaError::Unsupported {
        field,
        value: value.to_string(),
        expected,
    };
    if !rule::serves(delta.value_heads, delta.key_width, delta.value_width) {
        return Err(unsupported(
            "linear_value_head_dim",
            delta.value_width,
            "keys and values of 64, 128 or 256 numbers, both alike",
        ));
    }
    if !CONVOLUTION_WIDTHS.contains(&delta.kernel) {
        let expected = "convolutions of 2 to 8 tokens";
        return Err(unsupported("linear_conv_kernel_dim", delta.kernel, expected));
    }
    if delta.group() > rule::MOST_SHARERS {
        let expected = "at most 8 times linear_num_key_heads";
        return Err(unsupported("linear_num_value_heads", delta.value_heads, expected));
    }
    if !delta.packed().is_multiple_of(16) {
        let expected = "multiples of 8 heads of values";
        return Err(unsupported("linear_num_value_heads", delta.value_heads, expected));
    }
    Ok(())
}
