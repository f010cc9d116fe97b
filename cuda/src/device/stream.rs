//! Work of a GPU in order, and events to wait for.

#![allow(unsafe_code, reason = "calls of the CUDA driver; see SAFETY below")]

use std::sync::Arc;

use cudarc::driver::{CudaEvent, CudaStream, result, sys};

use super::memory::{Address, Buffer, Number};
use crate::error::Error;

/// A queue of a GPU's work, done in the order in which it is enqueued. Clones are the same stream.
#[derive(Clone, Debug)]
pub struct Stream(Arc<CudaStream>);

/// A point in a stream's work. It may be dropped while others still wait for it: the driver keeps it.
#[derive(Debug)]
pub struct Event(CudaEvent);

impl Event {
    pub(super) fn new(event: CudaEvent) -> Self {
        Self(event)
    }

    pub(super) fn handle(&self) -> sys::CUevent {
        self.0.cu_event()
    }

    /// Milliseconds of the GPU's clock from this event to a later one, both made by
    /// [`Context::timing_event`](super::Context::timing_event) and past.
    ///
    /// # Errors
    /// [`Error::Driver`]: one of them has not happened, or takes no time.
    pub fn milliseconds_to(&self, end: &Self) -> Result<f64, Error> {
        Ok(f64::from(self.0.elapsed_ms(&end.0)?))
    }
}

/// A copy of a matrix into columns of a wider one. Sizes and distances are bytes.
#[derive(Clone, Copy, Debug)]
pub struct ColumnCopy {
    /// Address of the first row to be written.
    pub to: Address,
    /// Distance between rows to be written.
    pub to_pitch: usize,
    /// Address of the first row to be read.
    pub from: Address,
    /// Distance between rows to be read.
    pub from_pitch: usize,
    /// Bytes of a row.
    pub width: usize,
    /// Number of rows.
    pub rows: usize,
}

impl Stream {
    pub(super) fn new(stream: Arc<CudaStream>) -> Self {
        Self(stream)
    }

    pub(super) fn handle(&self) -> sys::CUstream {
        self.0.cu_stream()
    }

    pub(super) fn inner(&self) -> &Arc<CudaStream> {
        &self.0
    }

    /// Waits until everything that was enqueued has been done.
    ///
    /// # Errors
    /// [`Error::Driver`]: what was enqueued failed.
    pub fn synchronize(&self) -> Result<(), Error> {
        Ok(self.0.synchronize()?)
    }

    /// Lets an event of the same context happen when everything that was enqueued so far has been done.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub fn record(&self, event: &Event) -> Result<(), Error> {
        // SAFETY: stream and event are alive.
        unsafe { result::event::record(event.handle(), self.handle())? };
        Ok(())
    }

    /// Orders what is enqueued from now on behind an event of the same context.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub fn wait(&self, event: &Event) -> Result<(), Error> {
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: stream and event are alive.
        unsafe { result::stream::wait_event(self.handle(), event.handle(), flags)? };
        Ok(())
    }

    /// Enqueues a copy from the host to the beginning of a buffer. The values may be dropped at once: the
    /// driver has copied them.
    ///
    /// # Errors
    /// [`Error::Extent`]: the buffer is smaller; [`Error::Driver`].
    pub fn write<T: Number>(&self, to: &Buffer, values: &[T]) -> Result<(), Error> {
        self.write_at(to, 0, values)
    }

    /// [`Self::write`], so many bytes behind the beginning of the buffer.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_at<T: Number>(&self, to: &Buffer, offset: usize, values: &[T]) -> Result<(), Error> {
        fits(to, offset.saturating_add(size_of_val(values)))?;
        if values.is_empty() {
            return Ok(());
        }
        let address = to.address().offset(offset).get();
        // SAFETY: the destination is as large; pageable memory is staged before the call returns (CUDA driver
        // API, "API synchronization behavior").
        unsafe { result::memcpy_htod_async(address, values, self.handle())? };
        Ok(())
    }

    /// Reads the beginning of a buffer when everything that was enqueued has been done.
    ///
    /// # Errors
    /// [`Error::Extent`]: the buffer is smaller; [`Error::Driver`].
    pub fn read<T: Number>(&self, from: &Buffer, count: usize) -> Result<Vec<T>, Error> {
        fits(from, count.saturating_mul(size_of::<T>()))?;
        let mut values = vec![T::default(); count];
        if values.is_empty() {
            return Ok(values);
        }
        // SAFETY: the source is as large; `values` lives until the stream has come to rest.
        unsafe { result::memcpy_dtoh_async(&mut values, from.address().get(), self.handle())? };
        self.synchronize()?;
        Ok(values)
    }

    /// Enqueues writing zeros over a buffer.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub fn zero(&self, buffer: &Buffer) -> Result<(), Error> {
        if buffer.bytes() == 0 {
            return Ok(());
        }
        // SAFETY: the extent is the buffer's.
        unsafe { result::memset_d8_async(buffer.address().get(), 0, buffer.bytes(), self.handle())? };
        Ok(())
    }

    /// Enqueues a copy within device memory.
    ///
    /// # Errors
    /// [`Error::Driver`].
    ///
    /// # Safety
    /// Both sides are device memory of this stream's context of so many bytes, and stay so until the stream
    /// has passed.
    pub unsafe fn copy(&self, to: Address, from: Address, bytes: usize) -> Result<(), Error> {
        // SAFETY: the caller's promise.
        unsafe { sys::cuMemcpyDtoDAsync_v2(to.get(), from.get(), bytes, self.handle()).result()? };
        Ok(())
    }

    /// Enqueues writing zeros over device memory.
    ///
    /// # Errors
    /// [`Error::Driver`].
    ///
    /// # Safety
    /// As [`Self::copy`].
    pub unsafe fn clear(&self, to: Address, bytes: usize) -> Result<(), Error> {
        // SAFETY: the caller's promise.
        unsafe { result::memset_d8_async(to.get(), 0, bytes, self.handle())? };
        Ok(())
    }

    /// Enqueues a copy of a matrix into columns of a wider one.
    ///
    /// # Errors
    /// [`Error::Driver`].
    ///
    /// # Safety
    /// As [`Self::copy`], with the extents that `copy` says.
    pub unsafe fn copy_columns(&self, copy: &ColumnCopy) -> Result<(), Error> {
        let device = sys::CUmemorytype::CU_MEMORYTYPE_DEVICE;
        let copy = sys::CUDA_MEMCPY2D {
            srcXInBytes: 0,
            srcY: 0,
            srcMemoryType: device,
            srcHost: std::ptr::null(),
            srcDevice: copy.from.get(),
            srcArray: std::ptr::null_mut(),
            srcPitch: copy.from_pitch,
            dstXInBytes: 0,
            dstY: 0,
            dstMemoryType: device,
            dstHost: std::ptr::null_mut(),
            dstDevice: copy.to.get(),
            dstArray: std::ptr::null_mut(),
            dstPitch: copy.to_pitch,
            WidthInBytes: copy.width,
            Height: copy.rows,
        };
        // SAFETY: the caller's promise; the description is read before the call returns.
        unsafe { sys::cuMemcpy2DAsync_v2(&raw const copy, self.handle()).result()? };
        Ok(())
    }
}

/// An error unless a buffer has so many bytes.
fn fits(buffer: &Buffer, wanted: usize) -> Result<(), Error> {
    if wanted <= buffer.bytes() {
        return Ok(());
    }
    Err(Error::Extent {
        wanted,
        bytes: buffer.bytes(),
    })
}
