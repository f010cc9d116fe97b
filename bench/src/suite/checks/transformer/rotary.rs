//! Norms of queries and keys, rotation, and the writing into pages.

use anyhow::Result;
use liquid_cuda::Rows;
use liquid_cuda::device::Precision;
use liquid_cuda::transformer::{Heads, PAGE, Rotary};

use super::cache::{Cache, Place};
use super::rows::{NONE, rows_of};
use super::{ROUNDED, fp8};
use crate::suite::checks::Report;
use crate::suite::checks::recurrence::relative_error;
use crate::suite::gpu::Gpu;
use crate::suite::random::Random;

const EPSILON: f32 = 1e-6;
const POSITIONS: usize = 400;
/// Largest relative error of FP8: half a step of its four bits.
const HALF_A_STEP: f64 = 0.0625;

/// Checks whole and partial rotation, with norms and without.
pub(super) fn check(gpu: &mut Gpu, report: &mut Report) -> Result<()> {
    let places = [(1, 0), (3, 62), (65, 300), (64, 64)].map(|(rows, position)| Place { rows, position });
    for (width, rotated, normed) in [
        (64, 64, false),
        (128, 128, true),
        (128, 128, false),
        (256, 64, true),
    ] {
        let heads = Heads {
            query: 6,
            kv: 2,
            width,
        };
        let cache = Cache::new(gpu, heads, &places, Precision::Bf16, true)?;
        rotate(gpu, report, &cache, rotated, normed)?;
        let cache = Cache::new(gpu, heads, &places, Precision::Fp8, true)?;
        rotate_to_fp8(gpu, report, &cache, rotated, normed)?;
    }
    Ok(())
}

/// A head's numbers after norm and rotation.
fn turned(head: &[f32], norm: Option<&[f32]>, angles: &[(f32, f32)]) -> Vec<f64> {
    let mut x: Vec<f64> = head.iter().map(|x| f64::from(*x)).collect();
    if let Some(weights) = norm {
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        let root = (mean + f64::from(EPSILON)).sqrt();
        x.iter_mut()
            .zip(weights)
            .for_each(|(x, w)| *x = *x / root * (1.0 + f64::from(*w)));
    }
    let half = angles.len();
    for (i, (cosine, sine)) in angles.iter().enumerate() {
        let (a, b, cosine, sine) = (x[i], x[i + half], f64::from(*cosine), f64::from(*sine));
        (x[i], x[i + half]) = (a * cosine - b * sine, b * cosine + a * sine);
    }
    x
}

/// Queries, keys and values of all rows and of two that pad, and what turns them.
struct Inputs {
    rotated: usize,
    normed: bool,
    stride: usize,
    numbers: Vec<f32>,
    norms: [Vec<f32>; 2],
    angles: Vec<(f32, f32)>,
}

impl Inputs {
    fn new(cache: &Cache, rotated: usize, normed: bool) -> Self {
        let Heads { query, kv, width } = cache.heads;
        let stride = (query + 2 * kv) * width;
        let mut random = Random::new(31);
        let angle = |i: usize| {
            let (position, pair) = (i / (rotated / 2), i % (rotated / 2));
            let angle = position as f64 * 1e4_f64.powf(-2.0 * pair as f64 / rotated as f64);
            (angle.cos() as f32, angle.sin() as f32)
        };
        Self {
            rotated,
            normed,
            stride,
            numbers: random.normals((cache.rows() + 2) * stride),
            norms: [random.normals(width), random.normals(width)],
            angles: (0..POSITIONS * rotated / 2).map(angle).collect(),
        }
    }

    /// A head of a row as it should be, of queries (`which` 0) or keys (1).
    fn turned(&self, head: &[f32], which: usize, position: usize) -> Vec<f64> {
        let half = self.rotated / 2;
        let norm = self.normed.then_some(self.norms[which].as_slice());
        turned(head, norm, &self.angles[position * half..][..half])
    }

    /// The rows of queries, keys and values after the launch, which writes the queries in their place.
    fn run(&self, gpu: &mut Gpu, cache: &Cache) -> Result<Vec<f32>> {
        let Heads { query, kv, width } = cache.heads;
        let qkv = gpu.upload_bf16(&self.numbers)?;
        let cosines = gpu.upload(&self.angles.iter().map(|angle| angle.0).collect::<Vec<_>>())?;
        let sines = gpu.upload(&self.angles.iter().map(|angle| angle.1).collect::<Vec<_>>())?;
        let weights = [gpu.upload_bf16(&self.norms[0])?, gpu.upload_bf16(&self.norms[1])?];
        let sequences: Vec<usize> = (0..cache.places.len()).collect();
        let (tables, _memory) = cache.tables(gpu, &cache.limits(1), &sequences)?;
        let whole: Rows = rows_of(&qkv, self.stride);
        let norm = |which: usize| {
            if self.normed {
                weights[which].address()
            } else {
                NONE
            }
        };
        let rotary = Rotary {
            queries: whole,
            query_pitch: width,
            keys: whole.columns_from(query * width),
            values: whole.columns_from((query + kv) * width),
            to: whole,
            rows: cache.rows() + 2,
            heads: cache.heads,
            rotated: self.rotated,
            cosines: cosines.address(),
            sines: sines.address(),
            query_norm: norm(0),
            key_norm: norm(1),
            zero_centred: true,
            epsilon: EPSILON,
            cache: cache.layer(),
            early: false,
        };
        // SAFETY: the buffers have these extents and live until the results were read.
        unsafe { gpu.transformer.rotate_and_write(&gpu.stream, &rotary, &tables)? };
        gpu.read_bf16(&qkv, cache.rows() * self.stride)
    }
}

fn rotate(gpu: &mut Gpu, report: &mut Report, cache: &Cache, rotated: usize, normed: bool) -> Result<()> {
    let Heads { query, kv, width } = cache.heads;
    let inputs = Inputs::new(cache, rotated, normed);
    let given = inputs.run(gpu, cache)?;
    let size = cache.pool * PAGE * kv * width;
    let pages = [
        gpu.read_bf16(&cache.key_pages, size)?,
        gpu.read_bf16(&cache.value_pages, size)?,
    ];
    let (mut ours, mut exact, mut values) = (Vec::new(), Vec::new(), true);
    let mut row = 0;
    for (place, table) in cache.places.iter().zip(&cache.pages) {
        for position in place.position..place.tokens() {
            let from = &inputs.numbers[row * inputs.stride..][..inputs.stride];
            for head in 0..query {
                exact.extend(inputs.turned(&from[head * width..][..width], 0, position));
                ours.extend(&given[row * inputs.stride + head * width..][..width]);
            }
            for head in 0..kv {
                let at = ((table[position / PAGE] as usize * kv + head) * PAGE + position % PAGE) * width;
                exact.extend(inputs.turned(&from[(query + head) * width..][..width], 1, position));
                ours.extend(&pages[0][at..][..width]);
                values &= pages[1][at..][..width] == from[(query + kv + head) * width..][..width];
            }
            row += 1;
        }
    }
    let name = format!(
        "rotary, {rotated} of {width}{}",
        if normed { ", normed" } else { "" }
    );
    report.add(&name, relative_error(&ours, &exact), ROUNDED);
    report.holds(&format!("{name}, values as they came"), values);
    let written = |pages: &[f32]| pages.iter().filter(|x| !x.is_nan()).count();
    let good = pages
        .iter()
        .all(|pages| written(pages) == cache.rows() * kv * width);
    report.holds(&format!("{name}, nothing else written"), good);
    Ok(())
}

/// Keys and values that become FP8 in the pages: every head's scale is the least power of two for it, every code that of the
/// nearest number.
fn rotate_to_fp8(
    gpu: &mut Gpu,
    report: &mut Report,
    cache: &Cache,
    rotated: usize,
    normed: bool,
) -> Result<()> {
    let Heads { query, kv, width } = cache.heads;
    let inputs = Inputs::new(cache, rotated, normed);
    inputs.run(gpu, cache)?;
    let places = cache.pool * PAGE * kv;
    let mut given = Vec::new();
    for (pages, scales) in [&cache.key_pages, &cache.value_pages]
        .into_iter()
        .zip(cache.scales.iter().flatten())
    {
        let codes: Vec<u8> = gpu.stream.read(pages, places * width)?;
        let scales: Vec<f32> = gpu.stream.read(scales, places)?;
        given.push((codes, scales));
    }
    let (mut ours, mut exact, mut nearest, mut scaled) = (Vec::new(), Vec::new(), true, true);
    let mut row = 0;
    for (place, table) in cache.places.iter().zip(&cache.pages) {
        for position in place.position..place.tokens() {
            let from = &inputs.numbers[row * inputs.stride..][..inputs.stride];
            for (which, head) in [0, 1]
                .into_iter()
                .flat_map(|which| (0..kv).map(move |head| (which, head)))
            {
                let numbers = &from[(query + which * kv + head) * width..][..width];
                let wanted = match which {
                    0 => inputs.turned(numbers, 1, position),
                    _ => numbers.iter().map(|x| f64::from(*x)).collect(),
                };
                let at = (table[position / PAGE] as usize * kv + head) * PAGE + position % PAGE;
                let (codes, scales) = &given[which];
                let codes = &codes[at * width..][..width];
                let (own, scale) = fp8::codes(numbers);
                scaled &= scales[at].log2().fract() == 0.0 && (which == 0 || scales[at] == scale);
                nearest &= which == 0 || codes == own;
                ours.extend(codes.iter().map(|code| fp8::number(*code) as f32 * scales[at]));
                exact.extend(wanted);
            }
            row += 1;
        }
    }
    let name = format!(
        "rotary to FP8, {rotated} of {width}{}",
        if normed { ", normed" } else { "" }
    );
    report.add(&name, relative_error(&ours, &exact), HALF_A_STEP);
    report.holds(&format!("{name}, values as their nearest codes"), nearest);
    report.holds(&format!("{name}, scales are the least powers of two"), scaled);
    let written = |scales: &[f32]| scales.iter().filter(|scale| !scale.is_nan()).count();
    let good = given
        .iter()
        .all(|(_, scales)| written(scales) == cache.rows() * kv);
    report.holds(&format!("{name}, nothing else written"), good);
    Ok(())
}
