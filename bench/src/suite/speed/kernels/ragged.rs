//! The launches of ragged sequences whose states lie in slots: the same tokens as of one sequence, in one and
//! in eight.

use anyhow::Result;
use liquid_cuda::device::Buffer;
use liquid_cuda::rule::ragged::{RaggedPlan, RaggedSequence, RaggedTables, SlotStrides, Snapshot};
use liquid_cuda::rule::{CHUNK, Sequences, Span};

use super::forward::{Forward, OPTIONS};
use super::{Clock, Sizes};
use crate::suite::gpu::Gpu;

/// Sequences of the larger batch.
const SEQUENCES: usize = 8;

/// Prints what the launches take.
pub(super) fn print(clock: &mut Clock, forward: &Forward) -> Result<()> {
    let tokens = forward.sizes.tokens;
    for (name, count) in [("1 ragged", 1), ("8 ragged", SEQUENCES)] {
        let batch = Slots::new(&clock.0, forward, &vec![tokens / count; count])?;
        clock.print(&format!("prepare, {name}"), |gpu| batch.prepare(gpu))?;
        clock.print(&format!("scan with norm, {name}"), |gpu| batch.scan(gpu, false))?;
        clock.print(&format!("scan with norm, {name}, snapshots"), |gpu| {
            batch.scan(gpu, true)
        })?;
    }
    let batch = Slots::new(&clock.0, forward, &[1; SEQUENCES])?;
    clock.print("step: states of 8 ragged", |gpu| batch.step(gpu))
}

/// A batch whose sequences have two slots each: one for the state, one for a snapshot.
struct Slots {
    span: Span,
    plain: RaggedTables,
    snapshots: RaggedTables,
    /// Pool and tables.
    _memory: [Buffer; 3],
}

impl Slots {
    /// Cuts the tokens of a sequence into sequences of these lengths.
    fn new(gpu: &Gpu, forward: &Forward, lengths: &[usize]) -> Result<Self> {
        let Sizes { heads, .. } = forward.sizes;
        let state = heads * forward.sizes.width() * forward.sizes.width();
        let pool = gpu.zeroed(size_of::<f32>() * 2 * lengths.len() * state)?;
        let tables = |snapshots: bool| {
            let sequences: Vec<RaggedSequence> = lengths
                .iter()
                .enumerate()
                .map(|(slot, tokens)| RaggedSequence {
                    skip: 0,
                    tokens: *tokens,
                    from: Some(slot),
                    to: Some(slot),
                    snapshot: (snapshots && *tokens > CHUNK).then(|| Snapshot {
                        after: tokens / 2 / CHUNK * CHUNK,
                        slot: lengths.len() + slot,
                    }),
                })
                .collect();
            let plan = RaggedPlan::new(&sequences, 2 * lengths.len())?;
            let memory = gpu.context.allocate(plan.bytes())?;
            let tables = plan.write(&gpu.stream, &memory, SlotStrides { state, tail: 0 })?;
            anyhow::Ok((tables, memory))
        };
        let ((plain, first), (snapshots, second)) = (tables(false)?, tables(true)?);
        Ok(Self {
            span: Span {
                sequences: Sequences::Ragged(plain),
                initial: pool.address(),
                last: pool.address(),
                ..forward.span()
            },
            plain,
            snapshots,
            _memory: [pool, first, second],
        })
    }

    fn prepare(&self, gpu: &mut Gpu) -> Result<()> {
        // SAFETY: `Forward::new` made everything but pool and tables, `new` those; both live until the clock
        // has waited for the stream.
        Ok(unsafe { gpu.kernels.prepare(&gpu.stream, &self.span, OPTIONS) }?)
    }

    fn scan(&self, gpu: &mut Gpu, snapshots: bool) -> Result<()> {
        let tables = if snapshots { self.snapshots } else { self.plain };
        let span = Span {
            sequences: Sequences::Ragged(tables),
            ..self.span
        };
        // SAFETY: as in `prepare`, which has run.
        Ok(unsafe { gpu.kernels.scan(&gpu.stream, &span, false) }?)
    }

    fn step(&self, gpu: &mut Gpu) -> Result<()> {
        // SAFETY: as in `prepare`; not early.
        Ok(unsafe { gpu.kernels.step(&gpu.stream, &self.span, None, OPTIONS, false) }?)
    }
}
