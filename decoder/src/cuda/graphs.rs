//! Steps in which every sequence reads one token: captured once for some numbers of rows, and launched as one.

use liquid_cuda::Error;
use liquid_cuda::device::{Address, Graph};
use liquid_cuda::transformer::{BatchPlan, BatchTables, Draw, SampleRows};

use super::layers::{Launcher, Pass};
use super::space::Space;
use super::weights::Weights;
use crate::config::Architecture;
use crate::ops::cuda::{CudaPages, CudaStates, Place, Recurrence};

/// Rows of captured steps; a step of fewer rows is padded to the next one.
const BATCHES: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

/// Most rows of a captured step.
pub(super) const MOST_ROWS: usize = 64;

/// Captured steps over one cache.
#[derive(Debug)]
pub(super) struct Graphs {
    place: Place,
    graphs: Vec<(usize, Graph)>,
}

/// What sequences are remembered in.
#[derive(Clone, Copy)]
pub(super) struct Caches<'a> {
    pub(super) pages: &'a CudaPages,
    /// Of a hybrid.
    pub(super) states: Option<&'a CudaStates>,
}

/// The tables of a pass.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) pages: BatchTables,
    /// Of a hybrid.
    pub(super) recurrence: Option<Recurrence>,
}

/// What a pass needs but for its rows.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) architecture: &'a Architecture,
    pub(super) weights: &'a Weights,
    pub(super) space: &'a Space,
}

impl<'a> Parts<'a> {
    /// Returns a pass of so many rows.
    pub(super) fn pass(self, place: &'a Place, tables: &'a Tables, rows: usize) -> Pass<'a> {
        Pass {
            architecture: self.architecture,
            weights: self.weights,
            space: self.space,
            place,
            tables: &tables.pages,
            recurrence: tables.recurrence.as_ref(),
            rows,
        }
    }
}

impl Graphs {
    /// Captures steps over a cache that no sequence uses yet. Runs each once before, which compiles its kernels and plans
    /// its products.
    pub(super) fn capture(
        launcher: &mut Launcher,
        parts: Parts<'_>,
        caches: Caches<'_>,
    ) -> Result<Self, Error> {
        let place = caches.pages.place();
        let capacity = parts.space.capacity;
        let mut graphs = Vec::new();
        for rows in BATCHES {
            if rows > capacity.rows.min(capacity.wanted) {
                break;
            }
            let tables = rest(launcher, parts.space, caches, rows)?;
            let pass = parts.pass(&place, &tables, rows);
            step(launcher, &pass)?;
            launcher.stream.synchronize()?;
            let stream = launcher.stream.clone();
            graphs.push((rows, Graph::capture(&stream, |_| step(launcher, &pass))?));
        }
        Ok(Self { place, graphs })
    }

    /// Returns the captured step that has room for some rows over a cache.
    pub(super) fn get(&self, place: &Place, rows: usize) -> Option<&(usize, Graph)> {
        let fits = |graph: &&(usize, Graph)| graph.0 >= rows;
        self.graphs.iter().find(fits).filter(|_| self.place == *place)
    }
}

/// Writes tables and tokens of a batch of no sequence, all of whose rows pad.
pub(super) fn rest(
    launcher: &Launcher,
    space: &Space,
    caches: Caches<'_>,
    rows: usize,
) -> Result<Tables, Error> {
    let (stream, pages) = (&launcher.stream, caches.pages);
    stream.write(&space.tokens, &vec![0_u32; rows])?;
    stream.write(&space.draws, &vec![likeliest(); rows])?;
    let recurrence = caches.states.map(|states| states.single(Vec::new(), rows));
    Ok(Tables {
        pages: BatchPlan::new(&pages.limits(rows), &[])?.write(stream, pages.tables())?,
        recurrence: recurrence.transpose()?,
    })
}

/// Enqueues a step of single tokens: layers, logits and a token of every row.
pub(super) fn step(launcher: &mut Launcher, pass: &Pass<'_>) -> Result<(), Error> {
    launcher.layers(pass)?;
    launcher.logits(pass, pass.space.hidden(), pass.rows)?;
    choose(launcher, pass, pass.rows)
}

/// Enqueues choosing a token for the rows whose logits were computed last.
pub(super) fn choose(launcher: &mut Launcher, pass: &Pass<'_>, rows: usize) -> Result<(), Error> {
    let (space, vocabulary) = (pass.space, pass.architecture.vocab_size);
    let sample = SampleRows {
        logits: space.logits.address(),
        stride: vocabulary,
        vocabulary,
        rows,
        draws: space.draws.address(),
        masks: Address::NULL,
        penalties: Address::NULL,
        candidates: 0,
        tokens: space.chosen.address(),
        samples: space.samples.address(),
        best: Address::NULL,
    };
    // SAFETY: see Safety in `cuda`.
    unsafe { launcher.kernels.sample(&launcher.stream, &sample) }
}

/// The choice of the likeliest token.
pub(super) fn likeliest() -> Draw {
    Draw {
        top_p: 1.0,
        mask: -1,
        ..Draw::default()
    }
}
