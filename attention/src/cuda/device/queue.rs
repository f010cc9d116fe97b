//! The thread on which burn submits to a GPU, in the order in which it was asked: there buffers cost no round
//! trip, and nothing of burn's is still on its way. burn's operations run on a thread before it, which should
//! not wait for it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use burn_cubecl::CubeDevice;
use burn_cubecl::tensor::CubeTensor;
use cubecl::cuda::CudaRuntime;
use cubecl_core::client::Client;
use cubecl_core::device::{DeviceId, DeviceService, ServerUtilitiesHandle};
use cubecl_core::device_handle::DeviceHandle;
use cubecl_core::environment::backtrace::BackTrace;
use cubecl_core::environment::stream::StreamId;
use cubecl_core::server::ServerError;
use cubecl_server::runtime::Runtime;
use cubecl_server::stream::failed_writing;

use crate::cuda::error::CudaError;

pub(super) type Server = <CudaRuntime as Runtime>::Server;

/// Runs a task on the thread on which burn submits, and waits for its result.
pub(in crate::cuda) fn on_device<R: Send + 'static>(
    client: &Client,
    task: impl FnOnce() -> Result<R, CudaError> + Send,
) -> Result<R, CudaError> {
    client
        .exclusive(task)
        .map_err(|error| CudaError::Buffer(format!("{error:?}")))?
}

/// A queue for tasks that nobody waits for.
#[derive(Clone)]
pub(in crate::cuda) struct Queue {
    tasks: DeviceHandle<Tasks>,
    server: DeviceHandle<Server>,
}

/// What the queue is known by on that thread. burn's own name there would be taken while a task runs, which
/// asks it for buffers.
struct Tasks;

impl DeviceService for Tasks {
    fn init(_: DeviceId) -> Self {
        Self
    }

    fn utilities(&self) -> ServerUtilitiesHandle {
        Arc::new(())
    }
}

impl Queue {
    /// The queue of a device. Not to be called on a thread of burn's: it may wait for one.
    pub(in crate::cuda) fn of(device: &CubeDevice) -> Self {
        let device = device.to_id();
        Self {
            tasks: DeviceHandle::new(device),
            server: DeviceHandle::new(device),
        }
    }

    /// Runs a task behind everything that was submitted so far, without waiting for it. If it fails, whoever
    /// reads what it should have written is told why.
    pub(in crate::cuda) fn submit<'a>(
        &self,
        written: impl Iterator<Item = &'a CubeTensor>,
        task: impl FnOnce() -> Result<(), CudaError> + Send + 'static,
    ) {
        let server = self.server.clone();
        let written: Vec<_> = written.map(|tensor| tensor.handle.clone().binding()).collect();
        self.tasks.submit(move |_| {
            // burn would log a panic, and hand on memory in which nothing was written.
            let failure = match catch_unwind(AssertUnwindSafe(task)) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "a panic, printed where it happened".to_owned(),
            };
            let error = ServerError::Generic {
                reason: format!("the fused layer failed on the GPU: {failure}"),
                backtrace: BackTrace::capture(),
            };
            server.submit(move |server| failed_writing(server, StreamId::current(), written, error));
        });
        self.tasks.flush_queue();
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("device", &self.tasks.device_id())
            .finish()
    }
}
