//! Launches that go over rows, and sampling.

use anyhow::Result;
use liquid_cuda::Rows;
use liquid_cuda::device::Address;
use liquid_cuda::transformer::{
    BatchLimits, BatchPlan, BatchSequence, Candidate, Draw, KvLayer, NormedRows, PAGE, Quantise,
    QuantisedRows, RmsNorm, Rotary, Sample, SampleRows, SwiGlu,
};

use super::SIZES;
use crate::suite::gpu::Gpu;
use crate::suite::speed::clock::Clock;

/// Prints them for one row and for a prefill's.
pub(super) fn print(clock: &mut Clock) -> Result<()> {
    for rows in [1, 64, 8192] {
        println!("rows: {rows} (ms, TB/s read and written):");
        print_norms(clock, rows)?;
        print_activations(clock, rows)?;
        print_rotary(clock, rows)?;
    }
    print_sampling(clock)
}

fn print_rate(
    clock: &mut Clock,
    name: &str,
    bytes: usize,
    call: impl FnMut(&mut Gpu) -> Result<()>,
) -> Result<()> {
    let ms = clock.time(call)?;
    println!("  {name:36} {ms:>9.4} ms {:>6.2} TB/s", bytes as f64 / ms / 1e9);
    Ok(())
}

fn print_norms(clock: &mut Clock, rows: usize) -> Result<()> {
    let width = SIZES.width;
    let gpu = &clock.0;
    let (x, delta, weight) = (
        gpu.normals(rows * width, 1.0)?,
        gpu.normals(rows * width, 0.0)?,
        gpu.normals(width, 1.0)?,
    );
    let (to, scales) = (gpu.zeroed(2 * rows * width)?, gpu.zeroed(4 * rows)?);
    let at = |address: Address| Rows {
        address,
        stride: width,
    };
    let fp8 = QuantisedRows {
        codes: at(to.address()),
        scales: scales.address(),
    };
    for (name, added, to, bytes) in [
        ("norm", false, NormedRows::Bf16(at(to.address())), 4),
        ("norm, added", true, NormedRows::Bf16(at(to.address())), 8),
        ("norm to FP8", false, NormedRows::Fp8(fp8), 3),
    ] {
        let norm = RmsNorm {
            x: at(x.address()),
            delta: if added { at(delta.address()) } else { Rows::NONE },
            weight: weight.address(),
            zero_centred: false,
            epsilon: 1e-5,
            rows,
            width,
            to,
            early: false,
        };
        // SAFETY: the buffers have these extents and live until the clock has waited for the stream.
        print_rate(clock, name, bytes * rows * width, |gpu| {
            Ok(unsafe { gpu.transformer.rms_norm(&gpu.stream, &norm) }?)
        })?;
    }
    let quantise = Quantise {
        x: at(x.address()),
        rows,
        width,
        to: fp8,
        early: false,
    };
    // SAFETY: as above.
    print_rate(clock, "rows to FP8", 3 * rows * width, |gpu| {
        Ok(unsafe { gpu.transformer.quantise_rows(&gpu.stream, &quantise) }?)
    })
}

fn print_activations(clock: &mut Clock, rows: usize) -> Result<()> {
    let width = SIZES.ffn;
    let gpu = &clock.0;
    let (gate_up, to, scales) = (
        gpu.normals(2 * rows * width, 1.0)?,
        gpu.zeroed(2 * rows * width)?,
        gpu.zeroed(4 * rows)?,
    );
    let at = Rows {
        address: to.address(),
        stride: width,
    };
    for (name, to, bytes) in [
        ("SwiGLU", NormedRows::Bf16(at), 6),
        (
            "SwiGLU to FP8",
            NormedRows::Fp8(QuantisedRows {
                codes: at,
                scales: scales.address(),
            }),
            5,
        ),
    ] {
        let swiglu = SwiGlu {
            gate_up: Rows {
                address: gate_up.address(),
                stride: 2 * width,
            },
            rows,
            width,
            to,
            early: false,
        };
        // SAFETY: as in `print_norms`.
        print_rate(clock, name, bytes * rows * width, |gpu| {
            Ok(unsafe { gpu.transformer.swiglu(&gpu.stream, &swiglu) }?)
        })?;
    }
    Ok(())
}

fn print_rotary(clock: &mut Clock, rows: usize) -> Result<()> {
    let (heads, stride) = (SIZES.heads(), SIZES.qkv());
    let pages: Vec<u32> = (0..rows.div_ceil(PAGE) as u32).collect();
    let pool = pages.len();
    let limits = BatchLimits {
        rows,
        sequences: 1,
        pages: pool,
        pool,
        decode_rows: 1,
    };
    let gpu = &clock.0;
    let memory = gpu.context.allocate(limits.bytes())?;
    let sequence = BatchSequence {
        rows,
        position: 0,
        pages: &pages,
    };
    let tables = BatchPlan::new(&limits, &[sequence])?.write(&gpu.stream, &memory)?;
    let cached = 2 * pool * PAGE * heads.kv * heads.width;
    let (keys, values) = (gpu.zeroed(cached)?, gpu.zeroed(cached)?);
    let (qkv, angles) = (
        gpu.normals(rows * stride, 1.0)?,
        gpu.normals(rows * heads.width, 1.0)?,
    );
    let qkv = Rows {
        address: qkv.address(),
        stride,
    };
    let rotary = Rotary {
        queries: qkv,
        query_pitch: heads.width,
        keys: qkv.columns_from(heads.query * heads.width),
        values: qkv.columns_from((heads.query + heads.kv) * heads.width),
        to: qkv,
        rows,
        heads,
        rotated: heads.width,
        cosines: angles.address(),
        sines: angles.address(),
        query_norm: Address::NULL,
        key_norm: Address::NULL,
        zero_centred: false,
        epsilon: 1e-6,
        cache: KvLayer::bf16(keys.address(), values.address(), pool),
        early: false,
    };
    // SAFETY: as in `print_norms`; there are as many angles as rows have.
    print_rate(clock, "rotary and pages", 4 * rows * stride, |gpu| {
        Ok(unsafe { gpu.transformer.rotate_and_write(&gpu.stream, &rotary, &tables) }?)
    })
}

fn print_sampling(clock: &mut Clock) -> Result<()> {
    println!("sampling (ms):");
    for (vocabulary, rows) in [(32_768, 1), (32_768, 64), (151_936, 1), (151_936, 64)] {
        let gpu = &clock.0;
        let numbers = super::super::super::random::Random::new(2).normals(rows * vocabulary);
        let logits = gpu.upload(&numbers)?;
        let (tokens, samples) = (gpu.zeroed(4 * rows)?, gpu.zeroed(size_of::<Sample>() * rows)?);
        let best = gpu.zeroed(20 * size_of::<Candidate>() * rows)?;
        let greedy = Draw {
            top_p: 1.0,
            mask: -1,
            ..Draw::default()
        };
        let drawn = Draw {
            temperature: 0.8,
            ..greedy
        };
        let nucleus = Draw {
            top_p: 0.9,
            top_k: 50,
            ..drawn
        };
        for (name, draw, candidates) in [
            ("largest", greedy, 0),
            ("drawn", drawn, 0),
            ("top_k, top_p", nucleus, 0),
            ("largest, 20 candidates", greedy, 20),
        ] {
            let draws = clock.0.upload(&vec![draw; rows])?;
            let launch = SampleRows {
                logits: logits.address(),
                stride: vocabulary,
                vocabulary,
                rows,
                draws: draws.address(),
                masks: Address::NULL,
                penalties: Address::NULL,
                candidates,
                tokens: tokens.address(),
                samples: samples.address(),
                best: best.address(),
            };
            // SAFETY: as in `print_norms`.
            let ms = clock.time(|gpu| Ok(unsafe { gpu.transformer.sample(&gpu.stream, &launch) }?))?;
            println!("  {:36} {ms:>9.4} ms", format!("{rows} of {vocabulary}, {name}"));
        }
    }
    Ok(())
}
