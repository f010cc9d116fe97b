//! The kernels of `cuda/kernels`, compiled by NVRTC for the chip at their first use and kept.
//!
//! Every launch names its file, its entry point, and the sizes and counts that Rust and CUDA must agree on;
//! those are macros of the compilation, which the file asserts.

use std::collections::HashMap;
use std::ffi::CStr;

use super::options::CHUNK;
use super::ragged::{RaggedArguments, SequencePlace};
use super::span::RECORD;
use super::tensors::Gates;
use crate::device::{Function, Program, TensorMap};
use crate::error::Error;
use crate::program::{self, BASE, Definition, TARGET};

const COMMON: &str = include_str!("../../kernels/common.cuh");

/// A file of kernels and an entry point of it.
#[derive(Debug)]
pub(super) struct Kernel {
    /// Name of the file.
    pub(super) file: &'static str,
    /// Text of the file, which follows base.cuh and common.cuh.
    pub(super) text: &'static str,
    pub(super) entry: &'static CStr,
    /// Sizes that the file asserts, for sequences of one length and for ragged ones.
    pub(super) sizes: fn(ragged: bool) -> Vec<Definition>,
    /// Bytes of dynamic shared memory of a block, for a width; asserted as SIZEOF_SHARED if there are any.
    pub(super) shared: fn(width: usize) -> u32,
}

/// What a kernel is compiled for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Variant {
    /// Numbers of a head; rows of a product; tokens of a convolution. `D` in the kernels.
    pub(super) width: usize,
    pub(super) precise: bool,
    pub(super) ragged: bool,
    pub(super) convolved: bool,
}

impl Variant {
    /// The variant of this width.
    pub(super) fn of(width: usize) -> Self {
        Self {
            width,
            ..Self::default()
        }
    }
}

impl Kernel {
    pub(super) fn source(&self) -> String {
        format!("{BASE}\n{COMMON}\n{}", self.text)
    }

    pub(super) fn definitions(&self, variant: Variant) -> Vec<String> {
        let mut definitions = vec![
            ("D", variant.width),
            ("PRECISE", usize::from(variant.precise)),
            ("RAGGED", usize::from(variant.ragged)),
            ("CONVOLVED", usize::from(variant.convolved)),
            ("RUST_CHUNK", CHUNK),
            ("SIZEOF_TENSOR_MAP", size_of::<TensorMap>()),
            ("SIZEOF_RECORD", RECORD),
            ("SIZEOF_GATES", size_of::<Gates>()),
            ("SIZEOF_SEQUENCE", size_of::<SequencePlace>()),
            ("SIZEOF_RAGGED", size_of::<RaggedArguments>()),
        ];
        let shared = (self.shared)(variant.width);
        if shared > 0 {
            definitions.push(("SIZEOF_SHARED", shared as usize));
        }
        definitions.extend((self.sizes)(variant.ragged));
        program::definitions(&definitions)
    }
}

/// Loaded kernels of one GPU.
#[derive(Debug, Default)]
pub struct Kernels {
    functions: HashMap<(&'static CStr, Variant), Function>,
}

impl Kernels {
    /// The function for a variant; compiled at the first call, which takes about a second.
    pub(super) fn get(&mut self, kernel: &'static Kernel, variant: Variant) -> Result<Function, Error> {
        let key = (kernel.entry, variant);
        if let Some(function) = self.functions.get(&key) {
            return Ok(*function);
        }
        let program = Program::compile(
            kernel.file,
            &kernel.source(),
            TARGET,
            &kernel.definitions(variant),
        )?;
        let function = program.function(kernel.entry, (kernel.shared)(variant.width))?;
        self.functions.insert(key, function);
        Ok(function)
    }
}
