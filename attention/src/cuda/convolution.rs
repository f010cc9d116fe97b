//! The short convolution of queries, keys and values: over the tokens of a piece in a kernel of its own, over a single
//! token inside the step.

use std::ffi::c_int;

use super::error::CudaError;
use super::gpu::Gpu;
use super::launch::{Rows, parameter};
use super::program::Kernel;

/// Widths that there are kernels for; up to `WIDEST` in step.cu.
pub(super) const WIDTHS: std::ops::RangeInclusive<usize> = 2..=8;
/// `THREADS * CHANNELS` in convolve.cu: channels of a block.
const CHANNELS: usize = 1024;
/// `RUN` in convolve.cu: tokens of a thread.
const RUN: usize = 16;

/// `Convolution` in step.cu. Addresses are of device memory and bf16.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Convolution {
    /// `[channels, width]`; 0 where there is no convolution.
    pub(super) weight: u64,
    /// `[batch, width - 1, channels]`: the tokens before the first.
    pub(super) tail: u64,
    /// The same before the next token; another place in a step.
    pub(super) last: u64,
    pub(super) width: c_int,
    pub(super) channels: c_int,
}

impl Convolution {
    /// No convolution.
    pub(super) const NONE: Self = Self {
        weight: 0,
        tail: 0,
        last: 0,
        width: 0,
        channels: 0,
    };
}

impl Gpu {
    /// Convolves `tokens` of `batch` sequences from `x` to `y [batch, tokens, channels]`, and keeps the last of them, before
    /// the padding that starts at the sequences' `lengths [batch]`, f32, counted from `first` tokens before these; an
    /// address of 0 stands for no padding.
    pub(super) fn convolve(
        &mut self,
        (x, y): (Rows, u64),
        (batch, tokens): (usize, usize),
        (lengths, first): (u64, usize),
        convolution: &Convolution,
    ) -> Result<(), CudaError> {
        let Convolution {
            weight,
            tail,
            last,
            width,
            channels,
        } = convolution;
        let (stride, count, first) = (x.stride as i64, tokens as c_int, first as c_int);
        let blocks = (*channels as usize).div_ceil(CHANNELS);
        let stream = self.stream.cu_stream();
        let kernel = |kernel| (kernel, *width as usize, false, 0);
        let mut parameters = [
            parameter(&x.address),
            parameter(&stride),
            parameter(&y),
            parameter(weight),
            parameter(tail),
            parameter(&count),
            parameter(channels),
        ];
        let grid = [blocks, tokens.div_ceil(RUN), batch];
        self.launch(kernel(Kernel::Convolve), grid, 128, stream, &mut parameters)?;
        let mut parameters = [
            parameter(&x.address),
            parameter(&stride),
            parameter(tail),
            parameter(last),
            parameter(&lengths),
            parameter(&first),
            parameter(&count),
            parameter(channels),
        ];
        self.launch(
            kernel(Kernel::KeepTail),
            [blocks, batch, 1],
            128,
            stream,
            &mut parameters,
        )
    }
}
