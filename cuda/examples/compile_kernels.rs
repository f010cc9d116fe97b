//! Compiles every kernel in every variant, which asserts all sizes that Rust and CUDA share. Needs NVRTC and no GPU:
//!
//! ```text
//! cargo run -p liquid-cuda --example compile_kernels [FOLDER]
//! ```
//!
//! With a folder the machine code goes there, a file a variant, to be compared with that of another commit.

use std::error::Error;
use std::path::PathBuf;

use liquid_cuda::device::Program;
use liquid_cuda::{KernelSource, TARGET, kernel_sources};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let sources = kernel_sources();
    for source in &sources {
        let KernelSource {
            file,
            text,
            definitions,
        } = source;
        let code = Program::image(file, text, TARGET, definitions)?;
        let variant: Vec<&str> = (definitions.iter().map(String::as_str))
            .filter(|definition| !definition.starts_with("SIZEOF_") && !definition.starts_with("RUST_"))
            .collect();
        let variant = variant.join(" ");
        println!("{file} {variant}: {} bytes", code.len());
        if let Some(folder) = &folder {
            let name = format!("{file} {variant}.cubin").replace([' ', '='], "_");
            std::fs::write(folder.join(name), code)?;
        }
    }
    println!("{} variants compile for {TARGET}", sources.len());
    Ok(())
}
