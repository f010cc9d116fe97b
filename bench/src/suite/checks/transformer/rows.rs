//! Launches that go over rows: gather, norm, gates, SwiGLU, FP8.

use anyhow::Result;
use liquid_cuda::Rows;
use liquid_cuda::device::{Address, Buffer};
use liquid_cuda::transformer::{GateRows, GatherRows, NormedRows, Quantise, QuantisedRows, RmsNorm, SwiGlu};

use super::{ROUNDED, fp8};
use crate::suite::checks::Report;
use crate::suite::checks::recurrence::relative_error;
use crate::suite::gpu::Gpu;
use crate::suite::random::Random;

const EPSILON: f32 = 1e-5;

/// Checks them for widths of small and large models.
pub(super) fn check(gpu: &mut Gpu, report: &mut Report) -> Result<()> {
    for (rows, width) in [(1, 576), (3, 4096), (65, 1000), (7, 14_336)] {
        gather(gpu, report, rows, width)?;
        gates(gpu, report, rows, width)?;
        for fp8 in [false, true] {
            norm(gpu, report, rows, width, fp8)?;
            swiglu(gpu, report, rows, width, fp8)?;
        }
        quantise(gpu, report, rows, width)?;
    }
    Ok(())
}

/// Rows of bf16 in a buffer.
pub(super) fn rows_of(buffer: &Buffer, stride: usize) -> Rows {
    Rows {
        address: buffer.address(),
        stride,
    }
}

fn gather(gpu: &mut Gpu, report: &mut Report, rows: usize, width: usize) -> Result<()> {
    let table = Random::new(3).normals(11 * width);
    let numbers: Vec<u32> = (0..rows as u32).map(|row| row * 7 % 12).collect();
    let (from, indices) = (gpu.upload_bf16(&table)?, gpu.upload(&numbers)?);
    let to = gpu.upload(&vec![super::POISON; rows * width])?;
    let gather = GatherRows {
        from: rows_of(&from, width),
        limit: 11,
        numbers: indices.address(),
        width,
        rows,
        to: rows_of(&to, width),
    };
    // SAFETY: the buffers have these extents and live until the result was read.
    unsafe { gpu.transformer.gather_rows(&gpu.stream, &gather)? };
    let wanted: Vec<f32> = numbers
        .iter()
        .flat_map(|number| match number {
            11 => vec![0.0; width],
            number => table[*number as usize * width..][..width].to_vec(),
        })
        .collect();
    report.holds(
        &format!("gather {rows} x {width}"),
        gpu.read_bf16(&to, rows * width)? == wanted,
    );
    Ok(())
}

/// Where a launch writes rows, as bf16 or FP8.
pub(super) struct Target {
    rows: Buffer,
    scales: Buffer,
    count: usize,
    width: usize,
    fp8: bool,
}

impl Target {
    pub(super) fn new(gpu: &Gpu, count: usize, width: usize, fp8: bool) -> Result<Self> {
        Ok(Self {
            rows: gpu.upload(&vec![super::POISON; count * width])?,
            scales: gpu.upload(&vec![f32::NAN; count])?,
            count,
            width,
            fp8,
        })
    }

    fn quantised(&self) -> QuantisedRows {
        QuantisedRows {
            codes: rows_of(&self.rows, self.width),
            scales: self.scales.address(),
        }
    }

    pub(super) fn to(&self) -> NormedRows {
        if self.fp8 {
            NormedRows::Fp8(self.quantised())
        } else {
            NormedRows::Bf16(rows_of(&self.rows, self.width))
        }
    }

    /// Compares what was written with numbers: bf16 by the relative error; FP8 too, and the scale of every row.
    fn compare(&self, gpu: &Gpu, report: &mut Report, name: &str, wanted: &[f64]) -> Result<()> {
        if !self.fp8 {
            let ours = gpu.read_bf16(&self.rows, self.count * self.width)?;
            report.add(name, relative_error(&ours, wanted), ROUNDED);
            return Ok(());
        }
        let (codes, scales) = self.read(gpu)?;
        let numbers =
            (0..codes.len()).map(|i| (fp8::number(codes[i]) * f64::from(scales[i / self.width])) as f32);
        let ours: Vec<f32> = numbers.collect();
        report.add(&format!("{name}, FP8"), relative_error(&ours, wanted), 4e-2);
        let largest = wanted
            .chunks(self.width)
            .map(|row| row.iter().fold(0.0, |most: f64, x| most.max(x.abs())) / 448.0);
        report.add(
            &format!("{name}, scales"),
            relative_error(&scales, &largest.collect::<Vec<_>>()),
            ROUNDED,
        );
        Ok(())
    }

    fn read(&self, gpu: &Gpu) -> Result<(Vec<u8>, Vec<f32>)> {
        Ok((
            gpu.stream.read(&self.rows, self.count * self.width)?,
            gpu.stream.read(&self.scales, self.count)?,
        ))
    }
}

fn norm(gpu: &mut Gpu, report: &mut Report, rows: usize, width: usize, fp8: bool) -> Result<()> {
    let mut random = Random::new(width as u64);
    let (x, delta, weight) = (
        random.normals(rows * width),
        random.normals(rows * width),
        random.normals(width),
    );
    let buffers = [
        gpu.upload_bf16(&x)?,
        gpu.upload_bf16(&delta)?,
        gpu.upload_bf16(&weight)?,
    ];
    for (added, zero_centred) in [(false, false), (true, true)] {
        let target = Target::new(gpu, rows, width, fp8)?;
        let launch = RmsNorm {
            x: rows_of(&buffers[0], width),
            delta: if added {
                rows_of(&buffers[1], width)
            } else {
                Rows::NONE
            },
            weight: buffers[2].address(),
            zero_centred,
            epsilon: EPSILON,
            rows,
            width,
            to: target.to(),
            early: false,
        };
        // SAFETY: the buffers have these extents and live until the result was read.
        unsafe { gpu.transformer.rms_norm(&gpu.stream, &launch)? };
        let stream = gpu.read_bf16(&buffers[0], rows * width)?;
        let sums: Vec<f64> = x
            .iter()
            .zip(&delta)
            .map(|(x, y)| f64::from(*x) + if added { f64::from(*y) } else { 0.0 })
            .collect();
        let name = format!(
            "norm {rows} x {width}{}",
            if added { ", added, 1 + w" } else { "" }
        );
        report.add(
            &format!("{name}, stream"),
            relative_error(&stream, &sums),
            if added { ROUNDED } else { 0.0 },
        );
        let wanted = stream.chunks(width).flat_map(|row| {
            let squares: f64 = row.iter().map(|x| f64::from(*x).powi(2)).sum();
            let root = (squares / width as f64 + f64::from(EPSILON)).sqrt();
            let factor = |w: f32| f64::from(w) + f64::from(u8::from(zero_centred));
            row.iter()
                .zip(&weight)
                .map(move |(x, w)| f64::from(*x) / root * factor(*w))
                .collect::<Vec<_>>()
        });
        target.compare(gpu, report, &name, &wanted.collect::<Vec<_>>())?;
    }
    Ok(())
}

fn gates(gpu: &mut Gpu, report: &mut Report, rows: usize, width: usize) -> Result<()> {
    // Rows of both lie in wider ones, whose other numbers stay as they are.
    let (x_stride, stride) = (width + 8, 2 * width);
    let mut random = Random::new(6);
    let (x, numbers) = (random.normals(rows * x_stride), random.normals(rows * stride));
    let (to, gates) = (gpu.upload_bf16(&x)?, gpu.upload_bf16(&numbers)?);
    let launch = GateRows {
        x: rows_of(&to, x_stride),
        gates: rows_of(&gates, stride).columns_from(width),
        rows,
        width,
        early: false,
    };
    // SAFETY: the buffers have these extents and live until the result was read.
    unsafe { gpu.transformer.gate_rows(&gpu.stream, &launch)? };
    let wanted = x
        .chunks(x_stride)
        .zip(numbers.chunks(stride))
        .flat_map(|(x, gates)| {
            let (x, rest) = x.split_at(width);
            let opened = x.iter().zip(&gates[width..]);
            let opened = opened.map(|(x, gate)| f64::from(*x) / (1.0 + f64::from(-*gate).exp()));
            opened
                .chain(rest.iter().map(|x| f64::from(*x)))
                .collect::<Vec<_>>()
        });
    let wanted: Vec<f64> = wanted.collect();
    let ours = gpu.read_bf16(&to, rows * x_stride)?;
    report.add(
        &format!("gates {rows} x {width}"),
        relative_error(&ours, &wanted),
        ROUNDED,
    );
    Ok(())
}

fn swiglu(gpu: &mut Gpu, report: &mut Report, rows: usize, width: usize, fp8: bool) -> Result<()> {
    let numbers = Random::new(5).normals(2 * rows * width);
    let gate_up = gpu.upload_bf16(&numbers)?;
    let target = Target::new(gpu, rows, width, fp8)?;
    let launch = SwiGlu {
        gate_up: rows_of(&gate_up, 2 * width),
        rows,
        width,
        to: target.to(),
        early: false,
    };
    // SAFETY: the buffers have these extents and live until the result was read.
    unsafe { gpu.transformer.swiglu(&gpu.stream, &launch)? };
    let wanted = numbers.chunks(2 * width).flat_map(|row| {
        let (gates, ups) = row.split_at(width);
        gates
            .iter()
            .zip(ups)
            .map(|(gate, up)| silu(f64::from(*gate)) * f64::from(*up))
            .collect::<Vec<_>>()
    });
    target.compare(
        gpu,
        report,
        &format!("SwiGLU {rows} x {width}"),
        &wanted.collect::<Vec<_>>(),
    )
}

/// `x / (1 + exp(-x))`.
pub(super) fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn quantise(gpu: &mut Gpu, report: &mut Report, rows: usize, width: usize) -> Result<()> {
    let mut numbers = Random::new(9).normals(rows * width);
    numbers[..width].fill(0.0);
    let x = gpu.upload_bf16(&numbers)?;
    let target = Target::new(gpu, rows, width, true)?;
    let launch = Quantise {
        x: rows_of(&x, width),
        rows,
        width,
        to: target.quantised(),
        early: false,
    };
    // SAFETY: the buffers have these extents and live until the result was read.
    unsafe { gpu.transformer.quantise_rows(&gpu.stream, &launch)? };
    let (codes, scales) = target.read(gpu)?;
    // A number may lie between two codes; then rounding in f32 may take either.
    let nearest = (0..codes.len()).all(|i| {
        let exact = f64::from(numbers[i]) / f64::from(scales[i / width]);
        let best = (fp8::number(fp8::code(exact)) - exact).abs();
        (fp8::number(codes[i]) - exact).abs() <= best + exact.abs() * 1e-6
    });
    report.holds(
        &format!("FP8 {rows} x {width}: every code is the nearest"),
        nearest,
    );
    Ok(())
}

/// The null address, for weights without scales and layers without biases.
pub(super) const NONE: Address = Address::NULL;
