//! Work that was captured once and is enqueued again as a whole.

use std::fmt;

use cudarc::driver::{CudaGraph, sys};

use super::stream::Stream;
use crate::error::Error;

/// Launches, copies and products of a stream, captured with their addresses and sizes, enqueued by one call.
pub struct Graph(CudaGraph);

impl Graph {
    /// Captures what `enqueue` puts into the stream; nothing of it is done. Kernels are compiled and plans of
    /// products made before (by running the same once), because loading a module is refused during a capture.
    ///
    /// # Errors
    /// That of `enqueue`; [`Error::Driver`]: something was enqueued that cannot be captured.
    pub fn capture(
        stream: &Stream,
        enqueue: impl FnOnce(&Stream) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        // Calls of other threads are their own business.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        stream.inner().begin_capture(mode)?;
        let outcome = enqueue(stream);
        let graph = stream.inner().end_capture(sys::CUgraphInstantiate_flags(0));
        outcome?;
        let graph = graph?.ok_or_else(|| Error::Unsupported("a graph of no work".to_owned()))?;
        graph.upload()?;
        Ok(Self(graph))
    }

    /// Enqueues everything once more, in the stream in which it was captured.
    ///
    /// # Errors
    /// [`Error::Driver`].
    ///
    /// # Safety
    /// All addresses of the captured work still have their extents, and stay so until the stream has passed.
    #[allow(unsafe_code, reason = "the promise is the caller's")]
    pub unsafe fn launch(&self) -> Result<(), Error> {
        Ok(self.0.launch()?)
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Graph").finish()
    }
}

#[allow(unsafe_code, reason = "see SAFETY")]
// SAFETY: the driver ties a graph to no thread; launching it takes `&self` of a type that is not `Sync`, so one
// thread at a time does.
unsafe impl Send for Graph {}
