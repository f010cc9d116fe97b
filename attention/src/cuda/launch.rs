//! Launches of the kernels: their parameters, grids and shared memory. The figures here mirror the constants of
//! `attention/kernels`; the comment at each names its other half.

use std::ffi::{c_int, c_void};

use cudarc::driver::{result, sys};

use super::delta::F32;
use super::error::CudaError;
use super::gpu::Gpu;
use super::program::{Kernel, Variant};
use crate::core::{CHUNK, DeltaRule};

/// `sizeof(Record)` in common.cuh: both triangular factors and four coefficients a token.
pub(super) const RECORD: usize = 2 * FACTOR + 4 * CHUNK * 4;
const FACTOR: usize = 6144;
/// Added to the squared norm of a query or key, as in Gated DeltaNet.
pub(super) const KEY_EPSILON: f32 = 1e-6;

/// Rows of `[batch, tokens, ..]` in device memory: address of the first element and elements from token to token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub(super) address: u64,
    pub(super) stride: usize,
}

impl Rows {
    /// Where nothing is.
    pub(super) const NONE: Self = Self {
        address: 0,
        stride: 0,
    };

    /// The same rows from another column or token on; `elements` of bf16.
    pub(super) fn skip(self, elements: usize) -> Self {
        Self {
            address: self.address + 2 * elements as u64,
            stride: self.stride,
        }
    }
}

/// A span of tokens to run the rule over. Addresses are of device memory, 0 where nothing is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) batch: usize,
    pub(super) tokens: usize,
    pub(super) heads: usize,
    pub(super) width: usize,
    /// Heads, side by side, that share a head of queries and keys.
    pub(super) group: usize,
    pub(super) q: Rows,
    pub(super) k: Rows,
    pub(super) v: Rows,
    pub(super) output: Rows,
    pub(super) gates: Gates,
    /// [`record_bytes`] of work space.
    pub(super) records: u64,
    /// `[batch, heads, width, width]`, f32; both may be the same.
    pub(super) initial: u64,
    pub(super) last: u64,
    /// Weights `[width]` of the norm of every head's output, and its epsilon; no norm without.
    pub(super) norm: Option<(Small, f32)>,
    /// The output gate before its `silu`, which follows the norm; nowhere where there is none.
    pub(super) gate: Rows,
}

impl Span {
    /// The same from a later row on. Rows of all sequences are counted through; records and states stay as they are.
    pub(super) fn skip(self, rows: usize) -> Self {
        let skip = |tensor: Rows| tensor.skip(rows * tensor.stride);
        Self {
            q: skip(self.q),
            k: skip(self.k),
            v: skip(self.v),
            output: skip(self.output),
            gates: self.gates.skip(rows, self.heads),
            gate: skip(self.gate),
            ..self
        }
    }
}

/// A small parameter of a layer, in f32 or, `narrow`, in bf16.
#[derive(Clone, Copy, Debug)]
pub(super) struct Small {
    pub(super) address: u64,
    pub(super) narrow: bool,
}

impl Small {
    /// Where nothing is.
    pub(super) const NONE: Self = Self {
        address: 0,
        narrow: false,
    };
}

impl Span {
    pub(super) fn chunks(&self) -> usize {
        self.tokens.div_ceil(CHUNK)
    }

    /// Queries or keys, of which there are fewer heads.
    fn shared_map(&self, rows: Rows) -> Result<sys::CUtensorMap, CudaError> {
        let heads = self.heads / self.group;
        tensor_map(rows, &Self { heads, ..*self })
    }
}

/// Where the gates of a span's tokens come from; `Gates` in common.cuh.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Gates {
    pub(super) log_gate: u64,
    pub(super) beta: u64,
    a: u64,
    b: u64,
    stride: i64,
    a_log: u64,
    dt_bias: u64,
    lengths: u64,
    first: c_int,
    narrow: c_int,
}

impl Gates {
    /// Numbers: log-gates and strengths `[batch, tokens, heads]`, f32.
    pub(super) fn given(log_gate: u64, beta: u64) -> Self {
        Self {
            log_gate,
            beta,
            a: 0,
            b: 0,
            stride: 0,
            a_log: 0,
            dt_bias: 0,
            lengths: 0,
            first: 0,
            narrow: 0,
        }
    }

    /// The products of a layer with `gate_a` and `gate_b`, which lie alike, and its `a_log` and `dt_bias`.
    pub(super) fn of_products([a, b]: [Rows; 2], [a_log, dt_bias]: [Small; 2]) -> Self {
        Self {
            a: a.address,
            b: b.address,
            stride: a.stride as i64,
            a_log: a_log.address,
            dt_bias: dt_bias.address,
            narrow: c_int::from(a_log.narrow) | c_int::from(dt_bias.narrow) << 1,
            ..Self::given(0, 0)
        }
    }

    /// The same for sequences with padding behind their `lengths [batch]`, f32, the span's first token being their
    /// `first`; an address of 0 stands for no padding.
    pub(super) fn padded(self, lengths: u64, first: usize) -> Self {
        Self {
            lengths,
            first: first as c_int,
            ..self
        }
    }

    /// The same from a later row on.
    fn skip(self, rows: usize, heads: usize) -> Self {
        let skip = |address, bytes| if address == 0 { 0 } else { address + bytes };
        let numbers = (rows * heads) as u64 * F32;
        let products = 2 * rows as u64 * self.stride as u64;
        Self {
            log_gate: skip(self.log_gate, numbers),
            beta: skip(self.beta, numbers),
            a: skip(self.a, products),
            b: skip(self.b, products),
            first: self.first + rows as c_int,
            ..self
        }
    }
}

/// Work space of a span.
pub(super) fn record_bytes(batch: usize, tokens: usize, heads: usize) -> usize {
    batch * heads * tokens.div_ceil(CHUNK) * RECORD
}

/// Whether the kernels serve these sizes.
pub(super) fn serves(heads: usize, key: usize, value: usize) -> bool {
    key == value && matches!(key, 64 | 128 | 256) && heads > 0
}

/// `TensorMap` in common.cuh: rank 3, boxes of 64 tokens and 64 columns, 128-byte swizzle.
pub(super) fn tensor_map(rows: Rows, span: &Span) -> Result<sys::CUtensorMap, CudaError> {
    let mut map = std::mem::MaybeUninit::uninit();
    let stride = 2 * rows.stride as u64;
    let extent = [
        (span.heads * span.width) as u64,
        span.tokens as u64,
        span.batch as u64,
    ];
    let strides = [stride, stride * span.tokens as u64];
    let (window, step) = ([64_u32, 64, 1], [1_u32; 3]);
    // SAFETY: the arrays have the rank that is said, and outlive the call, which writes the whole map.
    unsafe {
        sys::cuTensorMapEncodeTiled(
            map.as_mut_ptr(),
            sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
            3,
            rows.address as *mut c_void,
            extent.as_ptr(),
            strides.as_ptr(),
            window.as_ptr(),
            step.as_ptr(),
            sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
        .result()?;
        Ok(map.assume_init())
    }
}

/// `Arguments` in scan.cu.
#[repr(C)]
struct ScanArguments {
    output: u64,
    records: u64,
    initial: u64,
    last: u64,
    gamma: u64,
    stride: i64,
    tokens: c_int,
    chunks: c_int,
    epsilon: f32,
    narrow: c_int,
    group: c_int,
}

/// Address of a value, as the driver takes the parameters of a launch.
pub(super) fn parameter<T>(value: &T) -> *mut c_void {
    std::ptr::from_ref(value).cast_mut().cast()
}

/// Shared memory of a block of `prepare`: the tiles (later M and the factors in their place), `ForState`, four numbers
/// a token and a barrier.
fn prepare_shared(width: usize) -> u32 {
    let area = if width == 64 {
        24_576 + FACTOR + 4 * CHUNK
    } else {
        width / 64 * 16_384
    };
    (area + FACTOR + 12 * CHUNK + 16 * CHUNK + 16) as u32
}

/// `sizeof(Shared)` in scan.cu.
fn scan_shared(width: usize) -> u32 {
    let (tiles, stages, buffers) = (
        width / 64,
        if width <= 128 { 3 } else { 2 },
        if width <= 128 { 2 } else { 1 },
    );
    let tiles_bytes = (2 * tiles + 1) * 8192 + RECORD;
    (stages * tiles_bytes + buffers * (width / 16 + 4) * 2048 + 8192 + 2048 * tiles + 8 * (4 * stages + 2))
        as u32
}

impl Gpu {
    pub(super) fn launch(
        &mut self,
        (kernel, width, precise, shared): (Kernel, usize, bool, u32),
        grid: [usize; 3],
        threads: u32,
        stream: sys::CUstream,
        parameters: &mut [*mut c_void],
    ) -> Result<(), CudaError> {
        let function = self.programs.get(Variant {
            kernel,
            width,
            precise,
            shared,
        })?;
        let [x, y, z] = grid.map(|size| size as u32);
        // SAFETY: the parameters are those of the kernel, in its order and types; the caller's buffers outlive the
        // stream's work (see `Gpu::inside`).
        unsafe { result::launch_kernel(function, (x, y, z), (threads, 1, 1), shared, stream, parameters)? };
        Ok(())
    }

    /// Everything of a span that does not depend on the state.
    pub(super) fn prepare(&mut self, span: &Span, rule: DeltaRule) -> Result<(), CudaError> {
        let (q, k) = (span.shared_map(span.q)?, span.shared_map(span.k)?);
        let (tokens, group, normalise, erase) = (
            span.tokens as c_int,
            span.group as c_int,
            c_int::from(rule.normalise),
            c_int::from(rule.erase),
        );
        let mut parameters = [
            parameter(&q),
            parameter(&k),
            parameter(&span.gates),
            parameter(&span.records),
            parameter(&tokens),
            parameter(&group),
            parameter(&rule.scale),
            parameter(&KEY_EPSILON),
            parameter(&normalise),
            parameter(&erase),
        ];
        let what = (Kernel::Prepare, span.width, false, prepare_shared(span.width));
        let (grid, stream) = ([span.heads, span.chunks(), span.batch], self.stream.cu_stream());
        self.launch(what, grid, 128, stream, &mut parameters)
    }

    /// The recurrence over the chunks of a prepared span, and the norm; what the gate multiplies is left out.
    pub(super) fn scan(
        &mut self,
        span: &Span,
        precise: bool,
        stream: sys::CUstream,
    ) -> Result<(), CudaError> {
        let maps = [
            span.shared_map(span.q)?,
            span.shared_map(span.k)?,
            tensor_map(span.v, span)?,
        ];
        let (gamma, epsilon) = span.norm.unwrap_or((Small::NONE, 0.0));
        let arguments = ScanArguments {
            output: span.output.address,
            records: span.records,
            initial: span.initial,
            last: span.last,
            gamma: gamma.address,
            stride: span.output.stride as i64,
            tokens: span.tokens as c_int,
            chunks: span.chunks() as c_int,
            epsilon,
            narrow: c_int::from(gamma.narrow),
            group: span.group as c_int,
        };
        let mut parameters = [
            parameter(&maps[0]),
            parameter(&maps[1]),
            parameter(&maps[2]),
            parameter(&arguments),
        ];
        let what = (Kernel::Scan, span.width, precise, scan_shared(span.width));
        self.launch(
            what,
            [span.width / 64, span.heads, span.batch],
            384,
            stream,
            &mut parameters,
        )
    }

    /// Root mean square norm of `rows` tokens of `heads` heads, times `gamma`, times `silu(gate)`.
    pub(super) fn norm(
        &mut self,
        (from, to): (Rows, Rows),
        (rows, heads, width): (usize, usize, usize),
        (gamma, epsilon): (Small, f32),
        gate: Rows,
        stream: sys::CUstream,
    ) -> Result<(), CudaError> {
        let (all, heads_argument, narrow) =
            ((rows * heads) as i64, heads as c_int, c_int::from(gamma.narrow));
        let (stride, gate_stride) = (from.stride as i64, gate.stride as i64);
        let mut parameters = [
            parameter(&from.address),
            parameter(&to.address),
            parameter(&stride),
            parameter(&gamma.address),
            parameter(&narrow),
            parameter(&gate.address),
            parameter(&gate_stride),
            parameter(&all),
            parameter(&heads_argument),
            parameter(&epsilon),
        ];
        let blocks = (rows * heads * (width / 8)).div_ceil(256);
        self.launch(
            (Kernel::Norm, width, false, 0),
            [blocks, 1, 1],
            256,
            stream,
            &mut parameters,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_from_a_later_row_starts_there_in_every_tensor() {
        let rows = |address| Rows {
            address,
            stride: 3 * 64,
        };
        let span = Span {
            batch: 1,
            tokens: 10,
            heads: 3,
            width: 64,
            group: 1,
            q: rows(1_000_000),
            k: rows(2_000_000),
            v: rows(3_000_000),
            output: rows(4_000_000),
            gates: Gates::given(5_000_000, 6_000_000),
            records: 7,
            initial: 8,
            last: 9,
            norm: None,
            gate: rows(10_000_000),
        };
        let later = span.skip(5);
        // Rows of 192 numbers in bf16, and of 3 in f32.
        let addresses = [later.q, later.k, later.v, later.output, later.gate].map(|rows| rows.address);
        assert_eq!(
            addresses,
            [1_001_920, 2_001_920, 3_001_920, 4_001_920, 10_001_920]
        );
        assert_eq!((later.gates.log_gate, later.gates.beta), (5_000_060, 6_000_060));
        assert_eq!((later.gates.a, later.gates.b), (0, 0));
        let small = Small {
            address: 10,
            narrow: true,
        };
        let gates = Gates::of_products([rows(7_000_000), rows(8_000_000)], [small; 2]).padded(11, 64);
        let gates = gates.skip(5, 3);
        assert_eq!((gates.log_gate, gates.beta, gates.lengths), (0, 0, 11));
        assert_eq!((gates.a, gates.b, gates.first), (7_001_920, 8_001_920, 69));
        assert_eq!((later.records, later.initial, later.last), (7, 8, 9));
        assert_eq!((later.tokens, later.q.stride), (10, 192));
    }
}
