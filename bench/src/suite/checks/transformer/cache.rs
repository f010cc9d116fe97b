//! Keys and values of ragged sequences in pages, in a random order, and a batch of rows behind them.

use anyhow::Result;
use liquid_cuda::device::Buffer;
use liquid_cuda::transformer::{BatchLimits, BatchPlan, BatchSequence, BatchTables, Heads, KvLayer, PAGE};

use super::POISON;
use crate::suite::gpu::Gpu;
use crate::suite::random::Random;

/// Rows of a sequence, and the position of the first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) rows: usize,
    pub(super) position: usize,
}

impl Place {
    /// Keys that the last row sees.
    pub(super) fn tokens(self) -> usize {
        self.position + self.rows
    }
}

/// A layer's pages with the keys and values of sequences.
pub(super) struct Cache {
    pub(super) heads: Heads,
    pub(super) places: Vec<Place>,
    pub(super) pages: Vec<Vec<u32>>,
    /// Keys and values of every sequence, `[tokens, kv_heads, width]`.
    pub(super) keys: Vec<Vec<f32>>,
    pub(super) values: Vec<Vec<f32>>,
    /// Queries of every sequence's rows, `[rows, query_heads, width]`.
    pub(super) queries: Vec<Vec<f32>>,
    pub(super) key_pages: Buffer,
    pub(super) value_pages: Buffer,
    pub(super) pool: usize,
}

impl Cache {
    /// Pages in a random order. What no token lies in is no number, and so is everything if `empty`.
    pub(super) fn new(gpu: &Gpu, heads: Heads, places: &[Place], empty: bool) -> Result<Self> {
        let mut random = Random::new(places.len() as u64);
        let counts: Vec<usize> = places.iter().map(|place| place.tokens().div_ceil(PAGE)).collect();
        let pool = counts.iter().sum::<usize>() + 3;
        let mut free: Vec<u32> = (0..pool as u32).collect();
        let mut take = |count: usize| -> Vec<u32> {
            (0..count)
                .map(|_| free.swap_remove((random.uniform() * free.len() as f64) as usize))
                .collect()
        };
        let pages: Vec<Vec<u32>> = counts.into_iter().map(&mut take).collect();
        let row = heads.kv * heads.width;
        let mut random = Random::new(77);
        let mut numbers = || {
            places
                .iter()
                .map(|place| random.normals(place.tokens() * row))
                .collect::<Vec<_>>()
        };
        let (keys, values) = (numbers(), numbers());
        let row_of_queries = heads.query * heads.width;
        let queries = places
            .iter()
            .map(|place| random.normals(place.rows * row_of_queries))
            .collect();
        let fill = |of: &[Vec<f32>]| {
            let mut all = vec![POISON; pool * PAGE * row];
            for (sequence, pages) in of.iter().zip(&pages).filter(|_| !empty) {
                for (token, numbers) in sequence.chunks(row).enumerate() {
                    for (head, numbers) in numbers.chunks(heads.width).enumerate() {
                        let page = pages[token / PAGE] as usize;
                        let at = ((page * heads.kv + head) * PAGE + token % PAGE) * heads.width;
                        let bits = numbers.iter().map(|x| (x.to_bits() >> 16) as u16);
                        all[at..][..heads.width]
                            .iter_mut()
                            .zip(bits)
                            .for_each(|(to, bits)| *to = bits);
                    }
                }
            }
            gpu.upload(&all)
        };
        let (key_pages, value_pages) = (fill(&keys)?, fill(&values)?);
        Ok(Self {
            heads,
            places: places.to_vec(),
            pages,
            keys,
            values,
            queries,
            key_pages,
            value_pages,
            pool,
        })
    }

    pub(super) fn layer(&self) -> KvLayer {
        KvLayer {
            keys: self.key_pages.address(),
            values: self.value_pages.address(),
            pages: self.pool,
        }
    }

    /// Rows of all sequences.
    pub(super) fn rows(&self) -> usize {
        self.places.iter().map(|place| place.rows).sum()
    }

    /// Limits with room for the batch and two rows that pad.
    pub(super) fn limits(&self, decode_rows: usize) -> BatchLimits {
        BatchLimits {
            rows: self.rows() + 2,
            sequences: self.places.len() + 1,
            pages: self.pool,
            pool: self.pool,
            decode_rows,
        }
    }

    /// Tables of the sequences with these numbers, in device memory.
    pub(super) fn tables(
        &self,
        gpu: &Gpu,
        limits: &BatchLimits,
        numbers: &[usize],
    ) -> Result<(BatchTables, Buffer)> {
        let sequences: Vec<BatchSequence<'_>> = numbers
            .iter()
            .map(|number| BatchSequence {
                rows: self.places[*number].rows,
                position: self.places[*number].position,
                pages: &self.pages[*number],
            })
            .collect();
        let memory = gpu.context.allocate(limits.bytes())?;
        let tables = BatchPlan::new(limits, &sequences)?.write(&gpu.stream, &memory)?;
        Ok((tables, memory))
    }
}
