//! Attention over pages: decode by its bandwidth, prefill by its rate.

use anyhow::Result;
use liquid_cuda::Rows;
use liquid_cuda::device::{Buffer, Precision};
use liquid_cuda::transformer::{
    Attention, BatchLimits, BatchPlan, BatchSequence, BatchTables, Heads, KvLayer, PAGE,
    decode_workspace_bytes,
};

use super::SIZES;
use crate::suite::gpu::Gpu;
use crate::suite::speed::clock::Clock;

/// Layers whose keys and values calls take turns at, so that none finds its own in L2.
const LAYERS: usize = 4;

/// Sequences of so many rows behind `position` tokens each, whose keys and values lie in some layers.
#[derive(Clone, Copy)]
struct BatchSizes {
    sequences: usize,
    rows: usize,
    position: usize,
    layers: usize,
    precision: Precision,
}

/// A batch of sequences of one length.
struct Batch {
    heads: Heads,
    rows: usize,
    pool: usize,
    queries: Buffer,
    outputs: Buffer,
    precision: Precision,
    layers: Vec<[Buffer; 2]>,
    /// Scales of all layers, if they are FP8.
    scales: Buffer,
    workspace: Buffer,
    tables: BatchTables,
    _tables: Buffer,
    turn: usize,
}

impl Batch {
    fn new(gpu: &Gpu, heads: Heads, sizes: BatchSizes) -> Result<Self> {
        let BatchSizes {
            sequences,
            rows,
            position,
            layers,
            precision,
        } = sizes;
        let pages = (position + rows).div_ceil(PAGE);
        let pool = pages * sequences;
        let limits = BatchLimits {
            rows: rows * sequences,
            sequences,
            pages: pool,
            pool,
            decode_rows: rows.min(8),
        };
        // Neighbouring pages of a sequence lie apart.
        let lists: Vec<Vec<u32>> = (0..sequences)
            .map(|s| (0..pages).map(|page| (page * sequences + s) as u32).collect())
            .collect();
        let batch: Vec<BatchSequence<'_>> = lists
            .iter()
            .map(|pages| BatchSequence {
                rows,
                position,
                pages,
            })
            .collect();
        let memory = gpu.context.allocate(limits.bytes())?;
        let cached = pool * PAGE * heads.kv * heads.width;
        let row = heads.query * heads.width;
        Ok(Self {
            heads,
            rows: rows * sequences,
            pool,
            queries: gpu.normals(rows * sequences * row, 1.0)?,
            outputs: gpu.zeroed(2 * rows * sequences * row)?,
            precision,
            // Of FP8 the bits of bf16: codes of any kind.
            layers: (0..layers)
                .map(|_| {
                    let numbers = || gpu.normals(cached * precision.bytes() / 2, 1.0);
                    Ok([numbers()?, numbers()?])
                })
                .collect::<Result<_>>()?,
            scales: gpu.upload(&vec![0.01_f32; pool * PAGE * heads.kv])?,
            workspace: gpu.zeroed(decode_workspace_bytes(&limits, heads))?,
            tables: BatchPlan::new(&limits, &batch)?.write(&gpu.stream, &memory)?,
            _tables: memory,
            turn: 0,
        })
    }

    fn next(&mut self) -> Attention {
        self.turn = (self.turn + 1) % self.layers.len();
        let row = self.heads.query * self.heads.width;
        let [keys, values] = &self.layers[self.turn];
        Attention {
            queries: Rows {
                address: self.queries.address(),
                stride: row,
            },
            heads: self.heads,
            cache: KvLayer {
                precision: self.precision,
                key_scales: self.scales.address(),
                value_scales: self.scales.address(),
                ..KvLayer::bf16(keys.address(), values.address(), self.pool)
            },
            scale: (self.heads.width as f32).sqrt().recip(),
            window: None,
            to: Rows {
                address: self.outputs.address(),
                stride: row,
            },
            early: false,
        }
    }

    fn decode(&mut self, gpu: &mut Gpu) -> Result<()> {
        let attention = self.next();
        // SAFETY: `new` made the buffers for these sequences; they live until the clock has waited for the stream.
        Ok(unsafe {
            gpu.transformer
                .attend_decode(&gpu.stream, &attention, &self.tables, self.workspace.address())
        }?)
    }

    fn prefill(&mut self, gpu: &mut Gpu) -> Result<()> {
        let attention = self.next();
        // SAFETY: as in `decode`.
        Ok(unsafe {
            gpu.transformer
                .attend_prefill(&gpu.stream, &attention, &self.tables)
        }?)
    }
}

/// Prints the attention of a decoding step.
pub(super) fn print_decode(clock: &mut Clock) -> Result<()> {
    println!(
        "attention of a decoding step, {} heads on {} of {} (ms, TB/s of keys and values):",
        SIZES.query, SIZES.kv, SIZES.head
    );
    for (sequences, rows, tokens) in [
        (1, 1, 2048),
        (1, 1, 32_768),
        (1, 1, 131_072),
        (16, 1, 4096),
        (64, 1, 4096),
        (16, 4, 4096),
        (16, 8, 4096),
    ] {
        for precision in [Precision::Bf16, Precision::Fp8] {
            let sizes = BatchSizes {
                sequences,
                rows,
                position: tokens - rows,
                layers: LAYERS,
                precision,
            };
            let mut batch = Batch::new(&clock.0, SIZES.heads(), sizes)?;
            let ms = clock.time(|gpu| batch.decode(gpu))?;
            let bytes = 2 * precision.bytes() * sequences * tokens * SIZES.kv * SIZES.head;
            let name = format!("{sequences} sequences of {tokens}, {rows} rows each, {precision:?}");
            println!("  {name:40} {ms:>9.4} ms {:>6.2} TB/s", bytes as f64 / ms / 1e9);
        }
    }
    Ok(())
}

/// Prints the attention of a prefill.
pub(super) fn print_prefill(clock: &mut Clock) -> Result<()> {
    println!("attention of a prefill (ms, TFLOP/s of what the mask leaves):");
    let widths = [
        (SIZES.heads(), 1),
        (
            Heads {
                query: 64,
                kv: 8,
                width: 64,
            },
            1,
        ),
        (
            Heads {
                query: 16,
                kv: 4,
                width: 256,
            },
            1,
        ),
    ];
    for (heads, sequences) in widths {
        for (rows, position) in [(2048, 0), (8192, 0), (32_768, 0), (8192, 24_576), (64, 8192)] {
            for precision in [Precision::Bf16, Precision::Fp8] {
                let sizes = BatchSizes {
                    sequences,
                    rows,
                    position,
                    layers: 1,
                    precision,
                };
                let mut batch = Batch::new(&clock.0, heads, sizes)?;
                let ms = clock.time(|gpu| batch.prefill(gpu))?;
                let pairs = rows as f64 * (position as f64 + (rows as f64 + 1.0) / 2.0);
                let rate = 4e-9 * pairs * (heads.query * heads.width * sequences) as f64 / ms;
                let name = format!(
                    "{} heads of {}, {} rows at {position}, {precision:?}",
                    heads.query, heads.width, batch.rows
                );
                println!("  {name:40} {ms:>9.4} ms {rate:>6.0} TFLOP/s");
            }
        }
    }
    Ok(())
}
