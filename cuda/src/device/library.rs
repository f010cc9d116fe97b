//! Whether CUDA's libraries can be loaded.

#![allow(unsafe_code, reason = "asks the loader; see SAFETY below")]

use cudarc::{cublaslt, driver, nvrtc};

use crate::error::Error;

/// A library that is loaded when it is first called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// The CUDA driver.
    Cuda,
    /// The compiler of kernels.
    Nvrtc,
    /// Matrix products.
    CublasLt,
}

impl Library {
    /// Name of the library's file, without ending.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cuda => "libcuda",
            Self::Nvrtc => "libnvrtc",
            Self::CublasLt => "libcublasLt",
        }
    }

    /// Whether the library can be loaded.
    pub fn is_present(self) -> bool {
        // SAFETY: runs the loader, and of the library its initialisers; NVIDIA's have no conditions.
        unsafe {
            match self {
                Self::Cuda => driver::sys::is_culib_present(),
                Self::Nvrtc => nvrtc::sys::is_culib_present(),
                Self::CublasLt => cublaslt::sys::is_culib_present(),
            }
        }
    }

    /// Returns an error unless the library can be loaded.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn require(self) -> Result<(), Error> {
        if self.is_present() {
            return Ok(());
        }
        Err(self.missing())
    }

    /// The error that says that the library cannot be loaded.
    pub fn missing(self) -> Error {
        Error::Library(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_named_with_its_remedy() {
        for library in [Library::Cuda, Library::Nvrtc, Library::CublasLt] {
            match library.require() {
                Ok(()) => assert!(library.is_present()),
                Err(error) => {
                    assert!(!library.is_present());
                    let text = error.to_string();
                    assert!(
                        text.starts_with(library.name()) && text.contains("install"),
                        "{text}"
                    );
                }
            }
        }
    }
}
