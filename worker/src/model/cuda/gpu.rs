//! One GPU as the models use it: a stream, products, launches, and copies to and from its memory.

use liquid_cuda::device::{
    Address, Buffer, Context, DeviceInfo, Function, Launch, Library, Number, Parameter, Products, Stream,
};

use super::error::CudaError;

/// A GPU, and the plans of products that are ready on it.
pub(super) struct Gpu {
    context: Context,
    pub(super) stream: Stream,
    pub(super) products: Products,
}

/// An argument of a kernel.
#[derive(Clone, Copy)]
pub(super) enum Argument {
    /// An address of device memory.
    Address(Address),
    /// A count, `int` in the kernel.
    Int(i32),
    /// A number, `float` in the kernel.
    Float(f32),
}

impl Argument {
    fn parameter(&self) -> Parameter<'_> {
        match self {
            Self::Address(x) => Parameter::new(x),
            Self::Int(x) => Parameter::new(x),
            Self::Float(x) => Parameter::new(x),
        }
    }
}

/// The blocks that run a kernel.
#[derive(Clone, Copy)]
pub(super) struct Blocks {
    /// Number of blocks in two dimensions.
    pub(super) grid: [usize; 2],
    /// Threads of a block.
    pub(super) threads: u32,
}

impl Blocks {
    /// So many blocks in one dimension.
    pub(super) fn row(count: usize, threads: u32) -> Self {
        Self {
            grid: [count, 1],
            threads,
        }
    }
}

/// The identity of a GPU that need not be open.
pub(super) struct Identity {
    /// Number, name and memory.
    pub(super) description: String,
    /// UUID, as `nvidia-smi -L` prints it.
    pub(super) uuid: String,
}

impl Identity {
    /// Finds the GPU of this number, and the libraries that it will need. Takes none of its memory.
    pub(super) fn find(number: usize) -> Result<Self, CudaError> {
        for library in [Library::Cuda, Library::Nvrtc, Library::CublasLt] {
            library.require()?;
        }
        let DeviceInfo { name, memory, uuid } = DeviceInfo::of(number)?;
        let gib = memory as f64 / f64::from(1 << 30);
        Ok(Self {
            description: format!("cuda:{number} ({name}, {gib:.0} GiB)"),
            uuid,
        })
    }
}

impl Gpu {
    /// Opens a GPU that [`Identity::find`] has found; takes some hundred MiB of its memory.
    pub(super) fn open(number: usize) -> Result<Self, CudaError> {
        let context = Context::open(number)?;
        Ok(Self {
            stream: context.stream()?,
            products: Products::new()?,
            context,
        })
    }

    /// Compute capability, as `(9, 0)`.
    pub(super) fn compute_capability(&self) -> Result<(i32, i32), CudaError> {
        Ok(self.context.compute_capability()?)
    }

    /// Makes this thread use the GPU.
    pub(super) fn enter(&self) -> Result<(), CudaError> {
        Ok(self.context.bind()?)
    }

    /// Waits until everything that was enqueued has been done.
    pub(super) fn wait(&self) -> Result<(), CudaError> {
        Ok(self.stream.synchronize()?)
    }

    /// Enqueues a kernel.
    pub(super) fn launch(
        &self,
        kernel: Function,
        blocks: Blocks,
        arguments: &[Argument],
    ) -> Result<(), CudaError> {
        let parameters: Vec<Parameter<'_>> = arguments.iter().map(Argument::parameter).collect();
        let [x, y] = blocks.grid;
        let launch = Launch::new(kernel, [x, y, 1], blocks.threads);
        // SAFETY: number, order and types of the arguments are the kernel's (`pass`); the memory behind
        // addresses is large enough and lives until the stream has passed (`Space`).
        unsafe { launch.enqueue(&self.stream, &parameters)? };
        Ok(())
    }

    /// Device memory of so many bytes, which hold anything.
    pub(super) fn allocate(&self, bytes: usize) -> Result<Buffer, CudaError> {
        Ok(self.context.allocate(bytes)?)
    }

    /// Device memory with these values.
    pub(super) fn upload<T: Number>(&self, values: &[T]) -> Result<Buffer, CudaError> {
        let buffer = self.allocate(size_of_val(values))?;
        self.write(&buffer, values)?;
        self.wait()?;
        Ok(buffer)
    }

    /// Enqueues a copy from the host. The values may be dropped at once: the driver has copied them.
    pub(super) fn write<T: Number>(&self, to: &Buffer, values: &[T]) -> Result<(), CudaError> {
        Ok(self.stream.write(to, values)?)
    }

    /// Copies to the host when everything that was enqueued has been done.
    pub(super) fn read(&self, from: &Buffer, count: usize) -> Result<Vec<f32>, CudaError> {
        Ok(self.stream.read(from, count)?)
    }
}
