//! The part of `cubecl-llvm` 0.11.3 that `cubecl-cuda` names, without LLVM.
//!
//! `cubecl-cuda` always links two code generators, CUDA C++ through NVRTC and PTX through LLVM, and a feature
//! (`cuda-cpp`) chooses the first. This workspace uses the first alone. The second needs an LLVM build that its
//! build script downloads from a release page: ten minutes, 90 MB, and impossible without that host. So the workspace
//! replaces the crate (`[patch.crates-io]` in the root `Cargo.toml`). Asked to generate code all the same, this one
//! answers with an error that says what to switch on.
//!
//! Not for `burn/cpu` and `burn/rocm`, which need the real crate: they fail to compile here, not silently. Delete this
//! folder and the patch once `cubecl-cuda` makes LLVM optional (it was not in cubecl 0.12.0-pre.1).

use core::fmt;

use cubecl_core::Compiler;
use cubecl_core::ir::nvidia::SmArch;
use cubecl_core::prelude::KernelDefinition;
use cubecl_environment::backtrace::BackTrace;
use cubecl_runtime::compiler::CompilationError;
use cubecl_runtime::kernel::BufferIOAttr;

/// Versions of PTX.
pub mod nvptx {
    /// The PTX version that LLVM would emit.
    pub mod ptx_version {
        use core::fmt;

        /// A PTX version; never made here, as nothing emits PTX.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct PtxVersion(u32);

        impl PtxVersion {
            /// No version: the driver's is of no interest without LLVM.
            pub fn for_driver(_driver: i32) -> Option<Self> {
                None
            }
        }

        impl fmt::Display for PtxVersion {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "ptx{}", self.0)
            }
        }
    }
}

/// What a device advertises.
pub mod shared {
    /// Features that LLVM can lower.
    pub mod lowered_features {
        use cubecl_core::ir::DeviceProperties;

        /// The target that features are narrowed for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum GpuTarget {
            /// NVIDIA.
            Nvptx,
        }

        /// Leaves `properties` as they are: what LLVM cannot lower is of no interest without it.
        pub fn restrict_features(_properties: &mut DeviceProperties, _target: GpuTarget) {}
    }
}

/// The target of the code generator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LlvmTarget {
    /// PTX for NVIDIA.
    #[default]
    Nvptx,
}

/// The code generator that is not here.
#[derive(Clone, Debug, Default)]
pub struct PlironCompiler {
    /// Its target.
    pub target: LlvmTarget,
}

/// What `cubecl-cuda` passes to the code generator.
#[derive(Clone, Debug, Default)]
pub struct PlironOptions {
    /// AMD architecture; always `None`.
    pub arch: Option<()>,
    /// NVIDIA architecture.
    pub sm_arch: Option<SmArch>,
    /// PTX version.
    pub ptx_version: Option<nvptx::ptx_version::PtxVersion>,
    /// Whether scalars travel in the parameter block.
    pub grid_constants: bool,
}

/// A compiled module; never made here.
#[derive(Clone, Debug)]
pub struct NvptxModule {
    /// NUL-terminated PTX.
    pub ptx: Vec<core::ffi::c_char>,
    /// Entry point.
    pub entrypoint: String,
    /// Intermediate form, for logs.
    pub ir: String,
    /// Shared memory of a launch, in bytes.
    pub shared_memory_size: usize,
    /// What the kernel does with its buffers.
    pub io: Vec<BufferIOAttr>,
}

/// What compilation gives; never made here.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PlironArtifact {
    /// PTX.
    NvptxCode(NvptxModule),
}

impl fmt::Display for PlironArtifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::NvptxCode(module) = self;
        f.write_str(&module.ir)
    }
}

impl Compiler for PlironCompiler {
    type Representation = PlironArtifact;
    type CompilationOptions = PlironOptions;

    fn compile(&mut self, _: KernelDefinition, _: &PlironOptions) -> Result<PlironArtifact, CompilationError> {
        Err(CompilationError::Generic {
            reason: "this build holds no LLVM; enable the feature `cuda-cpp` of cubecl, which compiles with NVRTC"
                .to_owned(),
            backtrace: BackTrace::capture(),
        })
    }

    fn extension(&self) -> &'static str {
        "ll"
    }

    fn lang_tag(&self) -> &'static str {
        "llvm"
    }
}
