//! Times of the kernels and products alone, by the GPU's own clock: what `--example cuda -- kernels` prints. Without
//! burn, on memory of its own.

use cudarc::driver::{CudaEvent, result, sys};
use liquid_cuda::{Element, Layout, Operands, Shape};

use super::convolution::Convolution;
use super::decode::Few;
use super::error::CudaError;
use super::gpu::{Gpu, acquire};
use super::launch::{Gates, Rows, Small, Span, record_bytes};
use super::weights::Columns;
use crate::core::DeltaRule;

mod backward;

/// Sizes of a layer, and tokens of one sequence.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Width of the layer.
    pub embed: usize,
    /// Heads.
    pub heads: usize,
    /// Tokens; work and its memory are of that many at once.
    pub tokens: usize,
}

/// What was timed, and milliseconds of one call.
pub type KernelTime = (String, f64);

/// Device memory of this measurement.
struct Memory(u64);

impl Memory {
    /// Of bf16 numbers, normally distributed with the given deviation.
    fn new(elements: usize, deviation: f32) -> Result<Self, CudaError> {
        // SAFETY: the context is current (`acquire`); freed in `drop`.
        let memory = Self(unsafe { result::malloc_sync(2 * elements.max(1)) }?);
        let numbers = normals(elements.min(1 << 20), deviation);
        for start in (0..elements).step_by(numbers.len().max(1)) {
            let count = numbers.len().min(elements - start);
            // SAFETY: the copy lies within the memory above.
            unsafe { result::memcpy_htod_sync(memory.0 + 2 * start as u64, &numbers[..count]) }?;
        }
        Ok(memory)
    }

    fn zeroed(bytes: usize) -> Result<Self, CudaError> {
        // SAFETY: as in `new`.
        unsafe {
            let memory = Self(result::malloc_sync(bytes.max(1))?);
            result::memset_d8_sync(memory.0, 0, bytes)?;
            Ok(memory)
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`; the stream was waited for. An error of a free has no remedy.
        let _ = unsafe { result::free_sync(self.0) };
    }
}

/// Sums of twelve uniform numbers, as bf16.
fn normals(count: usize, deviation: f32) -> Vec<u16> {
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut uniform = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 40) as f32 / (1_u64 << 24) as f32
    };
    (0..count)
        .map(|_| {
            let sum: f32 = (0..12).map(|_| uniform()).sum();
            ((deviation * (sum - 6.0)).to_bits() >> 16) as u16
        })
        .collect()
}

/// Everything that is timed.
struct Bench {
    sizes: Sizes,
    columns: Columns,
    x: Memory,
    weights: Memory,
    output: Memory,
    products: Memory,
    y: Memory,
    records: Memory,
    state: Memory,
    small: Memory,
}

impl Bench {
    fn new(sizes: Sizes) -> Result<Self, CudaError> {
        let Sizes { embed, heads, tokens } = sizes;
        let columns = Columns::new([embed, embed, embed, heads, heads, 0]);
        let width = embed / heads;
        let deviation = 1.0 / (embed as f32).sqrt();
        Ok(Self {
            sizes,
            columns,
            x: Memory::new(tokens * embed, 1.0)?,
            weights: Memory::new(embed * columns.pitch, deviation)?,
            output: Memory::new(embed * embed, deviation)?,
            products: Memory::new(tokens * columns.pitch, 1.0)?,
            y: Memory::new(tokens * embed, 1.0)?,
            records: Memory::zeroed(record_bytes(1, tokens, heads))?,
            state: Memory::zeroed(4 * heads * width * width)?,
            small: Memory::new(2 * heads + width, 1.0)?,
        })
    }

    fn rows(&self, matrix: usize) -> Rows {
        Rows {
            address: self.products.0,
            stride: self.columns.pitch,
        }
        .skip(self.columns.starts[matrix])
    }

    fn span(&self) -> Span {
        let Sizes { embed, heads, tokens } = self.sizes;
        let small = |start: usize| Small {
            address: self.small.0 + 2 * start as u64,
            narrow: true,
        };
        Span {
            batch: 1,
            tokens,
            heads,
            width: embed / heads,
            group: 1,
            q: self.rows(0),
            k: self.rows(1),
            v: self.rows(2),
            output: self.rows(2),
            gates: Gates::of_products([self.rows(3), self.rows(4)], [small(0), small(heads)]),
            records: self.records.0,
            initial: self.state.0,
            last: self.state.0,
            norm: Some((small(2 * heads), 1e-6)),
            gate: Rows::NONE,
        }
    }

    /// One product of all tokens; `columns` of the weights from `start` on.
    fn product(&self, gpu: &mut Gpu, (start, columns): (usize, usize), y: Rows) -> Result<(), CudaError> {
        let Sizes { embed, tokens, .. } = self.sizes;
        let shape = Shape {
            operands: Element::Bf16,
            y: Element::Bf16,
            rows: tokens,
            depth: embed,
            columns,
            x_layout: Layout::rows(embed),
            weight_layout: Layout::rows(self.columns.pitch),
            y_stride: y.stride,
        };
        let operands = Operands {
            x: self.x.0,
            weight: self.weights.0 + 2 * start as u64,
            y: y.address,
            bias: 0,
        };
        run(gpu, shape, operands)
    }

    fn output_product(&self, gpu: &mut Gpu) -> Result<(), CudaError> {
        let Sizes { embed, tokens, .. } = self.sizes;
        let x = self.rows(2);
        let shape = Shape {
            operands: Element::Bf16,
            y: Element::Bf16,
            rows: tokens,
            depth: embed,
            columns: embed,
            x_layout: Layout::rows(x.stride),
            weight_layout: Layout::rows(embed),
            y_stride: embed,
        };
        let operands = Operands {
            x: x.address,
            weight: self.output.0,
            y: self.y.0,
            bias: 0,
        };
        run(gpu, shape, operands)
    }

    /// Some of the launches of a decoding step, placed `early` or one after the other.
    fn step(&self, gpu: &mut Gpu, parts: [bool; 3], early: bool) -> Result<(), CudaError> {
        let Sizes { embed, .. } = self.sizes;
        let x = Rows {
            address: self.x.0,
            stride: embed,
        };
        let few: Vec<Few> = (0..5)
            .map(|i| Few {
                weight: self.weights.0 + 2 * self.columns.starts[i] as u64,
                pitch: self.columns.pitch,
                columns: self.columns.widths[i],
                bias: 0,
                to: self.rows(i),
            })
            .collect();
        if parts[0] {
            gpu.project((x, 1, embed), &few, false)?;
        }
        let span = Span {
            tokens: 1,
            ..self.span()
        };
        if parts[1] {
            gpu.step((&span, Convolution::NONE), RULE, early && parts[0])?;
        }
        let out = Few {
            weight: self.output.0,
            pitch: embed,
            columns: embed,
            bias: 0,
            to: Rows {
                address: self.y.0,
                stride: embed,
            },
        };
        if parts[2] {
            gpu.project((span.output, 1, embed), &[out], early && parts[1])?;
        }
        Ok(())
    }
}

const RULE: DeltaRule = DeltaRule {
    erase: true,
    normalise: true,
    scale: 0.088_388_35,
    precise: false,
};

fn run(gpu: &mut Gpu, shape: Shape, operands: Operands) -> Result<(), CudaError> {
    // SAFETY: `Bench::new` made the operands of these sizes; they live until the stream was waited for.
    unsafe { gpu.multiply(shape, operands) }
}

/// Median milliseconds of a call, from rounds of several behind each other.
fn time(gpu: &mut Gpu, mut call: impl FnMut(&mut Gpu) -> Result<(), CudaError>) -> Result<f64, CudaError> {
    let mut round = |gpu: &mut Gpu, calls: usize| -> Result<f64, CudaError> {
        let event = || gpu.context.new_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT));
        let (start, end): (CudaEvent, CudaEvent) = (event()?, event()?);
        start.record(&gpu.stream)?;
        for _ in 0..calls {
            call(gpu)?;
        }
        end.record(&gpu.stream)?;
        gpu.stream.synchronize()?;
        Ok(f64::from(start.elapsed_ms(&end)?) / calls as f64)
    };
    round(gpu, 2)?;
    let once = round(gpu, 3)?;
    let calls = ((5.0 / once) as usize).clamp(3, 400);
    let mut times = (0..5).map(|_| round(gpu, calls)).collect::<Result<Vec<_>, _>>()?;
    times.sort_by(f64::total_cmp);
    Ok(times[2])
}

/// Times every kernel and product of a layer of these sizes, whose heads have 64, 128 or 256 numbers.
///
/// # Errors
/// No GPU that the kernels serve, too little memory on it, or a failed call.
pub fn kernel_times(index: usize, sizes: Sizes) -> Result<Vec<KernelTime>, CudaError> {
    let gpu = &mut *acquire(index)?;
    gpu.context.bind_to_thread()?;
    let bench = &Bench::new(sizes)?;
    let mut times = Vec::new();
    let mut add = |name: &str, ms: f64| times.push((name.to_owned(), ms));
    let Sizes { embed, heads, .. } = sizes;
    let span = bench.span();
    add("prepare", time(gpu, |gpu| gpu.prepare(&span, RULE))?);
    for (name, precise) in [("scan with norm", false), ("scan with norm, precise", true)] {
        let scan = |gpu: &mut Gpu| {
            let stream = gpu.stream.cu_stream();
            gpu.scan(&span, precise, stream)
        };
        add(name, time(gpu, scan)?);
    }
    add(
        "product, one of q, k, v",
        time(gpu, |gpu| bench.product(gpu, (0, embed), span.q))?,
    );
    add(
        "product, both gates",
        time(gpu, |gpu| {
            bench.product(gpu, (bench.columns.starts[3], 2 * heads), bench.rows(3))
        })?,
    );
    add(
        "product, q, k, v side by side",
        time(gpu, |gpu| bench.product(gpu, (0, 3 * embed), span.q))?,
    );
    add(
        "product, all five side by side",
        time(gpu, |gpu| bench.product(gpu, (0, bench.columns.used), span.q))?,
    );
    add("product, output", time(gpu, |gpu| bench.output_product(gpu))?);
    for (name, parts, early) in [
        ("step: projections", [true, false, false], false),
        ("step: state", [false, true, false], false),
        ("step: output projection", [false, false, true], false),
        ("step, one after the other", [true; 3], false),
        ("step, placed early", [true; 3], true),
    ] {
        add(name, time(gpu, |gpu| bench.step(gpu, parts, early))?);
    }
    times.extend(backward::times(gpu, bench)?);
    Ok(times)
}
