//! The GPUs of this process: PyTorch's contexts and streams, and what was compiled and planned on them.

#![allow(
    unsafe_code,
    reason = "takes streams and addresses from PyTorch; see SAFETY below"
)]

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

use liquid_cuda::Error;
use liquid_cuda::device::{Address, Context, Library, Products, Stream, keep_programs_in};
use liquid_cuda::pass::Gpu;
use liquid_cuda::rule::Kernels;
use liquid_cuda::transformer::TransformerKernels;
use pyo3::prelude::*;

use crate::{KernelError, signature};

/// Devices in a machine; more than any has.
const DEVICES: usize = 64;
static GPUS: [OnceLock<Result<Mutex<OpenedGpu>, Error>>; DEVICES] = [const { OnceLock::new() }; DEVICES];

/// Where a pass runs.
#[derive(Clone, Copy, FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Place {
    /// Number of the GPU.
    device: usize,
    /// Handle of PyTorch's current stream on it.
    stream: u64,
}

/// A GPU and what has been prepared on it.
struct OpenedGpu {
    context: Context,
    side: Stream,
    kernels: Kernels,
    skinny: TransformerKernels,
    products: Products,
}

impl OpenedGpu {
    fn new(number: usize) -> Result<Self, Error> {
        Library::Nvrtc.require()?;
        let context = Context::open(number)?;
        Ok(Self {
            side: context.urgent_stream()?,
            kernels: Kernels::default(),
            skinny: TransformerKernels::default(),
            products: Products::new()?,
            context,
        })
    }
}

impl Place {
    /// Runs a task on the GPU, with the interpreter free for other threads: compiling takes seconds.
    pub(crate) fn run(
        self,
        py: Python<'_>,
        task: impl FnOnce(&mut Gpu<'_>) -> Result<(), Error> + Send,
    ) -> PyResult<()> {
        signature::check_verified()?;
        py.detach(|| self.run_here(task))
            .map_err(|error| KernelError::new_err(error.to_string()))
    }

    fn run_here(self, task: impl FnOnce(&mut Gpu<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let beyond = || Error::Unsupported(format!("GPU {} where {DEVICES} are known", self.device));
        let opened = GPUS.get(self.device).ok_or_else(beyond)?;
        let opened = opened.get_or_init(|| OpenedGpu::new(self.device).map(Mutex::new));
        let mut gpu = match opened {
            // What a panic left behind are kernels and plans, which are whole or absent.
            Ok(gpu) => gpu.lock().unwrap_or_else(std::sync::PoisonError::into_inner),
            Err(error) => return Err(error.clone()),
        };
        let OpenedGpu {
            context,
            side,
            kernels,
            skinny,
            products,
        } = &mut *gpu;
        context.bind()?;
        // SAFETY: PyTorch's streams live as long as the process.
        let stream = unsafe { context.borrowed_stream(self.stream) };
        task(&mut Gpu {
            context,
            stream: &stream,
            side,
            kernels,
            skinny,
            products,
        })
    }
}

/// An address as PyTorch gives it, 0 for a tensor that is not there.
#[derive(Clone, Copy)]
pub(crate) struct Pointer(pub(crate) Address);

impl<'py> FromPyObject<'_, 'py> for Pointer {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self(Address::new(object.extract()?)))
    }
}

/// Name of the first library that the kernels need and the loader does not find; `None` if all are there.
#[pyfunction]
pub(crate) fn missing_library() -> Option<&'static str> {
    [Library::Cuda, Library::Nvrtc, Library::CublasLt]
        .into_iter()
        .find(|library| !library.is_present())
        .map(Library::name)
}

/// Keeps compiled kernels in a folder of this user alone, so that another process need not compile them again. The
/// first folder named in a process stays; returns whether it is this one. Where a signature is required no folder is
/// used: compiled kernels in it are signed by no one.
#[pyfunction]
pub(crate) fn keep_kernels_in(folder: PathBuf) -> bool {
    !signature::is_required() && keep_programs_in(folder)
}
