//! The launch of a kernel.

#![allow(unsafe_code, reason = "launches kernels; see SAFETY below")]

use std::ffi::c_void;
use std::marker::PhantomData;

use cudarc::driver::sys;

use super::program::Function;
use super::stream::Stream;
use crate::error::Error;

/// A parameter of a launch: a value that the driver copies before the call returns.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct Parameter<'a>(*const c_void, PhantomData<&'a ()>);

impl<'a> Parameter<'a> {
    /// The value as the driver takes it. Its type is laid out as the kernel's parameter: a number, an
    /// address, or a `#[repr(C)]` struct.
    pub fn new<T>(value: &'a T) -> Self {
        Self(std::ptr::from_ref(value).cast(), PhantomData)
    }

    /// Some values of one type, and behind them another.
    pub fn list<T, L>(values: &'a [T], last: &'a L) -> Vec<Self> {
        values.iter().map(Self::new).chain([Self::new(last)]).collect()
    }
}

/// A function, and the blocks that run it.
#[derive(Clone, Copy, Debug)]
pub struct Launch {
    /// The kernel.
    pub function: Function,
    /// Blocks in three dimensions.
    pub grid: [usize; 3],
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of dynamic shared memory of a block; as many as the function was looked up for.
    pub shared: u32,
    /// Blocks of a cluster in three dimensions; `None` for what the kernel itself says.
    pub cluster: Option<[u32; 3]>,
    /// Whether the kernel may be placed, up to its own `griddepcontrol.wait`, while the kernel before runs.
    pub early: bool,
}

impl Launch {
    /// A launch of a function on a grid, without shared memory, clusters or an early start.
    pub fn new(function: Function, grid: [usize; 3], threads: u32) -> Self {
        Self {
            function,
            grid,
            threads,
            shared: 0,
            cluster: None,
            early: false,
        }
    }

    /// Enqueues the launch.
    ///
    /// # Errors
    /// [`Error::Driver`]: the grid or the block is not one that the GPU takes, or what was enqueued before
    /// failed.
    ///
    /// # Safety
    /// Number, order and types of the parameters are the kernel's; the memory behind the addresses among them
    /// has the extent that the kernel uses, and stays allocated until the stream has passed. What an `early`
    /// kernel does before it waits reads nothing that the kernel before it writes.
    pub unsafe fn enqueue(&self, stream: &Stream, parameters: &[Parameter<'_>]) -> Result<(), Error> {
        let mut attributes = Vec::with_capacity(2);
        if let Some([x, y, z]) = self.cluster {
            attributes.push(attribute(
                sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION,
                sys::CUlaunchAttributeValue {
                    clusterDim: sys::CUlaunchAttributeValue_union__bindgen_ty_1 { x, y, z },
                },
            ));
        }
        if self.early {
            attributes.push(attribute(
                sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
                sys::CUlaunchAttributeValue {
                    programmaticStreamSerializationAllowed: 1,
                },
            ));
        }
        let [x, y, z] = self.grid.map(|size| size as u32);
        let config = sys::CUlaunchConfig {
            gridDimX: x,
            gridDimY: y,
            gridDimZ: z,
            blockDimX: self.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: self.shared,
            hStream: stream.handle(),
            attrs: attributes.as_mut_ptr(),
            numAttrs: attributes.len() as u32,
        };
        // SAFETY: the caller's promise; the driver reads configuration, attributes and parameters before the
        // call returns, and writes to none. `Parameter` is a pointer.
        unsafe {
            sys::cuLaunchKernelEx(
                &raw const config,
                self.function.handle(),
                parameters.as_ptr().cast_mut().cast(),
                std::ptr::null_mut(),
            )
            .result()?;
        }
        Ok(())
    }
}

fn attribute(id: sys::CUlaunchAttributeID, value: sys::CUlaunchAttributeValue) -> sys::CUlaunchAttribute {
    sys::CUlaunchAttribute {
        id,
        pad: [0; 4],
        value,
    }
}
