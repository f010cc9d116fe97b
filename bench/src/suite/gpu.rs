//! The first GPU without burn: a stream, the kernels, products, and memory for the launches of `liquid_cuda`.

#![allow(unsafe_code, reason = "copies within a buffer; see SAFETY there")]

use anyhow::Result;
use liquid_cuda::device::{Buffer, Context, Number, Products, Stream, WORKSPACE};
use liquid_cuda::rule::Kernels;
use liquid_cuda::transformer::TransformerKernels;

use super::random::Random;

/// Numbers after which a long buffer repeats itself.
const PERIOD: usize = 1 << 20;

/// An open GPU.
pub(super) struct Gpu {
    pub(super) context: Context,
    pub(super) stream: Stream,
    pub(super) kernels: Kernels,
    pub(super) transformer: TransformerKernels,
    pub(super) products: Products,
    pub(super) workspace: Buffer,
}

impl Gpu {
    /// Opens the first GPU.
    pub(super) fn open() -> Result<Self> {
        let context = Context::open(0)?;
        Ok(Self {
            stream: context.stream()?,
            kernels: Kernels::default(),
            transformer: TransformerKernels::default(),
            products: Products::new()?,
            workspace: context.allocate(WORKSPACE)?,
            context,
        })
    }

    /// Device memory with these values.
    pub(super) fn upload<T: Number>(&self, values: &[T]) -> Result<Buffer> {
        let buffer = self.context.allocate(size_of_val(values))?;
        self.stream.write(&buffer, values)?;
        Ok(buffer)
    }

    /// Device memory with these values as bf16.
    pub(super) fn upload_bf16(&self, values: &[f32]) -> Result<Buffer> {
        let numbers: Vec<u16> = values.iter().copied().map(bf16).collect();
        self.upload(&numbers)
    }

    /// Device memory of so many bytes, all zero.
    pub(super) fn zeroed(&self, bytes: usize) -> Result<Buffer> {
        let buffer = self.context.allocate(bytes)?;
        self.stream.zero(&buffer)?;
        Ok(buffer)
    }

    /// Device memory of so many normally distributed bf16 numbers of this deviation.
    pub(super) fn normals(&self, count: usize, deviation: f32) -> Result<Buffer> {
        let buffer = self.context.allocate(size_of::<u16>() * count)?;
        let numbers = Random::new(1).normals(count.min(PERIOD));
        let numbers: Vec<u16> = numbers.into_iter().map(|x| bf16(deviation * x)).collect();
        self.stream.write(&buffer, &numbers)?;
        let (period, bytes) = (size_of_val(numbers.as_slice()), size_of::<u16>() * count);
        for start in (period..bytes).step_by(period.max(1)) {
            let to = buffer.address().offset(start);
            // SAFETY: both sides lie in `buffer`, whose work is done before it is freed.
            unsafe {
                self.stream
                    .copy(to, buffer.address(), period.min(bytes - start))?
            };
        }
        Ok(buffer)
    }

    /// Reads so many bf16 numbers when everything that was enqueued has been done.
    pub(super) fn read_bf16(&self, from: &Buffer, count: usize) -> Result<Vec<f32>> {
        let numbers = self.stream.read::<u16>(from, count)?;
        let wide = |bits: u16| f32::from_bits(u32::from(bits) << 16);
        Ok(numbers.into_iter().map(wide).collect())
    }
}

/// The bits of a number as bf16; what bf16 cannot hold is cut off.
fn bf16(x: f32) -> u16 {
    (x.to_bits() >> 16) as u16
}
