//! All kernels as they are compiled, for whoever wants to compile them without a GPU.

use super::program::{Kernel, Variant};
use super::{backward, convolve, norm, prepare, project, scan, step};
use crate::program::KernelSource;

/// Every kernel in every variant that a launch may ask for: heads of 64, 128 and 256, convolutions and
/// products of all sizes.
pub fn kernel_sources() -> Vec<KernelSource> {
    let widths = |kernel: &'static Kernel, widths: &[usize], ragged: &[bool]| {
        let variants = widths.iter().flat_map(|width| {
            ragged.iter().map(|ragged| Variant {
                ragged: *ragged,
                ..Variant::of(*width)
            })
        });
        variants.map(|variant| (kernel, variant)).collect::<Vec<_>>()
    };
    let (heads, both) = ([64, 128, 256], [false, true]);
    let convolutions: Vec<usize> = convolve::CONVOLUTION_WIDTHS.collect();
    let rows: Vec<usize> = (1..=project::SKINNY_ROWS).collect();
    let mut all = Vec::new();
    all.extend(widths(&prepare::PREPARE, &heads, &both));
    for (kernel, variant) in widths(&scan::SCAN, &heads, &both) {
        all.extend(both.map(|precise| (kernel, Variant { precise, ..variant })));
    }
    for (kernel, variant) in widths(&step::STEP, &heads, &both) {
        all.extend(both.map(|convolved| (kernel, Variant { convolved, ..variant })));
    }
    all.extend(widths(&norm::NORM, &heads, &[false]));
    all.extend(widths(&convolve::CONVOLVE, &convolutions, &both));
    all.extend(widths(&project::PROJECT, &rows, &[false]));
    for kernel in backward::KERNELS {
        all.extend(widths(kernel, backward::WIDTHS, &[false]));
    }
    all.extend(widths(&backward::NORM_BACKWARD, &heads, &[false]));
    let source = |(kernel, variant): (&'static Kernel, Variant)| KernelSource {
        file: kernel.file,
        text: kernel.source(),
        definitions: kernel.definitions(variant),
    };
    all.into_iter().map(source).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_that_rust_lays_out_is_asserted_by_the_kernel() {
        let sources = kernel_sources();
        assert!(sources.len() > 60, "{} variants", sources.len());
        for KernelSource {
            file,
            text,
            definitions,
        } in sources
        {
            let names = definitions
                .iter()
                .filter_map(|definition| definition.split_once('='));
            let mirrored = names.filter(|(name, _)| name.starts_with("SIZEOF_") || name.starts_with("RUST_"));
            for (name, _) in mirrored {
                let asserted = text
                    .lines()
                    .any(|line| line.contains("static_assert(") && line.contains(name));
                assert!(asserted, "{file} does not assert {name}");
            }
        }
    }
}
