//! One GPU: context, stream, memory, and launches of the kernels.

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaStream, result};
use liquid_cuda::{Library, Products};

use super::error::CudaError;
use super::program::{Kernel, Programs};
use crate::model::bert::Config;

/// A GPU and what has been prepared on it.
pub(super) struct Gpu {
    pub(super) context: Arc<CudaContext>,
    pub(super) stream: Arc<CudaStream>,
    pub(super) products: Products,
    programs: Programs,
}

// SAFETY: the raw handles are used by the one thread that owns the encoder, and the driver allows any thread to use them
// once the context is current there, which `enter` sees to.
unsafe impl Send for Gpu {}

/// An argument of a kernel.
#[derive(Clone, Copy)]
pub(super) enum Argument {
    /// Of device memory.
    Address(u64),
    Int(i32),
    Float(f32),
}

impl Argument {
    fn pointer(&mut self) -> *mut c_void {
        match self {
            Self::Address(x) => (&raw mut *x).cast(),
            Self::Int(x) => (&raw mut *x).cast(),
            Self::Float(x) => (&raw mut *x).cast(),
        }
    }
}

/// What a GPU is called. Takes none of its memory.
pub(super) struct Identity {
    /// Number, name and memory.
    pub(super) description: String,
    /// As `nvidia-smi -L` prints it.
    pub(super) uuid: String,
}

impl Identity {
    /// Finds the GPU of this number, and the libraries that it will need.
    pub(super) fn of(number: usize) -> Result<Self, CudaError> {
        for library in [Library::Cuda, Library::Nvrtc, Library::CublasLt] {
            library.require()?;
        }
        let count = CudaContext::device_count()?;
        let index = i32::try_from(number).ok().filter(|index| *index < count);
        let device = result::device::get(index.ok_or(CudaError::Absent(count))?)?;
        // SAFETY: `device` was just given out by the driver.
        let gib = unsafe { result::device::total_mem(device) }? as f64 / f64::from(1 << 30);
        let bytes = result::device::get_uuid(device)?.bytes;
        let digits: String = bytes.iter().map(|byte| format!("{:02x}", *byte as u8)).collect();
        let groups = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &digits[range]);
        let name = result::device::get_name(device)?;
        Ok(Self {
            description: format!("cuda:{number} ({name}, {gib:.0} GiB)"),
            uuid: format!("GPU-{}", groups.join("-")),
        })
    }
}

impl Gpu {
    /// Opens a GPU that [`Identity::of`] has found; takes some hundred MiB of its memory.
    pub(super) fn open(number: usize, config: &Config) -> Result<Self, CudaError> {
        let context = CudaContext::new(number)?;
        let programs = Programs::compile(context.compute_capability()?, config)?;
        Ok(Self {
            stream: context.new_stream()?,
            products: Products::new()?,
            context,
            programs,
        })
    }

    /// Makes this thread use the GPU.
    pub(super) fn enter(&self) -> Result<(), CudaError> {
        Ok(self.context.bind_to_thread()?)
    }

    /// Waits until everything that was enqueued has been done.
    pub(super) fn wait(&self) -> Result<(), CudaError> {
        Ok(self.stream.synchronize()?)
    }

    /// Enqueues a kernel.
    pub(super) fn launch(
        &self,
        kernel: Kernel,
        (grid, threads): ((usize, usize), u32),
        arguments: &mut [Argument],
    ) -> Result<(), CudaError> {
        let mut pointers: Vec<*mut c_void> = arguments.iter_mut().map(Argument::pointer).collect();
        let (function, stream) = (self.programs.get(kernel), self.stream.cu_stream());
        let (grid, block) = ((grid.0 as u32, grid.1 as u32, 1), (threads, 1, 1));
        // SAFETY: number, order and types of the arguments are the kernel's (`pass`); the driver copies them before the
        // call returns; the memory behind addresses is large enough and lives until the stream has passed (`Space`).
        unsafe { result::launch_kernel(function, grid, block, 0, stream, &mut pointers)? };
        Ok(())
    }

    pub(super) fn allocate(&self, bytes: usize) -> Result<Buffer, CudaError> {
        // SAFETY: the memory is freed by `Buffer` alone. It is not read before it is written.
        let address = unsafe { result::malloc_sync(bytes.max(1)) }?;
        Ok(Buffer {
            address,
            bytes,
            context: Arc::clone(&self.context),
        })
    }

    /// Device memory with these values.
    pub(super) fn upload<T: Copy>(&self, values: &[T]) -> Result<Buffer, CudaError> {
        let buffer = self.allocate(size_of_val(values))?;
        self.write(&buffer, values)?;
        self.wait()?;
        Ok(buffer)
    }

    /// Enqueues a copy from the host. The values may be dropped at once: the driver has copied them.
    pub(super) fn write<T: Copy>(&self, to: &Buffer, values: &[T]) -> Result<(), CudaError> {
        debug_assert!(size_of_val(values) <= to.bytes);
        // SAFETY: the destination is as large; pageable memory is staged before the call returns (CUDA driver API,
        // "API synchronization behavior").
        unsafe { result::memcpy_htod_async(to.address, values, self.stream.cu_stream())? };
        Ok(())
    }

    /// Copies to the host when everything that was enqueued has been done.
    pub(super) fn read(&self, from: &Buffer, count: usize) -> Result<Vec<f32>, CudaError> {
        debug_assert!(count * size_of::<f32>() <= from.bytes);
        let mut values = vec![0.0_f32; count];
        // SAFETY: the source is as large; `values` lives until the stream has come to rest.
        unsafe { result::memcpy_dtoh_async(&mut values, from.address, self.stream.cu_stream())? };
        self.wait()?;
        Ok(values)
    }
}

/// Device memory.
pub(super) struct Buffer {
    pub(super) address: u64,
    pub(super) bytes: usize,
    context: Arc<CudaContext>,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // What fails here fails because the context is broken; then its memory is gone with it.
        let _ = self.context.bind_to_thread();
        // SAFETY: allocated by `Gpu::allocate`, freed once; `cuMemFree` waits for work that still uses it.
        let _ = unsafe { result::free_sync(self.address) };
    }
}
