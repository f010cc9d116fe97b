//! Kernels against the recurrence in f64, the portable path and burn's product.

use burn::tensor::{DType, Device, Tensor, TensorData};
use liquid_attention::core::{DeltaRule, DeltaTensors, gated_delta, project};

use crate::plain::{Case, Random, Size, error, recurrence};
use crate::{layer, loaded, others, reference, train};

/// What was found so far.
pub(crate) struct Report {
    failed: usize,
    done: usize,
}

impl Report {
    /// Notes a check and says how it went.
    pub(crate) fn add(&mut self, name: &str, error: f64, limit: f64) {
        let good = error <= limit;
        self.done += 1;
        self.failed += usize::from(!good);
        println!(
            "{} {name}: {error:.2e} (at most {limit:.1e})",
            if good { "ok  " } else { "FAIL" }
        );
    }

    /// Notes how far numbers are from those of a reference.
    pub(crate) fn compare(&mut self, name: &str, ours: &[f32], wanted: &[f32], limit: f64) {
        let wanted: Vec<f64> = wanted.iter().copied().map(f64::from).collect();
        self.add(name, error(ours, &wanted), limit);
    }

    /// Notes whether something holds.
    pub(crate) fn holds(&mut self, name: &str, good: bool) {
        self.add(name, f64::from(u8::from(!good)), 0.0);
    }
}

/// A part of the checks.
type Check = fn(&Device, &mut Report);

/// Runs the checks named, or all; gives the number that failed.
pub(crate) fn run(device: &Device, wanted: impl Fn(&str) -> bool) -> usize {
    let mut report = Report { failed: 0, done: 0 };
    let parts: [(&str, Check); 7] = [
        ("rule", rule),
        ("product", products),
        ("layer", layer::check),
        ("loaded", loaded::check),
        ("padding", layer::padding),
        ("train", train::check),
        ("long", long),
    ];
    for (name, part) in parts {
        if wanted(name) {
            part(device, &mut report);
        }
    }
    // Only where they are named: one needs Python, the others take minutes.
    let named: [(&str, Check); 3] = [
        ("reference", reference::check),
        ("others", others::check),
        ("fallback", train::fallback),
    ];
    for (name, part) in named {
        if std::env::args().any(|given| given == name) {
            part(device, &mut report);
        }
    }
    println!("{} checks, {} failed", report.done, report.failed);
    report.failed
}

/// Values on a device, in a type.
pub(crate) fn tensor<const D: usize>(
    values: &[f32],
    shape: [usize; D],
    dtype: DType,
    device: &Device,
) -> Tensor<D> {
    Tensor::<D>::from_data(TensorData::new(values.to_vec(), shape), (device, DType::F32)).cast(dtype)
}

/// All values of a tensor.
pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor
        .cast(DType::F32)
        .into_data()
        .try_to_vec()
        .unwrap_or_default()
}

/// The inputs of the rule; q, k and v in `dtype`, the rest in f32.
pub(crate) fn tensors(case: &Case, dtype: DType, device: &Device) -> DeltaTensors {
    let Size {
        batch,
        tokens,
        heads,
        width,
    } = case.size;
    let rows = |x: &[f32]| tensor(x, [batch, tokens, heads, width], dtype, device);
    let numbers = |x: &[f32]| tensor(x, [batch, tokens, heads], DType::F32, device);
    DeltaTensors {
        q: rows(&case.q),
        k: rows(&case.k),
        v: rows(&case.v),
        g: numbers(&case.g),
        beta: numbers(&case.beta),
        state: tensor(&case.state, [batch, heads, width, width], DType::F32, device),
    }
}

/// The rule as a layer uses it.
pub(crate) fn delta_rule(width: usize, erase: bool, precise: bool) -> DeltaRule {
    DeltaRule {
        erase,
        normalise: true,
        scale: 1.0 / (width as f32).sqrt(),
        precise,
    }
}

fn one(device: &Device, report: &mut Report, kind: &str, size: Size, (erase, precise): (bool, bool)) {
    let case = Case::new(kind, size, 7 + size.tokens as u64);
    let (output, state) = recurrence(&case, erase);
    let rule = delta_rule(size.width, erase, precise);
    let (got, last) = gated_delta(tensors(&case, DType::BF16, device), rule);
    let name = format!("rule {kind} {size:?} erase {erase} precise {precise}");
    let limit = if kind == "near" { 2e-2 } else { 6e-3 };
    report.add(&name, error(&values(got), &output), limit);
    report.add(&format!("{name}, state"), error(&values(last), &state), limit);
}

fn rule(device: &Device, report: &mut Report) {
    let size = |batch, tokens, heads, width| Size {
        batch,
        tokens,
        heads,
        width,
    };
    for width in [64, 128, 256] {
        for precise in [false, true] {
            one(device, report, "plain", size(2, 300, 3, width), (true, precise));
        }
    }
    for tokens in [1, 2, 15, 16, 63, 64, 65, 127, 129, 300] {
        one(device, report, "plain", size(1, tokens, 4, 128), (true, false));
    }
    for heads in [1, 2, 64] {
        one(device, report, "plain", size(1, 100, heads, 64), (true, false));
    }
    for kind in ["slow", "near", "extreme", "sudden"] {
        for precise in [false, true] {
            one(device, report, kind, size(1, 1_000, 4, 128), (true, precise));
        }
    }
    one(device, report, "slow", size(1, 500, 4, 128), (false, false));
    // The portable path, in f32 on the processor.
    let case = Case::new("plain", size(2, 200, 3, 64), 3);
    let (ours, _) = gated_delta(tensors(&case, DType::BF16, device), delta_rule(64, true, false));
    let (portable, _) = gated_delta(
        tensors(&case, DType::F32, &Device::flex()),
        delta_rule(64, true, false),
    );
    report.compare(
        "kernels and portable path",
        &values(ours),
        &values(portable),
        6e-3,
    );
}

/// The error may not grow along the sequence.
fn long(device: &Device, report: &mut Report) {
    let size = Size {
        batch: 1,
        tokens: 131_072,
        heads: 4,
        width: 128,
    };
    for kind in ["plain", "slow"] {
        let case = Case::new(kind, size, 11);
        let (output, state) = recurrence(&case, true);
        let (got, last) = gated_delta(tensors(&case, DType::BF16, device), delta_rule(128, true, true));
        let got = values(got);
        report.add(&format!("131,072 tokens {kind}"), error(&got, &output), 5e-3);
        report.add(
            &format!("131,072 tokens {kind}, state"),
            error(&values(last), &state),
            5e-3,
        );
        let span = 8_192 * size.heads * size.width;
        let (first, late) = (
            error(&got[..span], &output[..span]),
            error(&got[got.len() - span..], &output[output.len() - span..]),
        );
        println!("     first 8,192 tokens {first:.2e}, last {late:.2e}");
        report.add(
            &format!("131,072 tokens {kind}, growth of the error"),
            late / first,
            1.1,
        );
    }
}

/// Against f64, and for one shape against burn's own product too: burn tunes each shape at its first call, for up to
/// a minute.
fn products(device: &Device, report: &mut Report) {
    for (rows, depth, columns) in [
        (1, 4096, 4096),
        (64, 4096, 64),
        (300, 512, 1024),
        (2048, 4096, 4096),
    ] {
        let mut random = Random::new(rows as u64);
        let numbers = random.normals(rows * depth);
        let x = tensor(&numbers, [1, rows, depth], DType::BF16, device);
        let weights = random.normals(depth * columns);
        let mut linear = burn::nn::LinearConfig::new(depth, columns)
            .with_bias(false)
            .init(device);
        let weight = tensor(&weights, [depth, columns], DType::BF16, device);
        linear.weight = burn::module::Param::from_tensor(weight.clone());
        let ours = values(project(&linear, x.clone()));
        let (mut some, mut exact) = (Vec::new(), Vec::new());
        for row in [0, rows / 2, rows - 1] {
            for column in (0..columns).step_by(37) {
                let terms = (0..depth)
                    .map(|i| f64::from(numbers[row * depth + i]) * f64::from(weights[i * columns + column]));
                exact.push(terms.sum());
                some.push(ours[row * columns + column]);
            }
        }
        report.add(
            &format!("product {rows} x {depth} x {columns}"),
            error(&some, &exact),
            5e-3,
        );
        if rows == 64 {
            let burns = values(x.reshape([rows, depth]).matmul(weight));
            let name = format!("product {rows} x {depth} x {columns} and burn's");
            report.compare(&name, &ours, &burns, 5e-3);
        }
    }
}
