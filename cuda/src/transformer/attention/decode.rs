//! Attention of few rows a sequence: splits of 256 keys, each summed by a block, then the splits of every row.

#![allow(unsafe_code, reason = "launches kernels; see Safety in `transformer`")]

use std::ffi::c_int;

use super::super::batch::{BatchLimits, BatchTables, PAGE, SPLIT};
use super::super::program::{Kernel, TransformerKernels, Variant};
use super::{Attention, FP8_LINE, Heads};
use crate::device::{Address, Launch, Parameter, Precision, Stream};
use crate::error::Error;

pub(in crate::transformer) static DECODE: Kernel = Kernel {
    file: "transformer/decode.cu",
    text: include_str!("../../../kernels/transformer/decode.cu"),
    entry: c"attend_decode",
};
pub(in crate::transformer) static COMBINE: Kernel = Kernel {
    entry: c"combine_splits",
    ..DECODE
};

/// Threads of a block; a warp takes a page.
const THREADS: usize = 32 * SPLIT / PAGE;
/// Rows of a block: queries times the heads that share keys.
const ROWS: usize = 16;
/// Multiprocessors of a chip of the generation; each gets as many blocks as it holds, which take split after split.
const MULTIPROCESSORS: usize = 132;
/// Pieces of keys or values, 64 tokens of at most 128 bytes, under way for a warp.
const RING: usize = 2;

/// `Arguments` in decode.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Arguments {
    queries: Address,
    to: Address,
    query_stride: i64,
    to_stride: i64,
    header: Address,
    sequences: Address,
    decoding: Address,
    splits: Address,
    pages: Address,
    key_scales: Address,
    value_scales: Address,
    totals: Address,
    sums: Address,
    kv_heads: c_int,
    group: c_int,
    /// Most rows of a sequence times the group.
    rows: c_int,
    window: c_int,
    scale: f32,
    sequence_rows: c_int,
}

impl Arguments {
    fn new(attention: &Attention, tables: &BatchTables, workspace: Address) -> Self {
        let (heads, limits) = (attention.heads, &tables.limits);
        Self {
            queries: attention.queries.address,
            to: attention.to.address,
            query_stride: attention.queries.stride as i64,
            to_stride: attention.to.stride as i64,
            header: tables.header(),
            sequences: tables.sequences(),
            decoding: tables.decoding(),
            splits: tables.splits(),
            pages: tables.pages(),
            key_scales: attention.cache.key_scales,
            value_scales: attention.cache.value_scales,
            totals: workspace,
            sums: workspace.offset(total_bytes(limits, heads)),
            kv_heads: heads.kv as c_int,
            group: heads.group() as c_int,
            rows: rows_of(limits, heads) as c_int,
            window: attention.window_or_all(),
            scale: attention.scale_of_two(),
            sequence_rows: limits.decode_rows as c_int,
        }
    }
}

/// Rows of a head of keys that a split may have: those of a sequence times the group.
fn rows_of(limits: &BatchLimits, heads: Heads) -> usize {
    limits.decode_rows * heads.group()
}

/// Bytes of the totals, which lie in front of the sums.
fn total_bytes(limits: &BatchLimits, heads: Heads) -> usize {
    let rows = limits.splits() * heads.kv * rows_of(limits, heads);
    (2 * size_of::<f32>() * rows).next_multiple_of(256)
}

/// Bytes of work space of [`TransformerKernels::attend_decode`].
pub fn decode_workspace_bytes(limits: &BatchLimits, heads: Heads) -> usize {
    let rows = limits.splits() * heads.kv * rows_of(limits, heads);
    total_bytes(limits, heads) + size_of::<f32>() * rows * heads.width
}

/// Blocks that a multiprocessor holds at once.
fn at_once(width: usize) -> usize {
    if width <= 128 { 3 } else { 2 }
}

pub(in crate::transformer) fn variant(width: usize, precision: Precision) -> Variant {
    let warps = THREADS / 32;
    let line = match precision {
        Precision::Bf16 => size_of::<u16>() * 64,
        Precision::Fp8 => width.min(FP8_LINE),
    };
    let ring = warps * RING * PAGE * line;
    let sums = size_of::<f32>() * (ROWS * width + 2 * warps * ROWS);
    // The copy engine's swizzle wants pieces at multiples of 1,024 bytes.
    let shared = (ring + sums + size_of::<u64>() * (warps * RING + 1)).next_multiple_of(1024) + 1024;
    Variant::new(&[
        ("D", width),
        ("FP8", usize::from(precision == Precision::Fp8)),
        ("AT_ONCE", at_once(width)),
        ("RUST_THREADS", THREADS),
        ("RUST_SPLIT", SPLIT),
        ("RUST_PAGE", PAGE),
        ("RUST_ROWS", ROWS),
        ("RUST_RING", RING),
        ("SIZEOF_ARGUMENTS", size_of::<Arguments>()),
    ])
    .with_shared(shared)
}

impl TransformerKernels {
    /// Enqueues the attention of the sequences that the limits call decoding: two launches, whose grids and
    /// addresses depend on the limits alone, so that captured ones serve every batch of them.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: heads that no kernel has; [`Error::Compile`] at the first call; [`Error::Driver`].
    ///
    /// # Safety
    /// As in [`crate::transformer`]; `workspace` holds [`decode_workspace_bytes`] and is used by no launch
    /// that may run at the same time. Written are the sequences' rows of `to`.
    pub unsafe fn attend_decode(
        &mut self,
        stream: &Stream,
        attention: &Attention,
        tables: &BatchTables,
        workspace: Address,
    ) -> Result<(), Error> {
        let heads = attention.heads;
        heads.check()?;
        let limits = &tables.limits;
        let arguments = Arguments::new(attention, tables, workspace);
        let most = limits.splits() * heads.kv * rows_of(limits, heads).div_ceil(ROWS);
        let (keys, values) = attention.maps()?;
        let split = variant(heads.width, attention.cache.precision);
        let launch = Launch {
            shared: split.shared,
            early: attention.early,
            ..Launch::new(
                self.get(&DECODE, split)?,
                [most.clamp(1, MULTIPROCESSORS * at_once(heads.width)), 1, 1],
                THREADS as u32,
            )
        };
        let parameters = [
            Parameter::new(&keys),
            Parameter::new(&values),
            Parameter::new(&arguments),
        ];
        // SAFETY: the parameters are those of `attend_decode`; addresses are the caller's promise.
        unsafe { launch.enqueue(stream, &parameters)? };
        let rows = limits.sequences * limits.decode_rows;
        if rows == 0 {
            return Ok(());
        }
        let unshared = Variant {
            shared: 0,
            ..variant(heads.width, attention.cache.precision)
        };
        let function = self.get(&COMBINE, unshared)?;
        let combine = Launch {
            early: true,
            ..Launch::new(function, [heads.query, rows, 1], THREADS as u32)
        };
        // SAFETY: as above; it reads nothing before the first launch has ended.
        unsafe { combine.enqueue(stream, &[Parameter::new(&arguments)]) }
    }
}
