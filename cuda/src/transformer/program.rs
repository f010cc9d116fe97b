//! The kernels of `cuda/kernels/transformer`, compiled by NVRTC for the chip at their first use and kept.

use std::collections::HashMap;
use std::ffi::CStr;

use crate::device::{Function, Program};
use crate::error::Error;
use crate::program::{BASE, Definition, KernelSource, TARGET, definitions};

/// A file of kernels and an entry point of it.
#[derive(Debug)]
pub(super) struct Kernel {
    /// Name of the file.
    pub(super) file: &'static str,
    /// Text of the file, which follows base.cuh.
    pub(super) text: &'static str,
    pub(super) entry: &'static CStr,
}

/// What a kernel is compiled for: sizes that choose its code or that it asserts, and its dynamic shared memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Variant {
    pub(super) definitions: Vec<Definition>,
    /// Bytes of dynamic shared memory of a block.
    pub(super) shared: u32,
}

impl Variant {
    /// A variant without dynamic shared memory.
    pub(super) fn new(definitions: &[Definition]) -> Self {
        Self {
            definitions: definitions.to_vec(),
            shared: 0,
        }
    }

    /// The same with so much dynamic shared memory, which the kernel asserts.
    pub(super) fn with_shared(mut self, bytes: usize) -> Self {
        self.definitions.push(("SIZEOF_SHARED", bytes));
        self.shared = bytes as u32;
        self
    }
}

impl Kernel {
    /// The kernel as it is compiled for a variant.
    pub(super) fn source(&self, variant: &Variant) -> KernelSource {
        let map = ("SIZEOF_TENSOR_MAP", size_of::<crate::device::TensorMap>());
        KernelSource {
            file: self.file,
            text: format!("{BASE}\n{}", self.text),
            definitions: definitions(&[&[map], variant.definitions.as_slice()].concat()),
        }
    }
}

/// Loaded kernels of one GPU.
#[derive(Debug, Default)]
pub struct TransformerKernels {
    functions: HashMap<(&'static CStr, Variant), Function>,
}

impl TransformerKernels {
    /// The function for a variant; compiled at the first call, which takes about a second.
    pub(super) fn get(&mut self, kernel: &'static Kernel, variant: Variant) -> Result<Function, Error> {
        let key = (kernel.entry, variant);
        if let Some(function) = self.functions.get(&key) {
            return Ok(*function);
        }
        let source = kernel.source(&key.1);
        let program = Program::compile(source.file, &source.text, TARGET, &source.definitions)?;
        let function = program.function(kernel.entry, key.1.shared)?;
        self.functions.insert(key, function);
        Ok(function)
    }
}
