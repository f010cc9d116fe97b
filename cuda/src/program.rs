//! CUDA C, compiled by NVRTC and loaded into the current context.

#![allow(unsafe_code, reason = "calls of NVRTC and the driver; see SAFETY below")]

use std::ffi::{CStr, CString, c_void};

use cudarc::driver::{result, sys};
use cudarc::nvrtc;

use crate::error::Error;

/// Shared memory that a block may have without being asked for, in bytes (CUDA C programming guide, "Shared memory").
const SHARED: u32 = 48 << 10;

/// A file of kernels in the context that was current when it was compiled. It is never unloaded, so its functions stay
/// valid.
#[derive(Debug)]
pub struct Program(sys::CUmodule);

impl Program {
    /// Compiles `source` for `target` (as `sm_90a`) and loads it. Takes up to a second. `name` stands for the source in
    /// errors.
    ///
    /// # Errors
    /// [`Error::Compile`] with the compiler's log, [`Error::Nvrtc`], [`Error::Driver`].
    pub fn compile(
        name: &'static str,
        source: &str,
        target: &str,
        definitions: &[String],
    ) -> Result<Self, Error> {
        let image = image(name, source, target, definitions)?;
        // SAFETY: `image` is a whole module, made by NVRTC.
        let module = unsafe { result::module::load_data(image.as_ptr().cast::<c_void>())? };
        Ok(Self(module))
    }

    /// The kernel with this name, for blocks of `shared` bytes of dynamic shared memory.
    ///
    /// # Errors
    /// [`Error::Driver`]: there is none of this name, or the chip has less shared memory.
    pub fn function(&self, entry: &CStr, shared: u32) -> Result<sys::CUfunction, Error> {
        // SAFETY: the module is loaded, and stays so.
        unsafe {
            let function = result::module::get_function(self.0, entry.to_owned())?;
            if shared > SHARED {
                let limit = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
                result::function::set_function_attribute(function, limit, shared as i32)?;
            }
            Ok(function)
        }
    }
}

/// Machine code of a source.
fn image(name: &'static str, source: &str, target: &str, definitions: &[String]) -> Result<Vec<u8>, Error> {
    let refuse = |log: String| Error::Compile {
        name,
        target: target.to_owned(),
        log,
    };
    let source = CString::new(source).map_err(|error| refuse(error.to_string()))?;
    let title = CString::new(name).map_err(|error| refuse(error.to_string()))?;
    let mut options = vec![format!("--gpu-architecture={target}"), "--std=c++17".to_owned()];
    options.extend(definitions.iter().map(|definition| format!("-D{definition}")));
    let program = nvrtc::result::create_program(&source, Some(&title))?;
    // SAFETY: the program is alive until it is destroyed below, the buffer has the size that NVRTC asked for.
    unsafe {
        if let Err(error) = nvrtc::result::compile_program(program, &options) {
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
