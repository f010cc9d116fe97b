//! The kernels of `attention/kernels`, compiled by NVRTC for the chip at their first use and kept.

use std::collections::HashMap;
use std::ffi::CStr;

use cudarc::driver::sys;
use liquid_cuda::Program;

use super::error::CudaError;

const COMMON: &str = include_str!("../../kernels/common.cuh");
/// A kernel file of the backward pass behind what those share.
macro_rules! backward {
    ($file:literal) => {
        (
            $file,
            concat!(
                include_str!("../../kernels/backward.cuh"),
                "\n",
                include_str!(concat!("../../kernels/", $file))
            ),
        )
    };
}
/// Target of the compiler; the kernels use instructions that exist on this chip alone.
const TARGET: &str = "sm_90a";

/// A kernel file and its entry point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kernel {
    /// Everything of a chunk that does not depend on the state.
    Prepare,
    /// The recurrence over chunks.
    Scan,
    /// One token, with and without a convolution before.
    Step,
    ConvolvedStep,
    /// The norm of every head's output.
    Norm,
    /// Products of few rows; compiled for their number.
    Project,
    /// The short convolution, and what it keeps; compiled for its width.
    Convolve,
    KeepTail,
    /// States before every chunk again.
    States,
    /// The gradient by the state.
    Gradients,
    /// The gradients of rows and gates.
    Rows,
    /// The gradients of the norm, and its sum over blocks.
    NormBackward,
    SumParts,
    /// Strengths above zero.
    RaiseStrengths,
}

impl Kernel {
    fn source(self) -> (&'static str, &'static str) {
        match self {
            Self::Prepare => ("prepare.cu", include_str!("../../kernels/prepare.cu")),
            Self::Scan => ("scan.cu", include_str!("../../kernels/scan.cu")),
            Self::Step => ("step.cu", include_str!("../../kernels/step.cu")),
            Self::ConvolvedStep => (
                "step.cu",
                concat!("#define CONVOLVED 1\n", include_str!("../../kernels/step.cu")),
            ),
            Self::Project => ("project.cu", include_str!("../../kernels/project.cu")),
            Self::Convolve | Self::KeepTail => ("convolve.cu", include_str!("../../kernels/convolve.cu")),
            Self::States => backward!("states_backward.cu"),
            Self::Gradients => backward!("gradients_backward.cu"),
            Self::Rows => backward!("rows_backward.cu"),
            Self::NormBackward | Self::SumParts | Self::RaiseStrengths => {
                ("norm_backward.cu", include_str!("../../kernels/norm_backward.cu"))
            }
            Self::Norm => ("norm.cu", include_str!("../../kernels/norm.cu")),
        }
    }

    fn entry(self) -> &'static CStr {
        match self {
            Self::Prepare => c"prepare",
            Self::Scan => c"scan",
            Self::Step | Self::ConvolvedStep => c"step",
            Self::Norm => c"rms_norm",
            Self::Project => c"project",
            Self::Convolve => c"convolve",
            Self::KeepTail => c"keep_tail",
            Self::States => c"states",
            Self::Gradients => c"gradients",
            Self::Rows => c"rows",
            Self::NormBackward => c"rms_norm_backward",
            Self::SumParts => c"sum_parts",
            Self::RaiseStrengths => c"raise_strengths",
        }
    }
}

/// What a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Variant {
    pub(super) kernel: Kernel,
    /// Head size: 64, 128 or 256; rows, of [`Kernel::Project`]; tokens, of [`Kernel::Convolve`].
    pub(super) width: usize,
    pub(super) precise: bool,
    /// Dynamic shared memory of a block.
    pub(super) shared: u32,
}

/// Loaded kernels.
#[derive(Default)]
pub(super) struct Programs(HashMap<Variant, sys::CUfunction>);

impl Programs {
    /// The function for a variant; compiles it at the first call, which takes about a second.
    pub(super) fn get(&mut self, variant: Variant) -> Result<sys::CUfunction, CudaError> {
        if let Some(function) = self.0.get(&variant) {
            return Ok(*function);
        }
        let (name, text) = variant.kernel.source();
        let definitions = [
            format!("D={}", variant.width),
            format!("PRECISE={}", u8::from(variant.precise)),
        ];
        let program = Program::compile(name, &format!("{COMMON}\n{text}"), TARGET, &definitions)?;
        let function = program.function(variant.kernel.entry(), variant.shared)?;
        self.0.insert(variant, function);
        Ok(function)
    }
}
