//! Attention of few rows a sequence: splits of 256 keys, each summed by a block, and the splits of a sequence by the
//! last of them.

#![allow(unsafe_code, reason = "launches kernels; see Safety in `transformer`")]

use std::ffi::c_int;

use super::super::batch::{BatchLimits, BatchTables, PAGE, SPLIT};
use super::super::program::{Kernel, TransformerKernels, Variant};
use super::{Attention, Heads};
use crate::device::{Address, Launch, Parameter, Stream};
use crate::error::Error;

pub(in crate::transformer) static DECODE: Kernel = Kernel {
    file: "transformer/decode.cu",
    text: include_str!("../../../kernels/transformer/decode.cu"),
    entry: c"attend_decode",
};

/// Threads of a block; a warp takes a page.
const THREADS: usize = 32 * SPLIT / PAGE;
/// Rows of a block: queries times the heads that share keys.
const ROWS: usize = 16;
/// Multiprocessors of a chip of the generation.
const MULTIPROCESSORS: usize = 132;
/// Pieces of keys or values, 64 tokens and 64 columns, under way for a warp.
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
    pages: Address,
    counters: Address,
    totals: Address,
    sums: Address,
    kv_heads: c_int,
    group: c_int,
    /// Most rows of a sequence times the group.
    rows: c_int,
    window: c_int,
    scale: f32,
    unused: c_int,
}

/// Where the parts of the work space lie, in bytes.
struct Workspace {
    totals: usize,
    sums: usize,
    bytes: usize,
}

impl Workspace {
    fn new(limits: &BatchLimits, heads: Heads) -> Self {
        let rows = limits.decode_rows * heads.group();
        let partial_rows = limits.splits() * heads.kv * rows;
        let counters = limits.sequences * heads.kv * rows.div_ceil(ROWS);
        let totals = (size_of::<u32>() * counters).next_multiple_of(256);
        let sums = (totals + 2 * size_of::<f32>() * partial_rows).next_multiple_of(256);
        Self {
            totals,
            sums,
            bytes: sums + size_of::<f32>() * partial_rows * heads.width,
        }
    }
}

/// Bytes of work space of [`TransformerKernels::attend_decode`]; zeros before the first call, and left to it.
pub fn decode_workspace_bytes(limits: &BatchLimits, heads: Heads) -> usize {
    Workspace::new(limits, heads).bytes
}

/// Blocks of a launch, each of which takes split after split: as many as the chip holds at once.
fn blocks(width: usize) -> usize {
    MULTIPROCESSORS * if width <= 128 { 3 } else { 2 }
}

pub(in crate::transformer) fn variant(width: usize) -> Variant {
    let warps = THREADS / 32;
    let ring = warps * RING * PAGE * size_of::<u16>() * 64;
    let sums = size_of::<f32>() * (ROWS * width + 2 * warps * ROWS);
    // The copy engine's swizzle wants pieces at multiples of 1,024 bytes.
    let shared = (ring + sums + size_of::<u64>() * (warps * RING + 1)).next_multiple_of(1024) + 1024;
    Variant::new(&[
        ("D", width),
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
    /// Enqueues the attention of the sequences that the limits call decoding. Grid and addresses depend on the
    /// limits alone, so that a captured launch serves every batch of them.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: heads that no kernel has; [`Error::Compile`] at the first call; [`Error::Driver`].
    ///
    /// # Safety
    /// As in [`crate::transformer`]; `workspace` holds [`decode_workspace_bytes`], was zeros before its first use, and
    /// is used by no launch that may run at the same time. Written are the sequences' rows of `to`.
    pub unsafe fn attend_decode(
        &mut self,
        stream: &Stream,
        attention: &Attention,
        tables: &BatchTables,
        workspace: Address,
    ) -> Result<(), Error> {
        let heads = attention.heads;
        heads.check()?;
        let parts = Workspace::new(&tables.limits, heads);
        let rows = tables.limits.decode_rows * heads.group();
        let arguments = Arguments {
            queries: attention.queries.address,
            to: attention.to.address,
            query_stride: attention.queries.stride as i64,
            to_stride: attention.to.stride as i64,
            header: tables.header(),
            sequences: tables.sequences(),
            decoding: tables.decoding(),
            pages: tables.pages(),
            counters: workspace,
            totals: workspace.offset(parts.totals),
            sums: workspace.offset(parts.sums),
            kv_heads: heads.kv as c_int,
            group: heads.group() as c_int,
            rows: rows as c_int,
            window: attention.window_or_all(),
            scale: attention.scale_of_two(),
            unused: 0,
        };
        let most = tables.limits.splits() * heads.kv * rows.div_ceil(ROWS);
        let (keys, values) = attention.maps()?;
        let variant = variant(heads.width);
        let launch = Launch {
            shared: variant.shared,
            early: attention.early,
            ..Launch::new(
                self.get(&DECODE, variant)?,
                [most.clamp(1, blocks(heads.width)), 1, 1],
                THREADS as u32,
            )
        };
        let parameters = [
            Parameter::new(&keys),
            Parameter::new(&values),
            Parameter::new(&arguments),
        ];
        // SAFETY: the parameters are those of `attend_decode`; addresses are the caller's promise.
        unsafe { launch.enqueue(stream, &parameters) }
    }
}
