//! The files of kernels, for whoever signs them or checks what was signed.

use std::collections::BTreeMap;

use crate::{rule, transformer};

/// Returns every file of kernels by its name, as `transformer/norm.cu`, with the whole text that the compiler is given.
/// No other text is ever compiled.
pub fn kernel_files() -> BTreeMap<&'static str, String> {
    let sources = rule::kernel_sources()
        .into_iter()
        .chain(transformer::kernel_sources());
    sources.map(|source| (source.file, source.text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_compiled_from_one_text_in_all_its_variants() {
        let files = kernel_files();
        assert!(files.contains_key("scan.cu") && files.contains_key("transformer/gemm.cu"));
        for source in rule::kernel_sources()
            .into_iter()
            .chain(transformer::kernel_sources())
        {
            assert_eq!(files.get(source.file), Some(&source.text), "{}", source.file);
        }
    }
}
