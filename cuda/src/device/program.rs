//! CUDA C, compiled by NVRTC and loaded into the current context.

#![allow(unsafe_code, reason = "calls of NVRTC and the driver; see SAFETY below")]

use std::ffi::{CStr, CString, c_void};

use cudarc::driver::{result, sys};
use cudarc::nvrtc;

use super::kept::{Recipe, kept_or};
use super::library::Library;
use crate::error::Error;

/// Shared memory that a block may have without being asked for, in bytes (CUDA C programming guide, "Shared
/// memory").
const SHARED: u32 = 48 << 10;

/// A file of kernels in the context that was current when it was compiled. It is never unloaded, so its
/// functions stay valid.
#[derive(Debug)]
pub struct Program(sys::CUmodule);

/// A kernel of a [`Program`], in the context that was current when that was compiled.
#[derive(Clone, Copy, Debug)]
pub struct Function(sys::CUfunction);

// SAFETY: the driver allows any thread to use a module and its functions once their context is current there;
// neither is ever unloaded.
unsafe impl Send for Program {}
// SAFETY: as above; looking a function up and launching it are calls that the driver orders itself.
unsafe impl Sync for Program {}
// SAFETY: as above.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

impl Function {
    pub(super) fn handle(self) -> sys::CUfunction {
        self.0
    }
}

impl Program {
    /// Compiles `source` for `target` (as `sm_90a`), with `definitions` of macros (as `WIDTH=128`), and loads
    /// it into the current context. Takes up to a second, or none where it is kept
    /// ([`keep_programs_in`](super::keep_programs_in)). `name` stands for the source in errors.
    ///
    /// # Errors
    /// [`Error::Library`] without NVRTC, [`Error::Compile`] with the compiler's log, [`Error::Nvrtc`],
    /// [`Error::Driver`].
    pub fn compile(
        name: &'static str,
        source: &str,
        target: &str,
        definitions: &[String],
    ) -> Result<Self, Error> {
        Library::Nvrtc.require()?;
        let recipe = Recipe {
            version: compiler_version()?,
            source,
            target,
            definitions,
        };
        let image = kept_or(&recipe, || Self::image(name, source, target, definitions))?;
        // SAFETY: `image` is a whole module, made by NVRTC.
        let module = unsafe { result::module::load_data(image.as_ptr().cast::<c_void>())? };
        Ok(Self(module))
    }

    /// The kernel with this name, for blocks of `shared` bytes of dynamic shared memory.
    ///
    /// # Errors
    /// [`Error::Driver`]: there is none of this name, or the chip has less shared memory.
    pub fn function(&self, entry: &CStr, shared: u32) -> Result<Function, Error> {
        // SAFETY: the module is loaded, and stays so.
        unsafe {
            let function = result::module::get_function(self.0, entry.to_owned())?;
            if shared > SHARED {
                let limit = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
                result::function::set_function_attribute(function, limit, shared as i32)?;
            }
            Ok(Function(function))
        }
    }

    /// The machine code that [`Self::compile`] would load. Needs no GPU.
    ///
    /// # Errors
    /// [`Error::Library`] without NVRTC, [`Error::Compile`] with the compiler's log, [`Error::Nvrtc`].
    pub fn image(
        name: &'static str,
        source: &str,
        target: &str,
        definitions: &[String],
    ) -> Result<Vec<u8>, Error> {
        Library::Nvrtc.require()?;
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
        // SAFETY: the program is alive until it is destroyed below, the buffer has the size that NVRTC asked
        // for.
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
}

/// Version of NVRTC.
fn compiler_version() -> Result<(i32, i32), Error> {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: writes two numbers.
    unsafe { nvrtc::sys::nvrtcVersion(&raw mut major, &raw mut minor).result()? };
    Ok((major, minor))
}
