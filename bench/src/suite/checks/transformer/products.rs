//! Products of few rows, and those of cuBLASLt, with weights `[out, in]` of bf16 and FP8.

use anyhow::Result;
use liquid_cuda::device::{Address, Buffer, Element, LinearOperands, LinearShape, Precision};
use liquid_cuda::transformer::{Epilogue, SkinnyGemm};

use super::rows::{rows_of, silu};
use super::{ROUNDED, fp8};
use crate::suite::checks::Report;
use crate::suite::checks::recurrence::relative_error;
use crate::suite::gpu::Gpu;
use crate::suite::random::Random;

/// Rows and columns of the reference that are computed.
const SOME: usize = 37;

/// Checks products of one to a few hundred rows.
pub(super) fn check(gpu: &mut Gpu, report: &mut Report) -> Result<()> {
    for precision in [Precision::Bf16, Precision::Fp8] {
        for (depth, columns) in [(576, 1536), (4096, 64), (14_336, 96), (16, 32), (1_040, 4096)] {
            let weights = Weights::new(gpu, precision, depth, columns)?;
            for rows in [1, 2, 7, 8, 9, 16] {
                for epilogue in [Epilogue::Bf16, Epilogue::F32, Epilogue::Add, Epilogue::SwiGlu] {
                    skinny(gpu, report, &weights, rows, epilogue)?;
                }
            }
            for (rows, add, y) in [
                (1, false, Element::Bf16),
                (17, true, Element::Bf16),
                (300, false, Element::F32),
            ] {
                linear(gpu, report, &weights, LinearCase { rows, add, y })?;
            }
        }
    }
    Ok(())
}

/// Weights of a layer, on the device and as the numbers that they are there.
struct Weights {
    precision: Precision,
    depth: usize,
    columns: usize,
    numbers: Vec<f64>,
    codes: Buffer,
    scales: Option<Buffer>,
    bias: Vec<f32>,
    bias_codes: Buffer,
}

impl Weights {
    fn new(gpu: &Gpu, precision: Precision, depth: usize, columns: usize) -> Result<Self> {
        let mut random = Random::new(depth as u64);
        let bias = random.normals(columns);
        let bias_codes = gpu.upload_bf16(&bias)?;
        let weights = random.normals(depth * columns);
        let (numbers, codes, scales) = match precision {
            Precision::Bf16 => (
                weights.iter().map(|x| f64::from(*x)).collect(),
                gpu.upload_bf16(&weights)?,
                None,
            ),
            Precision::Fp8 => {
                // All codes but those of NaN.
                let codes: Vec<u8> = (0..weights.len())
                    .map(|_| (random.uniform() * 255.0) as u8 & 0xfe)
                    .collect();
                let scales: Vec<f32> = (0..columns)
                    .map(|_| 0.001 + 0.01 * random.uniform() as f32)
                    .collect();
                let number = |i: usize| fp8::number(codes[i]) * f64::from(scales[i / depth]);
                (
                    (0..codes.len()).map(number).collect(),
                    gpu.upload(&codes)?,
                    Some(gpu.upload(&scales)?),
                )
            }
        };
        Ok(Self {
            precision,
            depth,
            columns,
            numbers,
            codes,
            scales,
            bias,
            bias_codes,
        })
    }

    fn scales(&self) -> Address {
        self.scales.as_ref().map_or(Address::NULL, Buffer::address)
    }

    fn name(&self, what: &str, rows: usize) -> String {
        format!(
            "{what} {rows} x {} x {} {:?}",
            self.depth, self.columns, self.precision
        )
    }

    /// Row of `x` times a row of the weights, and the bias.
    fn product(&self, x: &[f64], column: usize) -> f64 {
        let weights = &self.numbers[column * self.depth..][..self.depth];
        x.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>() + f64::from(self.bias[column])
    }
}

fn skinny(
    gpu: &mut Gpu,
    report: &mut Report,
    weights: &Weights,
    rows: usize,
    epilogue: Epilogue,
) -> Result<()> {
    let Weights { depth, columns, .. } = *weights;
    let mut random = Random::new(rows as u64);
    let (x, residual) = (random.normals(rows * depth), random.normals(rows * columns));
    let from = gpu.upload_bf16(&x)?;
    let to = gpu.zeroed(4 * rows * columns)?;
    if epilogue == Epilogue::Add {
        let bits = residual.iter().map(|x| (x.to_bits() >> 16) as u16);
        gpu.stream.write(&to, &bits.collect::<Vec<_>>())?;
    }
    let width = columns / if epilogue == Epilogue::SwiGlu { 2 } else { 1 };
    let gemm = SkinnyGemm {
        x: rows_of(&from, depth),
        rows,
        depth,
        weight: weights.codes.address(),
        precision: weights.precision,
        scales: weights.scales(),
        columns,
        bias: weights.bias_codes.address(),
        epilogue,
        to: rows_of(&to, width),
        early: false,
    };
    // SAFETY: the buffers have these extents and live until the result was read.
    unsafe { gpu.transformer.skinny_gemm(&gpu.stream, &gemm)? };
    let ours = match epilogue {
        Epilogue::F32 => gpu.stream.read::<f32>(&to, rows * width)?,
        _ => gpu.read_bf16(&to, rows * width)?,
    };
    let (mut some, mut exact) = (Vec::new(), Vec::new());
    for row in 0..rows {
        let numbers: Vec<f64> = x[row * depth..][..depth].iter().map(|x| f64::from(*x)).collect();
        for column in (row % 5..width).step_by(SOME) {
            let product = weights.product(&numbers, column);
            exact.push(match epilogue {
                Epilogue::Bf16 | Epilogue::F32 => product,
                Epilogue::Add => product + f64::from(residual[row * columns + column]),
                Epilogue::SwiGlu => silu(product) * weights.product(&numbers, column + width),
            });
            some.push(ours[row * width + column]);
        }
    }
    let limit = if epilogue == Epilogue::F32 { 1e-4 } else { ROUNDED };
    report.add(
        &weights.name(&format!("skinny, {epilogue:?},"), rows),
        relative_error(&some, &exact),
        limit,
    );
    Ok(())
}

/// A product of cuBLASLt.
#[derive(Clone, Copy)]
struct LinearCase {
    rows: usize,
    /// Whether it is added to what is there.
    add: bool,
    y: Element,
}

impl LinearCase {
    /// Whether it has a bias, which is of bf16.
    fn biased(self) -> bool {
        self.y != Element::F32
    }
}

/// Rows of a product of cuBLASLt, on the device and as the numbers that they are there.
struct Activations {
    numbers: Vec<f64>,
    codes: Buffer,
    scales: Buffer,
}

impl Activations {
    fn new(gpu: &Gpu, random: &mut Random, precision: Precision, rows: usize, depth: usize) -> Result<Self> {
        if precision == Precision::Bf16 {
            let x = random.normals(rows * depth);
            return Ok(Self {
                numbers: x.iter().map(|x| f64::from(*x)).collect(),
                codes: gpu.upload_bf16(&x)?,
                scales: gpu.upload(&[0_f32])?,
            });
        }
        let codes: Vec<u8> = (0..rows * depth)
            .map(|_| (random.uniform() * 255.0) as u8 & 0xfe)
            .collect();
        let scales: Vec<f32> = (0..rows).map(|_| 0.01 + random.uniform() as f32).collect();
        let number = |i: usize| fp8::number(codes[i]) * f64::from(scales[i / depth]);
        Ok(Self {
            numbers: (0..codes.len()).map(number).collect(),
            codes: gpu.upload(&codes)?,
            scales: gpu.upload(&scales)?,
        })
    }
}

fn linear(gpu: &mut Gpu, report: &mut Report, weights: &Weights, case: LinearCase) -> Result<()> {
    let LinearCase { rows, add, y } = case;
    let (depth, columns) = (weights.depth, weights.columns);
    let mut random = Random::new(rows as u64);
    let residual = random.normals(rows * columns);
    let x = Activations::new(gpu, &mut random, weights.precision, rows, depth)?;
    let to = gpu.zeroed(4 * rows * columns)?;
    if add {
        let bits = residual.iter().map(|x| (x.to_bits() >> 16) as u16);
        gpu.stream.write(&to, &bits.collect::<Vec<_>>())?;
    }
    multiply(gpu, weights, &x, &to, case)?;
    let ours = match y {
        Element::F32 => gpu.stream.read::<f32>(&to, rows * columns)?,
        _ => gpu.read_bf16(&to, rows * columns)?,
    };
    let (mut some, mut exact) = (Vec::new(), Vec::new());
    for row in [0, rows / 2, rows - 1] {
        for column in (row % 5..columns).step_by(SOME) {
            let before = f64::from(residual[row * columns + column]) * f64::from(u8::from(add));
            let bias = f64::from(weights.bias[column]) * f64::from(u8::from(!case.biased()));
            exact.push(before + weights.product(&x.numbers[row * depth..][..depth], column) - bias);
            some.push(ours[row * columns + column]);
        }
    }
    let what = format!("linear{} to {y:?},", if add { ", added" } else { "" });
    report.add(&weights.name(&what, rows), relative_error(&some, &exact), ROUNDED);
    Ok(())
}

fn multiply(gpu: &mut Gpu, weights: &Weights, x: &Activations, to: &Buffer, case: LinearCase) -> Result<()> {
    let shape = LinearShape {
        precision: weights.precision,
        y: case.y,
        rows: case.rows,
        depth: weights.depth,
        columns: weights.columns,
        x_stride: weights.depth,
        y_stride: weights.columns,
        add: case.add,
    };
    let operands = LinearOperands {
        x: x.codes.address(),
        weight: weights.codes.address(),
        y: to.address(),
        x_scales: x.scales.address(),
        weight_scales: weights.scales(),
        bias: if case.biased() {
            weights.bias_codes.address()
        } else {
            Address::NULL
        },
    };
    // SAFETY: the buffers have these extents and live until the result was read.
    unsafe {
        gpu.products
            .run_linear(shape, operands, gpu.workspace.address(), &gpu.stream)?;
    }
    Ok(())
}
