//! A GPU that was opened.

#![allow(unsafe_code, reason = "calls of the CUDA driver; see SAFETY below")]

use std::sync::Arc;

use cudarc::driver::{CudaContext, result, sys};

use super::library::Library;
use super::memory::Buffer;
use super::stream::{Event, Stream};
use crate::error::Error;

/// The primary context of a GPU, which all of a process share. Clones are the same context.
#[derive(Clone, Debug)]
pub struct Context(Arc<CudaContext>);

impl Context {
    /// Opens the GPU of this number, which takes some hundred MiB of its memory, and makes this thread use it.
    ///
    /// # Errors
    /// [`Error::Library`] without a driver; [`Error::Driver`] if there is no such GPU or no memory.
    pub fn open(number: usize) -> Result<Self, Error> {
        Library::Cuda.require()?;
        Ok(Self(CudaContext::new(number)?))
    }

    /// Makes the calling thread use this GPU.
    ///
    /// # Errors
    /// [`Error::Driver`]: the context is broken.
    pub fn bind(&self) -> Result<(), Error> {
        Ok(self.0.bind_to_thread()?)
    }

    /// Compute capability, as `(9, 0)`.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub fn compute_capability(&self) -> Result<(i32, i32), Error> {
        Ok(self.0.compute_capability()?)
    }

    /// Name of the GPU, as `NVIDIA H200`.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub fn name(&self) -> Result<String, Error> {
        Ok(self.0.name()?)
    }

    /// A stream whose work is ordered with no other's.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub fn stream(&self) -> Result<Stream, Error> {
        Ok(Stream::new(self.0.new_stream()?))
    }

    /// A stream whose blocks are placed before those of other streams.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub fn urgent_stream(&self) -> Result<Stream, Error> {
        self.bind()?;
        let (mut least, mut greatest) = (0, 0);
        // SAFETY: the pointers are to locals, and the context is current.
        unsafe { sys::cuCtxGetStreamPriorityRange(&raw mut least, &raw mut greatest).result()? };
        Ok(Stream::new(self.0.new_stream_with_priority(greatest)?))
    }

    /// A stream of this GPU that another library made, by its handle; 0 is the default stream.
    ///
    /// # Safety
    /// The handle is that of a stream of this context, which lives longer than what is returned.
    pub unsafe fn borrowed_stream(&self, handle: u64) -> Stream {
        // SAFETY: the caller's promise.
        Stream::new(unsafe { self.0.wrap_borrowed_stream(handle as sys::CUstream) })
    }

    /// An event to wait for.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub fn event(&self) -> Result<Event, Error> {
        let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING;
        Ok(Event::new(self.0.new_event(Some(flags))?))
    }

    /// An event that also takes the GPU's time; see [`Event::milliseconds_to`].
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub fn timing_event(&self) -> Result<Event, Error> {
        let flags = sys::CUevent_flags::CU_EVENT_DEFAULT;
        Ok(Event::new(self.0.new_event(Some(flags))?))
    }

    /// Device memory of so many bytes, which hold anything.
    ///
    /// # Errors
    /// [`Error::Driver`]: out of memory, for which [`Error::is_out_of_memory`] asks.
    pub fn allocate(&self, bytes: usize) -> Result<Buffer, Error> {
        self.bind()?;
        // SAFETY: the context is current; the memory is freed by `Buffer` alone.
        let address = unsafe { result::malloc_sync(bytes.max(1)) }?;
        Ok(Buffer::new(self.clone(), address, bytes))
    }

    /// Bytes of device memory that are free.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub fn free_memory(&self) -> Result<usize, Error> {
        self.bind()?;
        let (free, _) = result::mem_get_info()?;
        Ok(free)
    }

    /// Lets an event happen when everything that was submitted to this GPU so far is done, whatever the
    /// stream, those of other libraries included.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub fn record_all(&self, event: &Event) -> Result<(), Error> {
        // SAFETY: context and event are alive and belong together.
        unsafe { sys::cuCtxRecordEvent(self.0.cu_ctx(), event.handle()).result()? };
        Ok(())
    }

    /// Orders everything that is submitted to this GPU from now on behind an event, whatever the stream.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub fn wait_all(&self, event: &Event) -> Result<(), Error> {
        // SAFETY: as in `record_all`.
        unsafe { sys::cuCtxWaitEvent(self.0.cu_ctx(), event.handle()).result()? };
        Ok(())
    }
}
