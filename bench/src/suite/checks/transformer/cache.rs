//! Keys and values of ragged sequences in pages, in a random order, and a batch of rows behind them.

use anyhow::Result;
use liquid_cuda::device::{Buffer, Precision};
use liquid_cuda::transformer::{BatchLimits, BatchPlan, BatchSequence, BatchTables, Heads, KvLayer, PAGE};

use super::{POISON, fp8};
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
    /// Keys and values of every sequence, `[tokens, kv_heads, width]`, as they lie in the pages.
    pub(super) keys: Vec<Vec<f32>>,
    pub(super) values: Vec<Vec<f32>>,
    /// The same before they became FP8; where they did not, the same.
    pub(super) exact_keys: Vec<Vec<f32>>,
    pub(super) exact_values: Vec<Vec<f32>>,
    /// Queries of every sequence's rows, `[rows, query_heads, width]`.
    pub(super) queries: Vec<Vec<f32>>,
    pub(super) key_pages: Buffer,
    pub(super) value_pages: Buffer,
    pub(super) precision: Precision,
    /// Scales of keys and values, of FP8.
    pub(super) scales: Option<[Buffer; 2]>,
    pub(super) pool: usize,
}

/// Pages of keys or of values on the device.
struct Filled {
    pages: Buffer,
    scales: Option<Buffer>,
    /// The numbers that lie there, `[tokens, kv_heads, width]` of every sequence.
    numbers: Vec<Vec<f32>>,
}

/// Numbers of sequences and where they go.
struct Filling<'a> {
    heads: Heads,
    numbers: &'a [Vec<f32>],
    pages: &'a [Vec<u32>],
    pool: usize,
    empty: bool,
}

impl Filling<'_> {
    /// Every head of every token: sequence, place in its numbers, place among those of the pages.
    fn places(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let Heads { kv, width, .. } = self.heads;
        let sequences = self.numbers.iter().zip(self.pages).enumerate();
        let filled = sequences.filter(|_| !self.empty);
        filled.flat_map(move |(sequence, (numbers, pages))| {
            (0..numbers.len() / width).map(move |number| {
                let (token, head) = (number / kv, number % kv);
                let page = pages[token / PAGE] as usize;
                (sequence, number, (page * kv + head) * PAGE + token % PAGE)
            })
        })
    }

    fn write(&self, gpu: &Gpu, precision: Precision) -> Result<Filled> {
        match precision {
            Precision::Bf16 => self.bf16(gpu),
            Precision::Fp8 => self.fp8(gpu),
        }
    }

    fn bf16(&self, gpu: &Gpu) -> Result<Filled> {
        let Heads { kv, width, .. } = self.heads;
        let mut all = vec![POISON; self.pool * PAGE * kv * width];
        for (sequence, number, at) in self.places() {
            let numbers = &self.numbers[sequence][number * width..][..width];
            for (to, x) in all[at * width..].iter_mut().zip(numbers) {
                *to = (x.to_bits() >> 16) as u16;
            }
        }
        Ok(Filled {
            pages: gpu.upload(&all)?,
            scales: None,
            numbers: self.numbers.to_vec(),
        })
    }

    fn fp8(&self, gpu: &Gpu) -> Result<Filled> {
        let Heads { kv, width, .. } = self.heads;
        let mut all = vec![0x7f_u8; self.pool * PAGE * kv * width];
        let mut scales = vec![f32::NAN; self.pool * PAGE * kv];
        let mut rounded = self.numbers.to_vec();
        for (sequence, number, at) in self.places() {
            let numbers = &mut rounded[sequence][number * width..][..width];
            let (codes, scale) = fp8::codes(numbers);
            for (x, code) in numbers.iter_mut().zip(&codes) {
                *x = fp8::number(*code) as f32 * scale;
            }
            all[at * width..][..width].copy_from_slice(&codes);
            scales[at] = scale;
        }
        Ok(Filled {
            pages: gpu.upload(&all)?,
            scales: Some(gpu.upload(&scales)?),
            numbers: rounded,
        })
    }
}

impl Cache {
    /// Pages in a random order. What no token lies in is no number, and so is everything if `empty`.
    pub(super) fn new(
        gpu: &Gpu,
        heads: Heads,
        places: &[Place],
        precision: Precision,
        empty: bool,
    ) -> Result<Self> {
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
        let fill = |numbers: &[Vec<f32>]| {
            let filling = Filling {
                heads,
                numbers,
                pages: &pages,
                pool,
                empty,
            };
            filling.write(gpu, precision)
        };
        let (filled_keys, filled_values) = (fill(&keys)?, fill(&values)?);
        Ok(Self {
            heads,
            places: places.to_vec(),
            keys: filled_keys.numbers,
            values: filled_values.numbers,
            exact_keys: keys,
            exact_values: values,
            queries,
            key_pages: filled_keys.pages,
            value_pages: filled_values.pages,
            precision,
            scales: filled_keys
                .scales
                .zip(filled_values.scales)
                .map(<[Buffer; 2]>::from),
            pages,
            pool,
        })
    }

    pub(super) fn layer(&self) -> KvLayer {
        let layer = KvLayer::bf16(self.key_pages.address(), self.value_pages.address(), self.pool);
        match &self.scales {
            None => layer,
            Some([keys, values]) => KvLayer {
                precision: self.precision,
                key_scales: keys.address(),
                value_scales: values.address(),
                ..layer
            },
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
