//! Attention over pages: decode by its bandwidth, prefill by its rate.

use anyhow::Result;
use liquid_cuda::Rows;
use liquid_cuda::device::Buffer;
use liquid_cuda::transformer::{
    Attention, BatchLimits, BatchPlan, BatchSequence, BatchTables, Heads, KvLayer, PAGE,
    decode_workspace_bytes,
};

use super::SIZES;
use crate::suite::gpu::Gpu;
use crate::suite::speed::clock::Clock;

/// Layers whose keys and values calls take turns at, so that none finds its own in L2.
const LAYERS: usize = 4;

/// A batch of sequences of one length.
struct Batch {
    heads: Heads,
    rows: usize,
    pool: usize,
    queries: Buffer,
    outputs: Buffer,
    layers: Vec<[Buffer; 2]>,
    workspace: Buffer,
    tables: BatchTables,
    _tables: Buffer,
    turn: usize,
}

impl Batch {
    /// Sequences of so many rows behind `position` tokens.
    fn new(
        gpu: &Gpu,
        heads: Heads,
        sequences: usize,
        rows: usize,
        position: usize,
        layers: usize,
    ) -> Result<Self> {
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
            layers: (0..layers)
                .map(|_| Ok([gpu.normals(cached, 1.0)?, gpu.normals(cached, 1.0)?]))
                .collect::<Result<_>>()?,
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
                keys: keys.address(),
                values: values.address(),
                pages: self.pool,
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
        let mut batch = Batch::new(&clock.0, SIZES.heads(), sequences, rows, tokens - rows, LAYERS)?;
        let ms = clock.time(|gpu| batch.decode(gpu))?;
        let bytes = 2 * 2 * sequences * tokens * SIZES.kv * SIZES.head;
        let name = format!("{sequences} sequences of {tokens}, {rows} rows each");
        println!("  {name:40} {ms:>9.4} ms {:>6.2} TB/s", bytes as f64 / ms / 1e9);
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
            let mut batch = Batch::new(&clock.0, heads, sequences, rows, position, 1)?;
            let ms = clock.time(|gpu| batch.prefill(gpu))?;
            let pairs = rows as f64 * (position as f64 + (rows as f64 + 1.0) / 2.0);
            let rate = 4e-9 * pairs * (heads.query * heads.width * sequences) as f64 / ms;
            let name = format!(
                "{} heads of {}, {} rows at {position}",
                heads.query, heads.width, batch.rows
            );
            println!("  {name:40} {ms:>9.4} ms {rate:>6.0} TFLOP/s");
        }
    }
    Ok(())
}
