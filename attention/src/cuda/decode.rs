//! One token of every sequence: two products of a few rows, bound by reading their weights once, and between them
//! everything else in one kernel. Three launches in all, each placed while the one before still runs: the weights of
//! the output projection are on their way to L2 while the state is updated. Nothing is captured, so inputs,
//! weights and states may lie elsewhere at every call.

use std::ffi::{c_int, c_void};

use cudarc::driver::sys;

use super::convolution::Convolution;
use super::error::CudaError;
use super::gpu::Gpu;
use super::launch::{Gates, KEY_EPSILON, Rows, Small, Span, parameter};
use super::program::{Kernel, Variant};
use super::weights::MATRICES;
use crate::core::DeltaRule;

/// Rows up to which a product is bound by its weights; more go through cuBLASLt.
pub(super) const FEW: usize = 8;
/// `COLUMNS` in project.cu: columns of a block.
const COLUMNS: usize = 128;
/// Blocks of a cluster, which share the depth: at most as many as any GPU takes, and so many that two on each of 132
/// multiprocessors are all of them. Three would fit, but not in whole clusters: then some run when all others are done.
const PARTS: [usize; 4] = [8, 4, 2, 1];
const AT_ONCE: usize = 264;
/// Bytes of weights that are asked for ahead; a part of L2, so that they are still there when they are read.
const AHEAD: usize = 20 << 20;

/// A matrix `[depth, columns]`, row after row, and where its product goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Few {
    pub(super) weight: u64,
    /// Elements between rows of the weights.
    pub(super) pitch: usize,
    pub(super) columns: usize,
    /// Address of `[columns]`; 0 without.
    pub(super) bias: u64,
    pub(super) to: Rows,
}

/// `Matrix` in project.cu.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Matrix {
    weight: u64,
    y: u64,
    bias: u64,
    pitch: i64,
    stride: i64,
    columns: c_int,
    first: c_int,
}

/// `Matrices` in project.cu.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Matrices {
    matrix: [Matrix; MATRICES],
    count: c_int,
}

/// `Arguments` in step.cu.
#[repr(C)]
struct StepArguments {
    rows: [u64; 5],
    strides: [i64; 5],
    gates: Gates,
    convolution: Convolution,
    gamma: u64,
    initial: u64,
    last: u64,
    scale: f32,
    epsilon: f32,
    norm_epsilon: f32,
    normalise: c_int,
    erase: c_int,
    narrow: c_int,
    group: c_int,
}

impl Gpu {
    /// Products of `rows` rows, at most [`FEW`], of `depth` numbers with up to [`MATRICES`] matrices. With `early` the
    /// launch may be placed while the kernel before runs, which must have written nothing but `x`.
    pub(super) fn project(
        &mut self,
        (x, rows, depth): (Rows, usize, usize),
        matrices: &[Few],
        early: bool,
    ) -> Result<(), CudaError> {
        let mut all = Matrices::default();
        let mut blocks = 0;
        if rows > FEW || matrices.len() > MATRICES {
            let text = format!("{rows} rows and {} matrices in one small product", matrices.len());
            return Err(CudaError::Unsupported(text));
        }
        for (slot, matrix) in all.matrix.iter_mut().zip(matrices) {
            *slot = Matrix {
                weight: matrix.weight,
                y: matrix.to.address,
                bias: matrix.bias,
                pitch: matrix.pitch as i64,
                stride: matrix.to.stride as i64,
                columns: matrix.columns as c_int,
                first: blocks as c_int,
            };
            blocks += matrix.columns.div_ceil(COLUMNS);
        }
        all.count = matrices.len() as c_int;
        let columns: usize = matrices.iter().map(|matrix| matrix.columns).sum();
        let parts = PARTS
            .into_iter()
            .find(|parts| parts * blocks <= AT_ONCE)
            .unwrap_or(1);
        let ahead = if early { AHEAD / (2 * columns * parts) } else { 0 };
        let (stride, depth, ahead) = (x.stride as i64, depth as c_int, ahead as c_int);
        let mut parameters = [
            parameter(&x.address),
            parameter(&stride),
            parameter(&depth),
            parameter(&ahead),
            parameter(&all),
        ];
        self.launch_early(
            (Kernel::Project, rows),
            ([blocks as u32, parts as u32], 256),
            (parts as u32, early),
            &mut parameters,
        )
    }

    /// One token of every sequence. `early` as in [`Gpu::project`]; the state must have been there before that kernel.
    pub(super) fn step(
        &mut self,
        (span, convolution): (&Span, Convolution),
        rule: DeltaRule,
        early: bool,
    ) -> Result<(), CudaError> {
        let rows = [span.q, span.k, span.v, span.output, span.gate];
        let (gamma, norm_epsilon) = span.norm.unwrap_or((Small::NONE, 0.0));
        let arguments = StepArguments {
            rows: rows.map(|rows| rows.address),
            strides: rows.map(|rows| rows.stride as i64),
            gates: span.gates,
            convolution,
            gamma: gamma.address,
            initial: span.initial,
            last: span.last,
            scale: rule.scale,
            epsilon: KEY_EPSILON,
            norm_epsilon,
            normalise: c_int::from(rule.normalise),
            erase: c_int::from(rule.erase),
            narrow: c_int::from(gamma.narrow),
            group: span.group as c_int,
        };
        let kernel = if convolution.weight == 0 {
            Kernel::Step
        } else {
            Kernel::ConvolvedStep
        };
        self.launch_early(
            (kernel, span.width),
            ([span.heads as u32, span.batch as u32], 512),
            (1, early),
            &mut [parameter(&arguments)],
        )
    }

    /// A launch on the main stream, in clusters of so many blocks of a column of the grid; `early` it may begin, up to
    /// its own `griddepcontrol.wait`, while the kernel before runs.
    fn launch_early(
        &mut self,
        (kernel, width): (Kernel, usize),
        (grid, threads): ([u32; 2], u32),
        (cluster, early): (u32, bool),
        parameters: &mut [*mut c_void],
    ) -> Result<(), CudaError> {
        let function = self.programs.get(Variant {
            kernel,
            width,
            precise: false,
            shared: 0,
        })?;
        let attribute = |id, value| sys::CUlaunchAttribute {
            id,
            pad: [0; 4],
            value,
        };
        let mut attributes = [
            attribute(
                sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION,
                sys::CUlaunchAttributeValue {
                    clusterDim: sys::CUlaunchAttributeValue_union__bindgen_ty_1 {
                        x: 1,
                        y: cluster,
                        z: 1,
                    },
                },
            ),
            attribute(
                sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
                sys::CUlaunchAttributeValue {
                    programmaticStreamSerializationAllowed: 1,
                },
            ),
        ];
        let config = sys::CUlaunchConfig {
            gridDimX: grid[0],
            gridDimY: grid[1],
            gridDimZ: 1,
            blockDimX: threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: 0,
            hStream: self.stream.cu_stream(),
            attrs: attributes.as_mut_ptr(),
            numAttrs: 1 + u32::from(early),
        };
        // SAFETY: as `Gpu::launch`; the attributes live until the call returns. What a kernel does before it waits
        // reads weights and states alone, which no kernel of this pass before it writes.
        unsafe {
            sys::cuLaunchKernelEx(
                &raw const config,
                function,
                parameters.as_mut_ptr(),
                std::ptr::null_mut(),
            )
            .result()?;
        }
        Ok(())
    }
}
