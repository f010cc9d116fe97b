//! A pass: which rows go to the device, and what comes back.

use liquid_cuda::Error;
use liquid_cuda::transformer::{BatchPlan, BatchSequence, Draw, Sample};

use super::graphs::{self, Caches, Graphs, Parts, Tables};
use super::layers::{Launcher, Pass};
use super::space::Space;
use crate::model::{Logits, Segment, Wanted};
use crate::ops::Piece;
use crate::ops::cuda::{CudaPages, CudaStates};

/// Numbers of rows of which those of a larger pass are a multiple, so that few shapes of products need a plan.
const ROWS: usize = 64;

/// A row whose logits, or token, are wanted.
#[derive(Clone, Copy)]
struct WantedRow {
    segment: usize,
    row: usize,
    draw: Option<Draw>,
}

/// What a segment gets back.
#[derive(Clone, Default)]
struct Outcome {
    values: Vec<f32>,
    token: Option<u32>,
}

/// What runs a pass over a cache.
pub(super) struct Runnable<'a> {
    pub(super) launcher: &'a mut Launcher,
    pub(super) parts: Parts<'a>,
    pub(super) graphs: Option<&'a Graphs>,
    pub(super) pages: &'a CudaPages,
    /// Of a hybrid.
    pub(super) states: Option<&'a mut CudaStates>,
}

impl Runnable<'_> {
    /// Reads the rows of all segments, whose sequences have the pages for them.
    pub(super) fn run(&mut self, segments: &[Segment<'_>]) -> Result<Vec<Logits>, Error> {
        let pieces = segments
            .iter()
            .map(|segment| segment.sequence.piece(segment.tokens.len()));
        let pieces: Vec<Piece<'_>> = pieces.collect();
        let mut tokens: Vec<u32> = segments
            .iter()
            .flat_map(|segment| segment.tokens)
            .copied()
            .collect();
        let single = tokens.len() == segments.len() && tokens.len() <= graphs::MOST_ROWS;
        let wanted = wanted(segments, single);
        let place = self.pages.place();
        let graph = match single {
            true => self.graphs.and_then(|graphs| graphs.get(&place, tokens.len())),
            false => None,
        };
        let rows = match graph {
            Some((rows, _)) => *rows,
            None if tokens.len() <= liquid_cuda::transformer::SKINNY_ROWS => tokens.len(),
            None => tokens.len().next_multiple_of(ROWS),
        };
        tokens.resize(rows, 0);
        let stream = self.launcher.stream.clone();
        stream.write(&self.parts.space.tokens, &tokens)?;
        let tables = self.plan(&pieces, rows)?;
        let pass = self.parts.pass(&place, &tables, rows);
        let mut outcomes = vec![Outcome::default(); segments.len()];
        match graph {
            Some((_, graph)) => {
                self.write_draws(&wanted)?;
                // SAFETY: model, space and cache, whose addresses were captured, are borrowed, and the pass ends by waiting.
                unsafe { graph.launch()? };
                self.read(&pass, &wanted, &mut outcomes)?;
            }
            None => self.run_eagerly(&pass, &wanted, &mut outcomes)?,
        }
        stream.synchronize()?;
        let vocab_size = self.parts.architecture.vocab_size;
        let outcomes = outcomes.into_iter().map(|outcome| match outcome.token {
            Some(token) => Logits::of_token(token, vocab_size),
            None => Logits::of_rows(outcome.values, vocab_size),
        });
        Ok(outcomes.collect())
    }

    /// Writes the tables of a pass over so many rows, those that pad included.
    fn plan(&mut self, pieces: &[Piece<'_>], rows: usize) -> Result<Tables, Error> {
        let sequences = pieces.iter().map(|piece| BatchSequence {
            rows: piece.rows,
            position: piece.first,
            pages: piece.pages,
        });
        let sequences: Vec<BatchSequence<'_>> = sequences.collect();
        let plan = BatchPlan::new(&self.pages.limits(rows), &sequences)?;
        let states = self.states.as_deref_mut();
        let recurrence = states.map(|states| states.plan(pieces, rows));
        Ok(Tables {
            pages: plan.write(&self.launcher.stream, self.pages.tables())?,
            recurrence: recurrence.transpose()?,
        })
    }

    fn run_eagerly(
        &mut self,
        pass: &Pass<'_>,
        wanted: &[WantedRow],
        outcomes: &mut [Outcome],
    ) -> Result<(), Error> {
        self.launcher.layers(pass)?;
        for wanted in wanted.chunks(pass.space.capacity.wanted) {
            let numbers: Vec<u32> = wanted.iter().map(|wanted| wanted.row as u32).collect();
            self.launcher.stream.write(&pass.space.wanted, &numbers)?;
            self.launcher.logits_of(pass, wanted.len())?;
            if wanted.iter().any(|wanted| wanted.draw.is_some()) {
                self.write_draws(wanted)?;
                graphs::choose(self.launcher, pass, wanted.len())?;
            }
            self.read(pass, wanted, outcomes)?;
        }
        Ok(())
    }

    fn write_draws(&self, wanted: &[WantedRow]) -> Result<(), Error> {
        let draws = wanted
            .iter()
            .map(|wanted| wanted.draw.unwrap_or_else(graphs::likeliest));
        let draws: Vec<Draw> = draws.collect();
        self.launcher.stream.write(&self.parts.space.draws, &draws)
    }

    /// Reads tokens and logits of wanted rows, which lie in their order. Those whose logits are wanted come first.
    fn read(&self, pass: &Pass<'_>, wanted: &[WantedRow], outcomes: &mut [Outcome]) -> Result<(), Error> {
        let (stream, space) = (&self.launcher.stream, pass.space);
        let vocab_size = pass.architecture.vocab_size;
        let whole = wanted.iter().rposition(|wanted| wanted.draw.is_none());
        let logits: Vec<f32> = match whole {
            Some(last) => stream.read(&space.logits, (last + 1) * vocab_size)?,
            None => Vec::new(),
        };
        let samples: Vec<Sample> = match wanted.iter().any(|wanted| wanted.draw.is_some()) {
            true => stream.read(&space.samples, wanted.len())?,
            false => Vec::new(),
        };
        for (index, row) in wanted.iter().enumerate() {
            let Some(outcome) = outcomes.get_mut(row.segment) else {
                continue;
            };
            match row.draw {
                Some(_) => outcome.token = samples.get(index).map(|sample| sample.token),
                None => {
                    let values = logits.get(index * vocab_size..(index + 1) * vocab_size);
                    outcome.values.extend_from_slice(values.unwrap_or_default());
                }
            }
        }
        Ok(())
    }
}

/// Returns the rows whose logits or tokens are wanted; of a step of single tokens every row, in order.
fn wanted(segments: &[Segment<'_>], single: bool) -> Vec<WantedRow> {
    let mut wanted = Vec::new();
    let mut end = 0;
    for (index, segment) in segments.iter().enumerate() {
        end += segment.tokens.len();
        let rows = segment.wanted.rows(segment.tokens.len());
        let draw = match segment.wanted {
            Wanted::Token(draw) => Some(device_draw(draw)),
            // Nothing is read of it.
            Wanted::Nothing if single => Some(graphs::likeliest()),
            Wanted::Nothing | Wanted::Last | Wanted::All => None,
        };
        let rows = if single { 1 } else { rows };
        wanted.extend((end - rows..end).map(|row| WantedRow {
            segment: index,
            row,
            draw,
        }));
    }
    if !single {
        wanted.sort_by_key(|wanted| wanted.draw.is_some());
    }
    wanted
}

fn device_draw(draw: crate::sample::Draw) -> Draw {
    Draw {
        temperature: draw.temperature,
        top_p: draw.top_p,
        min_p: draw.min_p,
        top_k: draw.top_k.map_or(0, |count| count.min(u32::MAX as usize) as u32),
        seed_low: draw.seed as u32,
        seed_high: (draw.seed >> 32) as u32,
        counter: draw.counter,
        ..graphs::likeliest()
    }
}

/// Runs one pass of every kind once over a cache that no sequence uses, so that all kernels are compiled.
pub(super) fn warm_up(launcher: &mut Launcher, parts: Parts<'_>, caches: Caches<'_>) -> Result<(), Error> {
    let Caches { pages, states } = caches;
    let place = pages.place();
    let space: &Space = parts.space;
    for rows in [1, liquid_cuda::transformer::SKINNY_ROWS, ROWS] {
        if rows > space.capacity.rows {
            break;
        }
        let tables = graphs::rest(launcher, space, caches, rows)?;
        graphs::step(launcher, &parts.pass(&place, &tables, rows))?;
    }
    if space.capacity.rows >= ROWS {
        graphs::rest(launcher, space, caches, ROWS)?;
        let prompt = BatchSequence {
            rows: ROWS,
            position: 0,
            pages: &[0],
        };
        let plan = BatchPlan::new(&pages.limits(ROWS), &[prompt])?;
        let recurrence = states.map(|states| states.forgotten(ROWS));
        let tables = Tables {
            pages: plan.write(&launcher.stream, pages.tables())?,
            recurrence: recurrence.transpose()?,
        };
        let pass = parts.pass(&place, &tables, ROWS);
        launcher.layers(&pass)?;
        launcher.stream.write(&space.wanted, &[0_u32])?;
        launcher.logits_of(&pass, 1)?;
    }
    launcher.stream.synchronize()
}
