//! Attention over pages: ragged sequences, windows, groups of heads, splits that meet and splits that do not.

use anyhow::Result;
use liquid_cuda::device::Precision;
use liquid_cuda::transformer::{Attention, DECODE_ROWS, Heads, decode_workspace_bytes};

use super::cache::{Cache, Place};
use super::rows::rows_of;
use crate::suite::checks::Report;
use crate::suite::checks::recurrence::relative_error;
use crate::suite::gpu::Gpu;

/// Largest relative error: the weights of the keys are rounded to bf16, and so is the result.
const LIMIT: f64 = 5e-3;

/// Largest relative error that rounding keys and values to FP8 adds: half a step of three bits of each, which mostly
/// cancel.
const FP8_LIMIT: f64 = 0.06;

/// Most rows of a sequence for which the reference is computed.
const SOME_ROWS: usize = 5;

/// Checks prefill and decode for all widths of heads.
pub(super) fn check(gpu: &mut Gpu, report: &mut Report) -> Result<()> {
    let few = [
        (1, 0),
        (1, 63),
        (1, 64),
        (2, 255),
        (1, 256),
        (8, 1000),
        (3, 511),
        (1, 3000),
        (5, 0),
    ];
    let many = [
        (9, 0),
        (63, 0),
        (64, 64),
        (65, 1),
        (130, 127),
        (300, 1000),
        (128, 0),
        (700, 33),
    ];
    let places = |of: &[(usize, usize)]| {
        of.iter()
            .map(|&(rows, position)| Place { rows, position })
            .collect::<Vec<_>>()
    };
    for (query, kv, width, precision) in [
        (8, 2, 128, Precision::Bf16),
        (4, 4, 64, Precision::Bf16),
        (14, 2, 64, Precision::Bf16),
        (4, 2, 256, Precision::Bf16),
        (8, 1, 128, Precision::Bf16),
        (28, 4, 128, Precision::Bf16),
        (8, 2, 128, Precision::Fp8),
        (14, 2, 64, Precision::Fp8),
        (4, 2, 256, Precision::Fp8),
    ] {
        let heads = Heads { query, kv, width };
        let decode = Cache::new(gpu, heads, &places(&few), precision, false)?;
        let prefill = Cache::new(gpu, heads, &places(&many), precision, false)?;
        for window in [None, Some(1), Some(70), Some(300)] {
            attend(gpu, report, &decode, window, Way::Decode)?;
            attend(gpu, report, &prefill, window, Way::Prefill)?;
        }
        alone(gpu, report, &decode)?;
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Prefill,
    Decode,
}

/// What a launch gave for sequences of a cache, `[rows, query_heads, width]` each.
fn run(
    gpu: &mut Gpu,
    cache: &Cache,
    numbers: &[usize],
    window: Option<usize>,
    way: Way,
) -> Result<Vec<Vec<f32>>> {
    let Heads { query, width, .. } = cache.heads;
    let row = query * width;
    let limits = cache.limits(if way == Way::Decode { DECODE_ROWS } else { 1 });
    let (tables, _memory) = cache.tables(gpu, &limits, numbers)?;
    // Between rows of queries lies what a packed product has there.
    let stride = row + 64;
    let mut queries = Vec::new();
    for number in numbers {
        for numbers in cache.queries[*number].chunks(row) {
            queries.extend_from_slice(numbers);
            queries.extend([f32::NAN; 64]);
        }
    }
    let from = gpu.upload_bf16(&queries)?;
    let rows = queries.len() / stride;
    let to = gpu.upload(&vec![super::POISON; (rows + 1) * row])?;
    let workspace = gpu.zeroed(decode_workspace_bytes(&limits, cache.heads))?;
    let attention = Attention {
        queries: rows_of(&from, stride),
        heads: cache.heads,
        cache: cache.layer(),
        scale: (width as f32).sqrt().recip(),
        window,
        to: rows_of(&to, row),
        early: false,
    };
    // SAFETY: the buffers have these extents and live until the result was read; the work space was zeros, and
    // leaves its counters so.
    unsafe {
        match way {
            Way::Prefill => gpu.transformer.attend_prefill(&gpu.stream, &attention, &tables)?,
            Way::Decode => {
                for _ in 0..2 {
                    gpu.transformer
                        .attend_decode(&gpu.stream, &attention, &tables, workspace.address())?;
                }
            }
        }
    }
    let all = gpu.read_bf16(&to, (rows + 1) * row)?;
    anyhow::ensure!(
        all[rows * row..].iter().all(|x| x.is_nan()),
        "a row behind the last was written"
    );
    let mut outputs = Vec::new();
    let mut first = 0;
    for number in numbers {
        let end = first + cache.places[*number].rows * row;
        outputs.push(all[first..end].to_vec());
        first = end;
    }
    Ok(outputs)
}

/// A row of a head of queries.
#[derive(Clone, Copy)]
struct Asked {
    number: usize,
    row: usize,
    head: usize,
    window: Option<usize>,
}

/// Attention of one row of one head in f64, to keys and values as they lie in the pages, or before they became FP8.
fn reference(cache: &Cache, asked: Asked, exact: bool) -> Vec<f64> {
    let Asked {
        number,
        row,
        head,
        window,
    } = asked;
    let (keys, values) = match exact {
        true => (&cache.exact_keys, &cache.exact_values),
        false => (&cache.keys, &cache.values),
    };
    let Heads { query, kv, width } = cache.heads;
    let queries = &cache.queries[number][(row * query + head) * width..][..width];
    let last = cache.places[number].position + row;
    let first = window.map_or(0, |window| (last + 1).saturating_sub(window));
    let of = |numbers: &[f32], token: usize| {
        let at = (token * kv + head / (query / kv)) * width;
        numbers[at..at + width]
            .iter()
            .map(|x| f64::from(*x))
            .collect::<Vec<_>>()
    };
    let products: Vec<f64> = (first..=last)
        .map(|token| {
            let key = of(&keys[number], token);
            queries
                .iter()
                .zip(key)
                .map(|(q, k)| f64::from(*q) * k)
                .sum::<f64>()
                / (width as f64).sqrt()
        })
        .collect();
    let largest = products.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = products.iter().map(|product| (product - largest).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut output = vec![0.0; width];
    for (token, weight) in (first..=last).zip(weights) {
        let value = of(&values[number], token);
        output
            .iter_mut()
            .zip(value)
            .for_each(|(to, value)| *to += weight / total * value);
    }
    output
}

fn attend(gpu: &mut Gpu, report: &mut Report, cache: &Cache, window: Option<usize>, way: Way) -> Result<()> {
    let Heads { query, kv, width } = cache.heads;
    let numbers: Vec<usize> = (0..cache.places.len()).collect();
    let outputs = run(gpu, cache, &numbers, window, way)?;
    let (mut ours, mut wanted_all, mut exact) = (Vec::new(), Vec::new(), Vec::new());
    let mut worst = 0.0_f64;
    for (number, place) in cache.places.iter().enumerate() {
        let step = place.rows.div_ceil(SOME_ROWS);
        for row in (0..place.rows).step_by(step).chain([place.rows - 1]) {
            for head in [0, query / kv - 1, query / 2, query - 1] {
                let asked = Asked {
                    number,
                    row,
                    head,
                    window,
                };
                let wanted = reference(cache, asked, false);
                let given = &outputs[number][(row * query + head) * width..][..width];
                worst = worst.max(relative_error(given, &wanted));
                ours.extend_from_slice(given);
                wanted_all.extend(wanted);
                if cache.precision == Precision::Fp8 {
                    exact.extend(reference(cache, asked, true));
                }
            }
        }
    }
    let window = window.map_or_else(String::new, |window| format!(", window {window}"));
    let name = format!(
        "{way:?}, {query} heads on {kv} of {width}, {:?}{window}",
        cache.precision
    );
    report.add(&name, relative_error(&ours, &wanted_all), LIMIT);
    if cache.precision == Precision::Fp8 {
        let limit = FP8_LIMIT + LIMIT;
        report.add(
            &format!("{name}, with the error of rounding"),
            relative_error(&ours, &exact),
            limit,
        );
    }
    report.add(&format!("{name}, worst row"), worst, 2.0 * LIMIT);
    Ok(())
}

/// Checks that a row has the same bits alone and in a batch.
fn alone(gpu: &mut Gpu, report: &mut Report, cache: &Cache) -> Result<()> {
    let numbers: Vec<usize> = (0..cache.places.len()).rev().collect();
    let together = run(gpu, cache, &numbers, None, Way::Decode)?;
    for number in [0, 5, 7] {
        let single = run(gpu, cache, &[number], None, Way::Decode)?;
        let place = cache.places[number];
        let same = single[0] == together[cache.places.len() - 1 - number];
        report.holds(
            &format!(
                "decode, {:?}: {} rows at {} alone and in a batch",
                cache.heads, place.rows, place.position
            ),
            same,
        );
    }
    Ok(())
}
