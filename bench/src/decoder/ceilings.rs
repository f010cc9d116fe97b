//! What the device can do at most: bytes copied and numbers multiplied a second.

#![allow(unsafe_code, reason = "enqueues copies and products; see SAFETY below")]

use anyhow::{Context as _, Result};
use liquid_cuda::device::{
    Address, Context, Element, LinearOperands, LinearShape, Precision, Products, Stream, WORKSPACE,
};

/// Bytes that are copied.
const BYTES: usize = 4 << 30;
/// Rows, depth and columns of the product.
const SIZE: usize = 8192;
/// Seconds for which products run: a GPU at its limit of power multiplies more slowly than a rested one.
const SECONDS: f64 = 1.0;

/// Ceilings of a device.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(super) struct Ceilings {
    /// Bytes a second, those read and those written together.
    pub(super) bandwidth: f64,
    /// Operations a second of a bf16 product, the GPU at its limit of power.
    pub(super) bf16: f64,
}

/// Measures a device.
pub(super) fn measure(gpu: usize) -> Result<Ceilings> {
    let context = Context::open(gpu)?;
    let stream = context.stream()?;
    Ok(Ceilings {
        bandwidth: bandwidth(&context, &stream)?,
        bf16: product(&context, &stream)?,
    })
}

fn bandwidth(context: &Context, stream: &Stream) -> Result<f64> {
    const TIMES: usize = 10;
    let buffers = [context.allocate(BYTES)?, context.allocate(BYTES)?];
    let mut milliseconds = 0.0;
    for timed in [false, true] {
        let events = [context.timing_event()?, context.timing_event()?];
        stream.record(&events[0])?;
        for _ in 0..TIMES {
            // SAFETY: both buffers have so many bytes, and live until the stream has come to rest.
            unsafe { stream.copy(buffers[0].address(), buffers[1].address(), BYTES)? };
        }
        stream.record(&events[1])?;
        stream.synchronize()?;
        if timed {
            milliseconds = events[0].milliseconds_to(&events[1])?;
        }
    }
    Ok((2 * BYTES * TIMES) as f64 / milliseconds * 1000.0)
}

fn product(context: &Context, stream: &Stream) -> Result<f64> {
    let numbers: Vec<u32> = {
        let mut random = super::checkpoint::Random(7);
        let number = |bits: u64| (0x3f80 | (bits & 0x807f)) as u32;
        let two = |bits: u64| number(bits) | number(bits >> 20) << 16;
        (0..SIZE * SIZE / 2).map(|_| two(random.next())).collect()
    };
    let matrix = || -> Result<_> {
        let buffer = context.allocate(2 * SIZE * SIZE)?;
        stream.write(&buffer, &numbers)?;
        Ok(buffer)
    };
    let (x, weight, y) = (matrix()?, matrix()?, context.allocate(2 * SIZE * SIZE)?);
    let workspace = context.allocate(WORKSPACE)?;
    let mut products = Products::new()?;
    let shape = LinearShape {
        precision: Precision::Bf16,
        y: Element::Bf16,
        rows: SIZE,
        depth: SIZE,
        columns: SIZE,
        x_stride: SIZE,
        y_stride: SIZE,
        add: false,
    };
    let operands = LinearOperands {
        x: x.address(),
        weight: weight.address(),
        y: y.address(),
        x_scales: Address::NULL,
        weight_scales: Address::NULL,
        bias: Address::NULL,
    };
    let mut last = 0.0;
    let started = std::time::Instant::now();
    while started.elapsed().as_secs_f64() < SECONDS {
        const TIMES: usize = 100;
        let events = [context.timing_event()?, context.timing_event()?];
        stream.record(&events[0])?;
        for _ in 0..TIMES {
            // SAFETY: the buffers have the shape's extents, and live until the stream has come to rest.
            unsafe { products.run_linear(shape, operands, workspace.address(), stream)? };
        }
        stream.record(&events[1])?;
        stream.synchronize()?;
        last = events[0].milliseconds_to(&events[1])? / TIMES as f64;
    }
    let operations = 2.0 * (SIZE as f64).powi(3);
    (last > 0.0)
        .then(|| operations / last * 1000.0)
        .context("the product took no time")
}
