//! One GPU as the kernels see it: context, streams, loaded kernels and product plans.
//!
//! burn (CubeCL) launches on streams of its own, which it does not show. The border to ours is crossed
//! without waiting on the host: an event captures all work submitted to the context so far, whatever the
//! stream, our stream waits for that event; at the end all later work of the context waits for ours.

use std::sync::{Mutex, MutexGuard, OnceLock};

use liquid_cuda::device::{
    Address, Buffer, Context, Event, Library, Operands, Products, Shape, Stream, WORKSPACE,
};
use liquid_cuda::rule::Kernels;

use crate::cuda::error::CudaError;

/// A GPU and what has been prepared on it.
pub(in crate::cuda) struct Gpu {
    pub(in crate::cuda) context: Context,
    /// Stream on which almost everything runs.
    pub(in crate::cuda) stream: Stream,
    /// Stream on which a scan runs beside the products of the next piece: it fills half of the chip and draws little
    /// power.
    pub(in crate::cuda) side: Stream,
    pub(in crate::cuda) kernels: Kernels,
    pub(in crate::cuda) products: Option<Products>,
    entered: Event,
    left: Event,
    workspace: Buffer,
}

type OpenedGpu = Result<Mutex<Gpu>, CudaError>;

/// Devices in a machine; more than any has.
pub(in crate::cuda) const DEVICES: usize = 64;
static GPUS: [OnceLock<OpenedGpu>; DEVICES] = [const { OnceLock::new() }; DEVICES];

/// Locks the GPU of a number for the calling thread. Opened at the first call; an error is remembered, as it
/// will not pass.
pub(in crate::cuda) fn acquire(index: usize) -> Result<MutexGuard<'static, Gpu>, CudaError> {
    let beyond = || CudaError::Unsupported(format!("GPU {index} where {DEVICES} are known"));
    let gpu = GPUS.get(index).ok_or_else(beyond)?;
    let gpu = gpu.get_or_init(|| Gpu::open(index).map(Mutex::new));
    gpu.as_ref()
        .map_err(Clone::clone)?
        .lock()
        .map_err(|_| CudaError::Poisoned)
}

impl Gpu {
    fn open(index: usize) -> Result<Self, CudaError> {
        Library::Cuda.require()?;
        Library::Nvrtc.require()?;
        let context = Context::open(index)?;
        let (major, minor) = context.compute_capability()?;
        if (major, minor) != (9, 0) {
            return Err(CudaError::Chip(major, minor));
        }
        let products = if Library::CublasLt.is_present() {
            Some(Products::new()?)
        } else {
            log::warn!("libcublasLt cannot be loaded: large products run at about a third of the speed");
            None
        };
        Ok(Self {
            stream: context.stream()?,
            side: context.urgent_stream()?,
            kernels: Kernels::default(),
            products,
            entered: context.event()?,
            left: context.event()?,
            workspace: context.allocate(WORKSPACE)?,
            context,
        })
    }

    /// Address of [`WORKSPACE`] bytes that belong to products on [`Self::stream`].
    pub(in crate::cuda) fn workspace(&self) -> Address {
        self.workspace.address()
    }

    /// Enqueues work between the two borders. Also after an error the second is crossed: what was enqueued
    /// before it still uses the tensors that the caller drops.
    pub(in crate::cuda) fn inside<R>(
        &mut self,
        task: impl FnOnce(&mut Self) -> Result<R, CudaError>,
    ) -> Result<R, CudaError> {
        self.enter()?;
        let result = task(self);
        self.leave()?;
        result
    }

    /// Orders what follows on our stream behind everything submitted to this GPU so far.
    ///
    /// The caller must have asked for its tensors before: that call goes through the queue in which burn
    /// submits, so that nothing of theirs is still on its way.
    fn enter(&self) -> Result<(), CudaError> {
        self.context.bind()?;
        self.context.record_all(&self.entered)?;
        self.stream.wait(&self.entered)?;
        Ok(())
    }

    /// Orders everything submitted to this GPU from now on behind our stream. After it, tensors may be
    /// dropped: who gets their memory next runs later.
    fn leave(&self) -> Result<(), CudaError> {
        self.stream.record(&self.left)?;
        self.context.wait_all(&self.left)?;
        Ok(())
    }

    /// Enqueues a product on our stream.
    ///
    /// # Safety
    /// The operands must be device memory of this GPU with the extent that `shape` says, and stay so until
    /// the stream has passed.
    #[allow(unsafe_code, reason = "hands on the caller's promise")]
    pub(in crate::cuda) unsafe fn multiply(
        &mut self,
        shape: Shape,
        operands: Operands,
    ) -> Result<(), CudaError> {
        let products = self.products.as_mut().ok_or(Library::CublasLt.missing())?;
        // SAFETY: the operands are the caller's promise; the work space is used on this stream alone.
        unsafe { products.run(shape, operands, self.workspace.address(), &self.stream)? };
        Ok(())
    }

    /// Marks what a stream holds so far, for others to wait for.
    pub(in crate::cuda) fn mark(&self, stream: &Stream) -> Result<Event, CudaError> {
        let event = self.context.event()?;
        stream.record(&event)?;
        Ok(event)
    }
}
