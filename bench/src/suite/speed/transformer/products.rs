//! Products of a layer: few rows by their bandwidth, many by their rate.

use anyhow::Result;
use liquid_cuda::Rows;
use liquid_cuda::device::{Address, Buffer, Element, LinearOperands, LinearShape, Precision};
use liquid_cuda::transformer::{Epilogue, SkinnyGemm};

use super::SIZES;
use crate::suite::gpu::Gpu;
use crate::suite::speed::clock::Clock;

/// Bytes of weights among which calls take turns, so that none finds its own in L2.
const ROTATED: usize = 1 << 30;

/// A layer's products: name, depth, columns, what becomes of them.
const LAYERS: [(&str, usize, usize, Epilogue); 5] = [
    (
        "q, k, v",
        SIZES.width,
        (SIZES.query + 2 * SIZES.kv) * SIZES.head,
        Epilogue::Bf16,
    ),
    ("output", SIZES.width, SIZES.width, Epilogue::Add),
    ("gate, up", SIZES.width, 2 * SIZES.ffn, Epilogue::SwiGlu),
    ("down", SIZES.ffn, SIZES.width, Epilogue::Add),
    ("head", SIZES.width, SIZES.vocabulary, Epilogue::F32),
];

struct Inputs {
    weights: Buffer,
    x: Buffer,
    scales: Buffer,
    y: Buffer,
    turn: usize,
}

impl Inputs {
    fn new(gpu: &Gpu, rows: usize) -> Result<Self> {
        Ok(Self {
            weights: gpu.normals(ROTATED / 2, 0.02)?,
            x: gpu.normals(rows * SIZES.ffn, 1.0)?,
            scales: gpu.upload(&vec![0.01_f32; (2 * SIZES.ffn).max(SIZES.vocabulary).max(rows)])?,
            y: gpu.zeroed(4 * rows * (2 * SIZES.ffn).max(SIZES.vocabulary))?,
            turn: 0,
        })
    }

    /// The next weights of so many bytes.
    fn next(&mut self, bytes: usize) -> Address {
        self.turn += 1;
        self.weights
            .address()
            .offset(self.turn % (ROTATED / bytes) * bytes)
    }

    fn skinny(
        &mut self,
        gpu: &mut Gpu,
        rows: usize,
        (_, depth, columns, epilogue): (&str, usize, usize, Epilogue),
        precision: Precision,
    ) -> Result<()> {
        let width = if epilogue == Epilogue::SwiGlu {
            columns / 2
        } else {
            columns
        };
        let gemm = SkinnyGemm {
            x: Rows {
                address: self.x.address(),
                stride: depth,
            },
            rows,
            depth,
            weight: self.next(depth * columns * precision.bytes()),
            precision,
            scales: self.scales.address(),
            columns,
            bias: Address::NULL,
            epilogue,
            to: Rows {
                address: self.y.address(),
                stride: width,
            },
            early: true,
        };
        // SAFETY: `new` made the buffers large enough for every layer; they live until the clock has waited.
        Ok(unsafe { gpu.transformer.skinny_gemm(&gpu.stream, &gemm) }?)
    }

    fn linear(
        &mut self,
        gpu: &mut Gpu,
        rows: usize,
        depth: usize,
        columns: usize,
        precision: Precision,
    ) -> Result<()> {
        let shape = LinearShape {
            precision,
            y: Element::Bf16,
            rows,
            depth,
            columns,
            x_stride: depth,
            y_stride: columns,
            add: false,
        };
        let fp8 = precision == Precision::Fp8;
        let scales = if fp8 { self.scales.address() } else { Address::NULL };
        let operands = LinearOperands {
            x: self.x.address(),
            weight: self.next(depth * columns * precision.bytes()),
            y: self.y.address(),
            x_scales: scales,
            weight_scales: scales,
            bias: Address::NULL,
        };
        // SAFETY: as in `skinny`.
        Ok(unsafe {
            gpu.products
                .run_linear(shape, operands, gpu.workspace.address(), &gpu.stream)
        }?)
    }
}

/// Prints the products of few rows, and cuBLASLt's of as many.
pub(super) fn print_skinny(clock: &mut Clock) -> Result<()> {
    let mut inputs = Inputs::new(&clock.0, 64)?;
    for precision in [Precision::Bf16, Precision::Fp8] {
        for rows in [1, 8, 16] {
            println!("skinny products of {rows} rows, {precision:?} (ms, TB/s of weights):");
            let mut all = 0.0;
            for layer in LAYERS {
                let ms = clock.time(|gpu| inputs.skinny(gpu, rows, layer, precision))?;
                all += ms;
                print_bandwidth(layer.0, ms, layer.1 * layer.2 * precision.bytes());
            }
            println!("  {:36} {all:>9.4} ms", "all five");
        }
        for rows in [8, 16, 32, 64] {
            println!("cuBLASLt's products of {rows} rows, {precision:?}:");
            for (name, depth, columns, _) in LAYERS {
                let ms = clock.time(|gpu| inputs.linear(gpu, rows, depth, columns, precision))?;
                print_bandwidth(name, ms, depth * columns * precision.bytes());
            }
        }
    }
    Ok(())
}

fn print_bandwidth(name: &str, ms: f64, bytes: usize) {
    println!("  {name:36} {ms:>9.4} ms {:>6.2} TB/s", bytes as f64 / ms / 1e9);
}

/// Prints cuBLASLt's products of a prefill.
pub(super) fn print_linear(clock: &mut Clock) -> Result<()> {
    let mut inputs = Inputs::new(&clock.0, 8192)?;
    for precision in [Precision::Bf16, Precision::Fp8] {
        for rows in [2048, 8192] {
            println!("cuBLASLt's products of {rows} rows, {precision:?}:");
            for (name, depth, columns, _) in &LAYERS[..4] {
                let ms = clock.time(|gpu| inputs.linear(gpu, rows, *depth, *columns, precision))?;
                let rate = 2e-9 * (rows * depth * columns) as f64 / ms;
                println!("  {name:36} {ms:>9.4} ms {rate:>6.0} TFLOP/s");
            }
        }
    }
    Ok(())
}
