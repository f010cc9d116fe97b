//! Between the projections and attention: norms of queries and keys, rotary embedding, keys and values into pages.

#![allow(unsafe_code, reason = "launches kernels; see Safety in `transformer`")]

use std::ffi::c_int;

use super::attention::{Heads, KvLayer};
use super::batch::BatchTables;
use super::program::{Kernel, TransformerKernels, Variant};
use crate::device::{Address, Launch, Parameter, Precision, Stream};
use crate::error::Error;
use crate::rows::Rows;

pub(super) static ROTARY: Kernel = Kernel {
    file: "transformer/rotary.cu",
    text: include_str!("../../kernels/transformer/rotary.cu"),
    entry: c"rotate_and_write",
};

/// Threads of a block; a warp works on one head of one row.
const THREADS: usize = 128;

/// Queries, keys and values of a batch's rows, and how they are turned.
#[derive(Clone, Copy, Debug)]
pub struct Rotary {
    /// Queries: of a row `query_heads` heads, `query_pitch` numbers apart.
    pub queries: Rows,
    /// Numbers from a head of the queries to the next; the head's width, or twice that where gates lie between.
    pub query_pitch: usize,
    /// Keys `[rows, kv_heads, width]`.
    pub keys: Rows,
    /// Values `[rows, kv_heads, width]`.
    pub values: Rows,
    /// Turned queries `[rows, query_heads, width]`, written; may be where `queries` are if the pitch is the width.
    pub to: Rows,
    /// Number of rows.
    pub rows: usize,
    /// Heads.
    pub heads: Heads,
    /// How many of a head's first numbers are turned: even, at most the width.
    pub rotated: usize,
    /// Address of the cosines `[positions, rotated / 2]`, f32.
    pub cosines: Address,
    /// Address of the sines, as the cosines.
    pub sines: Address,
    /// Address of the weights `[width]`, bf16, of the queries' norm; null without.
    pub query_norm: Address,
    /// Address of the weights of the keys' norm; null without.
    pub key_norm: Address,
    /// Whether the factor of the norms is `1 + weight`.
    pub zero_centred: bool,
    /// Number added to the mean of the squares.
    pub epsilon: f32,
    /// Keys and values of the layer, written where the tables say.
    pub cache: KvLayer,
    /// Whether the kernel may be placed while the kernel before runs.
    pub early: bool,
}

pub(super) fn variant(width: usize, precision: Precision) -> Variant {
    Variant::new(&[
        ("D", width),
        ("FP8", usize::from(precision == Precision::Fp8)),
        ("RUST_THREADS", THREADS),
        ("SIZEOF_ARGUMENTS", size_of::<Arguments>()),
    ])
}

/// `Arguments` in rotary.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Arguments {
    queries: Address,
    keys: Address,
    values: Address,
    to: Address,
    query_stride: i64,
    key_stride: i64,
    value_stride: i64,
    to_stride: i64,
    cosines: Address,
    sines: Address,
    query_norm: Address,
    key_norm: Address,
    key_pages: Address,
    value_pages: Address,
    key_scales: Address,
    value_scales: Address,
    positions: Address,
    slots: Address,
    query_pitch: c_int,
    query_heads: c_int,
    kv_heads: c_int,
    rotated: c_int,
    rows: c_int,
    bias: f32,
    epsilon: f32,
    unused: c_int,
}

impl TransformerKernels {
    /// Enqueues the norms of queries and keys, where there are any, their rotation by position, and the writing of
    /// keys and values into the pages of their sequences. A row whose slot is none is turned and not written.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: heads that no kernel has, or an odd number of turned numbers; [`Error::Compile`] at
    /// the first call; [`Error::Driver`].
    ///
    /// # Safety
    /// As in [`crate::transformer`]; the tables of cosines and sines reach beyond every position. Written are `to`
    /// and the slots of the rows in both buffers of the layer.
    pub unsafe fn rotate_and_write(
        &mut self,
        stream: &Stream,
        rotary: &Rotary,
        tables: &BatchTables,
    ) -> Result<(), Error> {
        let Rotary {
            heads, rotated, rows, ..
        } = *rotary;
        heads.check()?;
        if !rotated.is_multiple_of(2) || rotated > heads.width {
            return Err(Error::Unsupported(format!(
                "{rotated} turned numbers of heads of {}",
                heads.width
            )));
        }
        if rows == 0 {
            return Ok(());
        }
        let arguments = Arguments {
            queries: rotary.queries.address,
            keys: rotary.keys.address,
            values: rotary.values.address,
            to: rotary.to.address,
            query_stride: rotary.queries.stride as i64,
            key_stride: rotary.keys.stride as i64,
            value_stride: rotary.values.stride as i64,
            to_stride: rotary.to.stride as i64,
            cosines: rotary.cosines,
            sines: rotary.sines,
            query_norm: rotary.query_norm,
            key_norm: rotary.key_norm,
            key_pages: rotary.cache.keys,
            value_pages: rotary.cache.values,
            key_scales: rotary.cache.key_scales,
            value_scales: rotary.cache.value_scales,
            positions: tables.positions(),
            slots: tables.slots(),
            query_pitch: rotary.query_pitch as c_int,
            query_heads: heads.query as c_int,
            kv_heads: heads.kv as c_int,
            rotated: rotated as c_int,
            rows: rows as c_int,
            bias: f32::from(u8::from(rotary.zero_centred)),
            epsilon: rotary.epsilon,
            unused: 0,
        };
        let blocks = (rows * (heads.query + 2 * heads.kv)).div_ceil(THREADS / 32);
        let launch = Launch {
            early: rotary.early,
            ..Launch::new(
                self.get(&ROTARY, variant(heads.width, rotary.cache.precision))?,
                [blocks, 1, 1],
                THREADS as u32,
            )
        };
        // SAFETY: the parameter is that of `rotate_and_write`; addresses are the caller's promise.
        unsafe { launch.enqueue(stream, &[Parameter::new(&arguments)]) }
    }
}
