//! What a decoder with softmax attention needs beside matrix products, on one GPU of the Hopper generation: launches
//! of the kernels in `cuda/kernels/transformer`.
//!
//! | launch | what |
//! |---|---|
//! | [`TransformerKernels::gather_rows`] | embeddings of tokens; the last rows of sequences |
//! | [`TransformerKernels::rms_norm`] | addition to the residual stream, RMS norm, FP8 rows with a scale each |
//! | [`TransformerKernels::rotate_and_write`] | norms of queries and keys, rotary embedding, keys and values into pages |
//! | [`TransformerKernels::attend_prefill`] | attention of many rows a sequence over pages |
//! | [`TransformerKernels::attend_decode`] | attention of one to eight rows a sequence over pages |
//! | [`TransformerKernels::gate_rows`] | outputs of attention times the sigmoids of their gates |
//! | [`TransformerKernels::swiglu`] | `silu(gate) * up`, FP8 rows with a scale each |
//! | [`TransformerKernels::quantise_rows`] | FP8 rows with a scale each, of activations and of weights |
//! | [`TransformerKernels::skinny_gemm`] | products of one to sixteen rows, bound by reading the weights |
//! | [`TransformerKernels::sample`] | the next token of every row, its log-probability, the best candidates |
//!
//! Products of more rows are [`crate::device::Products::run_linear`]; a step that is always the same is captured
//! once ([`crate::device::Graph`]).
//!
//! # Layouts
//! Activations are bf16, `[rows, width]`, row after row; the residual stream too. Weights are as checkpoints have
//! them, `[out, in]`. Keys and values of a layer are two buffers `[pages, kv_heads, 64, head_width]` of bf16, or of FP8 with
//! two buffers of scales. A batch
//! is sequences of any number of rows whose rows lie behind each other; where each begins, its positions and its
//! pages say the tables that [`BatchPlan`] writes, once for all layers, to addresses that never change.
//!
//! # Safety
//! Every launch is `unsafe`. Who enqueues it promises what [`crate::device`] says: every address is null where that
//! is allowed, or device memory of the stream's context with the extent that its field says, which stays allocated
//! until the stream has passed; what is written overlaps nothing else that is read or written, except where a field
//! says that it may; and the content of tables is what [`BatchPlan`] wrote. A launch that is `early` may be placed
//! while the kernel before runs: everything that it does before that one has ended reads weights alone.

mod activation;
mod attention;
mod batch;
mod gate;
mod gather;
mod gemm;
mod norm;
mod program;
mod rotary;
mod sample;
mod sources;

pub use activation::{Quantise, QuantisedRows, SwiGlu};
pub use attention::{Attention, HEAD_WIDTHS, Heads, KvLayer, decode_workspace_bytes};
pub use batch::{BatchLimits, BatchPlan, BatchSequence, BatchTables, DECODE_ROWS, PAGE};
pub use gate::GateRows;
pub use gather::GatherRows;
pub use gemm::{Epilogue, SKINNY_ROWS, SkinnyGemm};
pub use norm::{NormedRows, RmsNorm};
pub use program::TransformerKernels;
pub use rotary::Rotary;
pub use sample::{CANDIDATES, Candidate, Draw, Penalty, Sample, SampleRows};
pub use sources::kernel_sources;
