//! The kernels of `worker/kernels/encoder.cu`, compiled by NVRTC for the chip and the model when the device is opened.

use std::ffi::{CStr, CString, c_void};

use cudarc::driver::{result, sys};
use cudarc::nvrtc;

use super::error::CudaError;
use crate::model::bert::Config;

const SOURCE: &str = include_str!("../../../kernels/encoder.cu");

/// An entry point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// Words and positions to states. Its own kernel because no library gathers, adds, normalises and splits in one pass.
    Embed,
    /// Attention of windows of different lengths without padding, in f32.
    Attend,
    /// Residual, bias, norm and split in one pass over memory.
    AddNorm,
    /// Bias, GELU and split in one pass over memory.
    Gelu,
    /// Matches and cosines, so that no hidden state leaves the device.
    Compare,
}

impl Kernel {
    const ALL: [Self; 5] = [
        Self::Embed,
        Self::Attend,
        Self::AddNorm,
        Self::Gelu,
        Self::Compare,
    ];

    fn entry(self) -> &'static CStr {
        match self {
            Self::Embed => c"embed",
            Self::Attend => c"attend",
            Self::AddNorm => c"add_norm",
            Self::Gelu => c"gelu",
            Self::Compare => c"compare",
        }
    }
}

/// The loaded kernels, in the order of [`Kernel::ALL`].
pub(super) struct Programs([sys::CUfunction; Kernel::ALL.len()]);

impl Programs {
    /// Compiles for a chip of this compute capability; the context is current.
    pub(super) fn compile((major, minor): (i32, i32), config: &Config) -> Result<Self, CudaError> {
        let (hidden, heads) = (config.hidden_size, config.num_attention_heads);
        if heads * 32 != hidden || !hidden.is_multiple_of(128) || config.max_position_embeddings > 512 {
            let model = format!(
                "{heads} heads, width {hidden}, {} positions",
                config.max_position_embeddings
            );
            return Err(CudaError::Model(model));
        }
        let options = [
            format!("--gpu-architecture=sm_{major}{minor}"),
            "--std=c++17".to_owned(),
            format!("-DHIDDEN={hidden}"),
            format!("-DHEADS={heads}"),
        ];
        let image = image(&options).map_err(|error| match error {
            CudaError::Compile { log, .. } => CudaError::Compile { major, minor, log },
            other => other,
        })?;
        let mut functions = [std::ptr::null_mut(); Kernel::ALL.len()];
        // SAFETY: `image` is a whole module made for this chip; it is never unloaded, so the functions stay valid.
        unsafe {
            let module = result::module::load_data(image.as_ptr().cast::<c_void>())?;
            for (function, kernel) in functions.iter_mut().zip(Kernel::ALL) {
                *function = result::module::get_function(module, kernel.entry().to_owned())?;
            }
        }
        Ok(Self(functions))
    }

    pub(super) fn get(&self, kernel: Kernel) -> sys::CUfunction {
        self.0[kernel as usize]
    }
}

fn image(options: &[String]) -> Result<Vec<u8>, CudaError> {
    let refuse = |log: String| CudaError::Compile {
        major: 0,
        minor: 0,
        log,
    };
    let source = CString::new(SOURCE).map_err(|error| refuse(error.to_string()))?;
    let program = nvrtc::result::create_program(&source, Some(c"encoder.cu"))?;
    // SAFETY: the program is alive until it is destroyed below, the buffer has the size that NVRTC asked for.
    unsafe {
        if let Err(error) = nvrtc::result::compile_program(program, options) {
            let log = nvrtc::result::get_program_log(program)?;
            let log = CStr::from_ptr(log.as_ptr()).to_string_lossy().into_owned();
            nvrtc::result::destroy_program(program)?;
            return Err(refuse(format!("{error:?} {log}")));
        }
        let mut size = 0;
        nvrtc::sys::nvrtcGetCUBINSize(program, &raw mut size).result()?;
        let mut image = vec![0_u8; size];
        nvrtc::sys::nvrtcGetCUBIN(program, image.as_mut_ptr().cast()).result()?;
        nvrtc::result::destroy_program(program)?;
        Ok(image)
    }
}
