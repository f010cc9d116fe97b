//! All kernels as they are compiled, for whoever wants to compile them without a GPU.

use super::attention::{COMBINE, DECODE, HEAD_WIDTHS, PREFILL, decode_variant, prefill_variant};
use super::gemm::{Epilogue, SKINNY_ROWS};
use super::{activation, gate, gather, gemm, norm, rotary, sample};
use crate::device::Precision;
use crate::program::KernelSource;

const BOTH: [Precision; 2] = [Precision::Bf16, Precision::Fp8];

/// Every kernel in every variant that a launch may ask for.
pub fn kernel_sources() -> Vec<KernelSource> {
    let both = [false, true];
    let mut all = vec![
        gather::GATHER.source(&gather::variant()),
        gate::GATE.source(&gate::variant()),
        activation::QUANTISE.source(&activation::variant(true)),
        sample::SAMPLE.source(&sample::variant()),
    ];
    for fp8 in both {
        all.push(activation::SWIGLU.source(&activation::variant(fp8)));
        all.extend(norm::PIECES.map(|pieces| norm::NORM.source(&norm::variant_of(pieces, fp8))));
    }
    for (width, precision) in HEAD_WIDTHS
        .into_iter()
        .flat_map(|width| BOTH.map(|of| (width, of)))
    {
        all.push(rotary::ROTARY.source(&rotary::variant(width, precision)));
        all.push(PREFILL.source(&prefill_variant(width, precision)));
        all.push(DECODE.source(&decode_variant(width, precision)));
        all.push(COMBINE.source(&decode_variant(width, precision)));
    }
    for rows in [1, SKINNY_ROWS] {
        for precision in BOTH {
            for epilogue in [Epilogue::Bf16, Epilogue::F32, Epilogue::Add, Epilogue::SwiGlu] {
                all.push(gemm::GEMM.source(&gemm::variant(rows, precision, epilogue)));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_that_rust_lays_out_is_asserted_by_the_kernel() {
        for source in kernel_sources() {
            let mirrored = source
                .definitions
                .iter()
                .filter_map(|definition| definition.split_once('='));
            for (name, _) in
                mirrored.filter(|(name, _)| name.starts_with("SIZEOF_") || name.starts_with("RUST_"))
            {
                let mut asserts = source.text.lines().filter(|line| line.contains("static_assert("));
                assert!(
                    asserts.any(|line| line.contains(name)),
                    "{} does not assert {name}",
                    source.file
                );
            }
        }
    }
}
