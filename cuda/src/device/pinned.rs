//! Memory of the host that the GPU reads and writes itself, so that a copy needs no thread and runs beside other work.

#![allow(unsafe_code, reason = "memory that the driver allocates; see SAFETY below")]

use std::ffi::c_void;
use std::ptr::NonNull;

use cudarc::driver::{result, sys};

use super::context::Context;
use super::memory::Address;
use super::stream::{Event, Stream};
use crate::error::Error;

/// Memory of the host whose pages stay where they are; freed when this is dropped.
#[derive(Debug)]
pub struct PinnedBuffer {
    context: Context,
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the memory is this value's own, and the driver ties it to no thread.
unsafe impl Send for PinnedBuffer {}

impl Context {
    /// Pinned memory of the host, zeroed.
    ///
    /// # Errors
    /// [`Error::Driver`]: the system does not give as much.
    pub fn pinned(&self, bytes: usize) -> Result<PinnedBuffer, Error> {
        self.bind()?;
        // SAFETY: the context is current; the memory is freed by `PinnedBuffer` alone, and as large as what is zeroed.
        let start = unsafe {
            let start = result::malloc_host(bytes.max(1), 0)?.cast::<u8>();
            start.write_bytes(0, bytes);
            start
        };
        let failed = sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY;
        let start = NonNull::new(start).ok_or(cudarc::driver::DriverError(failed))?;
        Ok(PinnedBuffer {
            context: self.clone(),
            start,
            bytes,
        })
    }
}

impl PinnedBuffer {
    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: so many bytes are allocated and were zeroed; a copy into them is enqueued through `&mut self`, by a caller
        // who promises to wait for it before they are read.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }

    /// Returns the bytes to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and nothing else refers to them; who enqueued a copy from them promised not to write before
        // it is done.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

impl Drop for PinnedBuffer {
    fn drop(&mut self) {
        // What fails here fails because the context is broken; then its memory is gone with it.
        let _ = self.context.bind();
        // SAFETY: allocated by `Context::pinned`, freed once.
        let _ = unsafe { result::free_host(self.start.as_ptr().cast::<c_void>()) };
    }
}

impl Event {
    /// Waits until the event has happened; at once if it was never recorded.
    ///
    /// # Errors
    /// [`Error::Driver`]: what was enqueued before it failed.
    pub fn synchronize(&self) -> Result<(), Error> {
        // SAFETY: the event is alive.
        unsafe { sys::cuEventSynchronize(self.handle()).result()? };
        Ok(())
    }
}

impl Stream {
    /// Enqueues a copy of the first bytes of pinned memory to the device.
    ///
    /// # Errors
    /// [`Error::Extent`]: the pinned memory is smaller; [`Error::Driver`].
    ///
    /// # Safety
    /// `to` is device memory of this stream's context of so many bytes. Both sides stay as they are until the stream has
    /// passed.
    pub unsafe fn upload(&self, to: Address, from: &PinnedBuffer, bytes: usize) -> Result<(), Error> {
        let whole = from.bytes();
        let wanted = whole.get(..bytes).ok_or(Error::Extent {
            wanted: bytes,
            bytes: whole.len(),
        })?;
        if !wanted.is_empty() {
            // SAFETY: the caller's promise.
            unsafe { result::memcpy_htod_async(to.get(), wanted, self.handle())? };
        }
        Ok(())
    }
}
