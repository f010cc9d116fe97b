//! Attention of many rows a sequence, a tile of 128 rows of one head a block.

#![allow(unsafe_code, reason = "launches kernels; see Safety in `transformer`")]

use std::ffi::c_int;

use super::super::batch::{BatchTables, PAGE, TILE};
use super::super::program::{Kernel, TransformerKernels, Variant};
use super::Attention;
use crate::device::{Address, Launch, Parameter, Precision, Stream};
use crate::error::Error;

pub(in crate::transformer) static PREFILL: Kernel = Kernel {
    file: "transformer/prefill.cu",
    text: include_str!("../../../kernels/transformer/prefill.cu"),
    entry: c"attend_prefill",
};

/// Threads of a block: two warp groups that multiply, and one that loads.
const THREADS: usize = 384;
/// Tiles of keys, and of values, under way.
const STAGES: usize = 2;

/// `Arguments` in prefill.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Arguments {
    queries: Address,
    to: Address,
    query_stride: i64,
    to_stride: i64,
    sequences: Address,
    tiles: Address,
    pages: Address,
    keys: Address,
    values: Address,
    key_scales: Address,
    value_scales: Address,
    kv_heads: c_int,
    group: c_int,
    scale: f32,
    window: c_int,
}

/// Keys of a tile.
const fn keys(width: usize) -> usize {
    if width <= 128 { 128 } else { 64 }
}

/// Tiles of keys or values of FP8 under way.
const fn raw(width: usize) -> usize {
    if width <= 128 { 3 } else { 2 }
}

pub(in crate::transformer) fn variant(width: usize, precision: Precision) -> Variant {
    let raw_bytes = match precision {
        // The kernel has a place for one, of no size to speak of.
        Precision::Bf16 => 64,
        Precision::Fp8 => raw(width) * (keys(width) * (width + size_of::<f32>()) + 8),
    };
    let bytes =
        size_of::<u16>() * width * (TILE + 2 * STAGES * keys(width)) + 8 * (1 + 4 * STAGES) + raw_bytes;
    let definitions = [
        ("D", width),
        ("FP8", usize::from(precision == Precision::Fp8)),
        ("RUST_RAW", raw(width)),
        ("KEYS", keys(width)),
        ("STAGES", STAGES),
        ("RUST_THREADS", THREADS),
        ("RUST_TILE", TILE),
        ("RUST_PAGE", PAGE),
        ("SIZEOF_ARGUMENTS", size_of::<Arguments>()),
    ];
    // The copy engine's swizzle wants tiles at multiples of 1,024 bytes.
    Variant::new(&definitions).with_shared(bytes.next_multiple_of(1024) + 1024)
}

impl TransformerKernels {
    /// Enqueues the attention of the sequences of more rows than the limits call decoding.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: heads that no kernel has; [`Error::Compile`] at the first call; [`Error::Driver`].
    ///
    /// # Safety
    /// As in [`crate::transformer`]; `tables` are those of the batch that was written last. Written are the
    /// sequences' rows of `to`.
    pub unsafe fn attend_prefill(
        &mut self,
        stream: &Stream,
        attention: &Attention,
        tables: &BatchTables,
    ) -> Result<(), Error> {
        let heads = attention.heads;
        heads.check()?;
        if tables.tiles == 0 {
            return Ok(());
        }
        let (keys, values) = attention.maps()?;
        let arguments = Arguments {
            queries: attention.queries.address,
            to: attention.to.address,
            query_stride: attention.queries.stride as i64,
            to_stride: attention.to.stride as i64,
            sequences: tables.sequences(),
            tiles: tables.tile_list(),
            pages: tables.pages(),
            keys: attention.cache.keys,
            values: attention.cache.values,
            key_scales: attention.cache.key_scales,
            value_scales: attention.cache.value_scales,
            kv_heads: heads.kv as c_int,
            group: heads.group() as c_int,
            scale: attention.scale_of_two(),
            window: attention.window_or_all(),
        };
        let parameters = [
            Parameter::new(&keys),
            Parameter::new(&values),
            Parameter::new(&arguments),
        ];
        let variant = variant(heads.width, attention.cache.precision);
        let launch = Launch {
            shared: variant.shared,
            early: attention.early,
            ..Launch::new(
                self.get(&PREFILL, variant)?,
                [tables.tiles, heads.query, 1],
                THREADS as u32,
            )
        };
        // SAFETY: the parameters are those of `attend_prefill`; addresses are the caller's promise.
        unsafe { launch.enqueue(stream, &parameters) }
    }
}
