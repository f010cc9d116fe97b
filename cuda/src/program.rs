//! What the compilations of all kernels have in common.

/// Target of the compiler; the kernels use instructions that exist on this chip alone.
pub const TARGET: &str = "sm_90a";

/// Text in front of every file of kernels.
pub(crate) const BASE: &str = include_str!("../kernels/base.cuh");

/// A kernel as it is compiled, for whoever wants to compile it without a GPU.
#[derive(Clone, Debug)]
pub struct KernelSource {
    /// Name of the file.
    pub file: &'static str,
    /// Whole text that is compiled.
    pub text: String,
    /// Definitions of macros, as `D=128`.
    pub definitions: Vec<String>,
}

/// A macro of the compilation and its value.
pub(crate) type Definition = (&'static str, usize);

/// Definitions as the compiler takes them.
pub(crate) fn definitions(of: &[Definition]) -> Vec<String> {
    of.iter().map(|(name, value)| format!("{name}={value}")).collect()
}
