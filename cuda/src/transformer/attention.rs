//! Attention over pages: of many rows a sequence, and of few.

#![allow(unsafe_code, reason = "launches kernels; see Safety in `transformer`")]

mod decode;
mod prefill;

use super::batch::PAGE;
use crate::device::{Address, Precision, TensorMap};
use crate::error::Error;
use crate::rows::Rows;

pub use decode::decode_workspace_bytes;
pub(super) use decode::{COMBINE, DECODE, variant as decode_variant};
pub(super) use prefill::{PREFILL, variant as prefill_variant};

/// Widths of heads for which there are kernels.
pub const HEAD_WIDTHS: [usize; 3] = [64, 128, 256];

/// Most numbers of FP8 that the copy engine brings of a row at once.
const FP8_LINE: usize = 128;

/// Heads of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Heads of queries, a multiple of `kv`; each head of keys and values serves as many of them.
    pub query: usize,
    /// Heads of keys and values.
    pub kv: usize,
    /// Numbers of a head: 64, 128 or 256.
    pub width: usize,
}

impl Heads {
    /// Heads of queries that share a head of keys and values.
    pub(super) fn group(self) -> usize {
        self.query / self.kv.max(1)
    }

    /// An error unless there are kernels for these heads.
    pub(super) fn check(self) -> Result<(), Error> {
        if HEAD_WIDTHS.contains(&self.width)
            && self.kv > 0
            && self.query > 0
            && self.query.is_multiple_of(self.kv)
        {
            return Ok(());
        }
        Err(Error::Unsupported(format!(
            "{} heads of queries and {} of keys, {} numbers each; the kernels take heads of 64, 128 or 256, and as many \
             queries for each head of keys",
            self.query, self.kv, self.width
        )))
    }
}

/// Keys and values of a layer, `[pages, kv_heads, 64, width]` each: bf16, or FP8 (E4M3) with a scale for each head of a token.
#[derive(Clone, Copy, Debug)]
pub struct KvLayer {
    /// Address of the keys.
    pub keys: Address,
    /// Address of the values.
    pub values: Address,
    /// Pages of each.
    pub pages: usize,
    /// Number type.
    pub precision: Precision,
    /// Address of the keys' scales `[pages, kv_heads, 64]`, f32, powers of two; null for bf16.
    pub key_scales: Address,
    /// Address of the values' scales, likewise.
    pub value_scales: Address,
}

impl KvLayer {
    /// Keys and values of bf16.
    pub fn bf16(keys: Address, values: Address, pages: usize) -> Self {
        Self {
            keys,
            values,
            pages,
            precision: Precision::Bf16,
            key_scales: Address::NULL,
            value_scales: Address::NULL,
        }
    }
}

/// Attention of a batch's rows to the keys of their sequences.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Queries `[rows, query_heads, width]`, turned, at addresses of 16 bytes.
    pub queries: Rows,
    /// Heads.
    pub heads: Heads,
    /// Keys and values, those of the batch's rows among them.
    pub cache: KvLayer,
    /// Factor on the products of queries and keys; usually `1 / sqrt(width)`.
    pub scale: f32,
    /// Keys that a row reads, its own among them; none for all before it.
    pub window: Option<usize>,
    /// Outputs `[rows, query_heads, width]`, written.
    pub to: Rows,
    /// Whether the kernel may be placed while the kernel before runs.
    pub early: bool,
}

impl Attention {
    /// All pages of keys and of values, row after row.
    fn maps(&self) -> Result<(TensorMap, TensorMap), Error> {
        let Heads { kv, width, .. } = self.heads;
        let rows = self.cache.pages * kv * PAGE;
        let map = |address| match self.cache.precision {
            Precision::Bf16 => {
                let sizes = [width as u64, rows as u64];
                TensorMap::new(address, &sizes, &[(size_of::<u16>() * width) as u64])
            }
            Precision::Fp8 => {
                let columns = width.min(FP8_LINE) as u32;
                TensorMap::bytes(address, [rows, width], width, [PAGE as u32, columns])
            }
        };
        Ok((map(self.cache.keys)?, map(self.cache.values)?))
    }

    /// The window as the kernels take it: larger than any distance if there is none.
    fn window_or_all(&self) -> i32 {
        self.window.map_or(i32::MAX, |window| {
            i32::try_from(window.max(1)).unwrap_or(i32::MAX)
        })
    }

    /// The scale for exponentials of two.
    fn scale_of_two(&self) -> f32 {
        self.scale * std::f32::consts::LOG2_E
    }
}
