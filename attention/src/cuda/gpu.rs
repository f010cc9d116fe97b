//! One GPU as the kernels see it: context, streams, loaded kernels and product plans.
//!
//! burn (CubeCL) launches on streams of its own, which it does not show. The border to ours is crossed without waiting
//! on the host: `cuCtxRecordEvent` captures all work submitted to the context so far, whatever the stream, our stream
//! waits for that event; at the end `cuCtxWaitEvent` makes all later work of the context wait for ours.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use cudarc::driver::{CudaContext, CudaEvent, CudaStream, result, sys};
use liquid_cuda::{Library, Operands, Products, Shape, WORKSPACE};

use super::error::CudaError;
use super::program::Programs;

/// A GPU and what has been prepared on it.
pub(super) struct Gpu {
    pub(super) context: Arc<CudaContext>,
    /// Where almost everything runs.
    pub(super) stream: Arc<CudaStream>,
    /// Where a scan runs beside the products of the next segment: it fills half of the chip and draws little power.
    pub(super) side: Arc<CudaStream>,
    pub(super) programs: Programs,
    pub(super) products: Option<Products>,
    entered: CudaEvent,
    left: CudaEvent,
    pub(super) workspace: sys::CUdeviceptr,
}

// SAFETY: the raw handles are used by one thread at a time, behind the mutex of `acquire`, and the driver allows any
// thread to use them once the context is current there, which `acquire` sees to.
unsafe impl Send for Gpu {}

type Slot = Result<Mutex<Gpu>, CudaError>;

/// Devices in a machine; more than any has.
pub(super) const SLOTS: usize = 64;
static GPUS: [OnceLock<Slot>; SLOTS] = [const { OnceLock::new() }; SLOTS];

/// The GPU with this number, for one thread. Opened at the first call; an error is remembered, as it will not pass.
pub(super) fn acquire(index: usize) -> Result<MutexGuard<'static, Gpu>, CudaError> {
    let beyond = || CudaError::Unsupported(format!("GPU {index} where {SLOTS} are known"));
    let slot = GPUS.get(index).ok_or_else(beyond)?;
    let gpu = slot.get_or_init(|| Gpu::open(index).map(Mutex::new));
    gpu.as_ref()
        .map_err(Clone::clone)?
        .lock()
        .map_err(|_| CudaError::Poisoned)
}

impl Gpu {
    fn open(index: usize) -> Result<Self, CudaError> {
        Library::Cuda.require()?;
        Library::Nvrtc.require()?;
        let context = CudaContext::new(index)?;
        let (major, minor) = context.compute_capability()?;
        if (major, minor) != (9, 0) {
            return Err(CudaError::Chip(major, minor));
        }
        let stream = context.new_stream()?;
        let side = context.new_stream_with_priority(urgent()?)?;
        // SAFETY: the context is current on this thread since `CudaContext::new`; the memory is never freed, as the
        // GPU is kept until the process ends.
        let workspace = unsafe { result::malloc_sync(WORKSPACE) }?;
        let products = if Library::CublasLt.is_present() {
            Some(Products::new()?)
        } else {
            log::warn!("libcublasLt cannot be loaded: large products run at about a third of the speed");
            None
        };
        let flags = Some(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING);
        Ok(Self {
            entered: context.new_event(flags)?,
            left: context.new_event(flags)?,
            context,
            stream,
            side,
            programs: Programs::default(),
            products,
            workspace,
        })
    }

    /// Enqueues work between the two borders. Also after an error the second is crossed: what was enqueued before it
    /// still uses the buffers that the caller drops.
    pub(super) fn inside<R>(
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
    /// The caller must have asked for its buffers before: that call goes through the queue in which burn submits, so
    /// that nothing of theirs is still on its way.
    fn enter(&self) -> Result<(), CudaError> {
        self.context.bind_to_thread()?;
        // SAFETY: context, event and stream are alive and belong together.
        unsafe {
            sys::cuCtxRecordEvent(self.context.cu_ctx(), self.entered.cu_event()).result()?;
            result::stream::wait_event(
                self.stream.cu_stream(),
                self.entered.cu_event(),
                sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT,
            )?;
        }
        Ok(())
    }

    /// Orders everything submitted to this GPU from now on behind our stream. After it, buffers may be dropped: who
    /// gets their memory next runs later.
    fn leave(&self) -> Result<(), CudaError> {
        // SAFETY: as in `enter`.
        unsafe {
            result::event::record(self.left.cu_event(), self.stream.cu_stream())?;
            sys::cuCtxWaitEvent(self.context.cu_ctx(), self.left.cu_event()).result()?;
        }
        Ok(())
    }

    /// Enqueues a product on our stream.
    ///
    /// # Safety
    /// The operands must be device memory of this GPU with the extent that `shape` says, and stay so until the stream
    /// has passed.
    pub(super) unsafe fn multiply(&mut self, shape: Shape, operands: Operands) -> Result<(), CudaError> {
        let products = self.products.as_mut().ok_or(Library::CublasLt.missing())?;
        // SAFETY: the operands are the caller's promise; the work space is used on this stream alone.
        unsafe { products.run(shape, operands, self.workspace, self.stream.cu_stream())? };
        Ok(())
    }

    /// Copies within device memory, on our stream.
    pub(super) fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), CudaError> {
        // SAFETY: the caller's buffers have that size and stay until the stream has passed (`inside`).
        unsafe { sys::cuMemcpyDtoDAsync_v2(to, from, bytes, self.stream.cu_stream()).result()? };
        Ok(())
    }

    /// Copies a matrix into columns of a wider one. Sizes in bytes; an address goes with the distance between rows.
    pub(super) fn copy_columns(
        &self,
        (to, pitch): (u64, usize),
        (from, from_pitch): (u64, usize),
        (width, rows): (usize, usize),
    ) -> Result<(), CudaError> {
        let device = sys::CUmemorytype::CU_MEMORYTYPE_DEVICE;
        let copy = sys::CUDA_MEMCPY2D {
            srcXInBytes: 0,
            srcY: 0,
            srcMemoryType: device,
            srcHost: std::ptr::null(),
            srcDevice: from,
            srcArray: std::ptr::null_mut(),
            srcPitch: from_pitch,
            dstXInBytes: 0,
            dstY: 0,
            dstMemoryType: device,
            dstHost: std::ptr::null_mut(),
            dstDevice: to,
            dstArray: std::ptr::null_mut(),
            dstPitch: pitch,
            WidthInBytes: width,
            Height: rows,
        };
        // SAFETY: as in `copy`; the description is read before the call returns.
        unsafe { sys::cuMemcpy2DAsync_v2(&raw const copy, self.stream.cu_stream()).result()? };
        Ok(())
    }

    /// What a stream holds so far, for others to wait for. It may be dropped while they still do: the driver keeps it.
    pub(super) fn mark(&self, stream: sys::CUstream) -> Result<CudaEvent, CudaError> {
        let event = self
            .context
            .new_event(Some(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING))?;
        // SAFETY: stream and event belong to this context.
        unsafe { result::event::record(event.cu_event(), stream)? };
        Ok(event)
    }

    /// Orders what follows on a stream behind a mark.
    pub(super) fn wait(&self, stream: sys::CUstream, mark: &CudaEvent) -> Result<(), CudaError> {
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: stream and event belong to this context.
        unsafe { result::stream::wait_event(stream, mark.cu_event(), flags)? };
        Ok(())
    }
}

/// The priority of streams whose blocks are placed before those of others.
fn urgent() -> Result<i32, CudaError> {
    let (mut least, mut greatest) = (0, 0);
    // SAFETY: the pointers are to locals; a context is current since `CudaContext::new`.
    unsafe { sys::cuCtxGetStreamPriorityRange(&raw mut least, &raw mut greatest).result()? };
    Ok(greatest)
}
