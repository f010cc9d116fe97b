//! The files of kernels, for whoever signs them or checks what was signed.

use std::collections::BTreeMap;

use crate::{KernelSource, rule, transformer};

/// Returns the sources of all kernels in all their variants.
pub fn kernel_sources() -> Vec<KernelSource> {
    [rule::kernel_sources(), transformer::kernel_sources()].concat()
}

/// Returns every file of kernels by its name, as `transformer/norm.cu`, with the whole text that the compiler is given.
/// No other text is ever compiled.
pub fn kernel_files() -> BTreeMap<&'static str, String> {
    let sources = kernel_sources().into_iter();
    sources.map(|source| (source.file, source.text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_compiled_from_one_text_in_all_its_variants() {
        let files = kernel_files();
        assert!(files.contains_key("scan.cu") && files.contains_key("transformer/gemm.cu"));
        for source in kernel_sources() {
            assert_eq!(files.get(source.file), Some(&source.text), "{}", source.file);
        }
    }
}
