//! Times of the kernels and products alone.

use anyhow::Result;
use liquid_attention::cuda::timing;

/// Measures and prints them at several lengths.
pub(in crate::suite) fn print() -> Result<()> {
    for tokens in [2_048, 8_192, 16_384, 32_768] {
        let sizes = timing::Sizes {
            embed: 4096,
            heads: 32,
            tokens,
        };
        let times = timing::kernel_times(0, sizes)?;
        println!("kernels alone, {tokens} tokens, embed 4096, 32 heads:");
        for (name, ms) in times {
            println!("  {name:36} {ms:>9.4} ms");
        }
    }
    Ok(())
}
