//! The rule's kernels against the recurrence in f64 and the portable path.

use anyhow::Result;
use burn::tensor::{DType, Device};
use liquid_attention::core::{DeltaRule, gated_delta};

use super::Report;
use super::inputs::{Case, Kind, Size};
use super::recurrence::{recurrence, relative_error};
use crate::suite::tensors::values;

/// The rule as a layer uses it.
pub(super) fn delta_rule(width: usize, erase: bool, precise: bool) -> DeltaRule {
    DeltaRule {
        erase,
        normalise: true,
        scale: 1.0 / (width as f32).sqrt(),
        precise,
    }
}

/// A case of the rule, and its options.
#[derive(Clone, Copy)]
struct Variant {
    kind: Kind,
    size: Size,
    erase: bool,
    precise: bool,
}

impl Variant {
    /// An ordinary case that erases, in the standard precision.
    fn new(kind: Kind, [batch, tokens, heads, width]: [usize; 4]) -> Self {
        Self {
            kind,
            size: Size {
                batch,
                tokens,
                heads,
                width,
            },
            erase: true,
            precise: false,
        }
    }
}

/// Checks sizes, distributions and options of the rule.
pub(in crate::suite) fn check(device: &Device, report: &mut Report) -> Result<()> {
    for width in [64, 128, 256] {
        for precise in [false, true] {
            let plain = Variant::new(Kind::Plain, [2, 300, 3, width]);
            check_one(device, report, Variant { precise, ..plain });
        }
    }
    for tokens in [1, 2, 15, 16, 63, 64, 65, 127, 129, 300] {
        check_one(device, report, Variant::new(Kind::Plain, [1, tokens, 4, 128]));
    }
    for heads in [1, 2, 64] {
        check_one(device, report, Variant::new(Kind::Plain, [1, 100, heads, 64]));
    }
    for kind in [Kind::Slow, Kind::Near, Kind::Extreme, Kind::Sudden] {
        for precise in [false, true] {
            let variant = Variant::new(kind, [1, 1_000, 4, 128]);
            check_one(device, report, Variant { precise, ..variant });
        }
    }
    let slow = Variant::new(Kind::Slow, [1, 500, 4, 128]);
    check_one(device, report, Variant { erase: false, ..slow });
    compare_with_portable(device, report);
    Ok(())
}

fn check_one(device: &Device, report: &mut Report, variant: Variant) {
    let Variant {
        kind,
        size,
        erase,
        precise,
    } = variant;
    let case = Case::new(kind, size, 7 + size.tokens as u64);
    let exact = recurrence(&case, erase);
    let rule = delta_rule(size.width, erase, precise);
    let (output, state) = gated_delta(case.tensors(DType::BF16, device), rule);
    let name = format!("rule {} {size:?} erase {erase} precise {precise}", kind.name());
    let limit = if kind == Kind::Near { 2e-2 } else { 6e-3 };
    report.add(&name, relative_error(&values(output), &exact.output), limit);
    let error = relative_error(&values(state), &exact.state);
    report.add(&format!("{name}, state"), error, limit);
}

/// The kernels against the portable path, in f32 on the processor.
fn compare_with_portable(device: &Device, report: &mut Report) {
    let case = Case::new(Kind::Plain, Variant::new(Kind::Plain, [2, 200, 3, 64]).size, 3);
    let rule = delta_rule(64, true, false);
    let (ours, _) = gated_delta(case.tensors(DType::BF16, device), rule);
    let (portable, _) = gated_delta(case.tensors(DType::F32, &Device::flex()), rule);
    report.compare(
        "kernels and portable path",
        &values(ours),
        &values(portable),
        6e-3,
    );
}

/// Checks that the error does not grow along the sequence.
pub(in crate::suite) fn check_long(device: &Device, report: &mut Report) -> Result<()> {
    let size = Size {
        batch: 1,
        tokens: 131_072,
        heads: 4,
        width: 128,
    };
    for kind in [Kind::Plain, Kind::Slow] {
        let case = Case::new(kind, size, 11);
        let exact = recurrence(&case, true);
        let rule = delta_rule(128, true, true);
        let (output, state) = gated_delta(case.tensors(DType::BF16, device), rule);
        let (ours, wanted) = (values(output), &exact.output);
        let name = format!("131,072 tokens {}", kind.name());
        report.add(&name, relative_error(&ours, wanted), 5e-3);
        let error = relative_error(&values(state), &exact.state);
        report.add(&format!("{name}, state"), error, 5e-3);
        let span = 8_192 * size.heads * size.width;
        anyhow::ensure!(ours.len() == wanted.len(), "{name}: the output has another size");
        let first = relative_error(&ours[..span], &wanted[..span]);
        let late = relative_error(&ours[ours.len() - span..], &wanted[wanted.len() - span..]);
        println!("     first 8,192 tokens {first:.2e}, last {late:.2e}");
        report.add(&format!("{name}, growth of the error"), late / first, 1.1);
    }
    Ok(())
}
