//! One batch on the device: the buffers, the forward pass, the comparison with the question.

use liquid_cuda::{Element, Layout, Operands, Shape, WORKSPACE};

use super::batch::{Batch, Lists};
use super::error::CudaError;
use super::gpu::{Argument, Buffer, Gpu};
use super::program::Kernel;
use super::weights::{Linear, Norm, OnDevice, split};
use crate::model::bert::Config;
use crate::model::comparison::Compared;
use crate::model::encoder::Encoded;
use crate::vectors::unit;
use Argument::{Address, Float, Int};

/// Columns of the question's operand are a multiple of this, so that there are four shapes of products with it.
const QUESTION_COLUMNS: usize = 32;

/// Buffers for batches of up to `rows` tokens.
pub(super) struct Space {
    pub(super) rows: usize,
    /// Hidden states, `[rows, hidden]` f32.
    state: Buffer,
    /// The operand of the next product, `[rows, 3 hidden]` f16.
    operand: Buffer,
    /// What a product gives, up to `[rows, inner]` f32.
    wide: Buffer,
    /// The operand of the product with `down`, `[rows, 3 inner]` f16.
    inner: Buffer,
    work: Buffer,
    /// Grow with what is needed.
    integers: Buffer,
    results: Buffer,
}

impl Space {
    pub(super) fn new(gpu: &Gpu, rows: usize, config: &Config) -> Result<Self, CudaError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let (half, single) = (size_of::<u16>(), size_of::<f32>());
        Ok(Self {
            rows,
            state: gpu.allocate(rows * hidden * single)?,
            operand: gpu.allocate(rows * 3 * hidden * half)?,
            wide: gpu.allocate(rows * inner.max(3 * hidden) * single)?,
            inner: gpu.allocate(rows * 3 * inner * half)?,
            work: gpu.allocate(WORKSPACE)?,
            integers: gpu.allocate(8 * rows * size_of::<i32>())?,
            results: gpu.allocate(4 * rows * single)?,
        })
    }

    /// Makes a buffer at least that large; what it holds is lost.
    fn grow(gpu: &Gpu, buffer: &mut Buffer, bytes: usize) -> Result<(), CudaError> {
        if buffer.bytes < bytes {
            gpu.wait()?;
            *buffer = gpu.allocate(bytes)?;
        }
        Ok(())
    }
}

/// A question on the device.
pub(super) struct Question {
    ids: Vec<u32>,
    pieces: usize,
    /// Unit vectors of the matched pieces, `[columns, 3 hidden]` f16; those beyond the pieces are zeros.
    vectors: Buffer,
    columns: usize,
    /// The embedding, `[hidden]` f32.
    embedding: Buffer,
}

impl Question {
    pub(super) fn new(gpu: &Gpu, ids: &[u32], pieces: usize, said: &Encoded) -> Result<Self, CudaError> {
        let hidden = said.sentence.len();
        let columns = pieces.max(1).next_multiple_of(QUESTION_COLUMNS);
        let mut vectors: Vec<f32> = said
            .tokens
            .chunks_exact(hidden)
            .take(pieces)
            .flat_map(unit)
            .collect();
        vectors.resize(columns * hidden, 0.0);
        Ok(Self {
            ids: ids.to_vec(),
            pieces,
            vectors: gpu.upload(&split(&vectors, hidden))?,
            columns,
            embedding: gpu.upload(&said.sentence)?,
        })
    }

    pub(super) fn is(&self, ids: &[u32], pieces: usize) -> bool {
        self.pieces == pieces && self.ids == ids
    }
}

/// Everything that a batch needs.
pub(super) struct Pass<'a> {
    pub(super) gpu: &'a mut Gpu,
    pub(super) model: &'a OnDevice,
    pub(super) space: &'a mut Space,
    pub(super) config: &'a Config,
    /// Rows of the products: the batch's, rounded up. What lies beyond the batch is computed and not looked at.
    pub(super) rows: usize,
}

impl Pass<'_> {
    /// Enqueues the forward pass: the last hidden states, in `space.state` and as operand.
    pub(super) fn forward(&mut self, batch: &Batch) -> Result<(), CudaError> {
        let (hidden, inner) = (self.config.hidden_size, self.config.intermediate_size);
        Space::grow(
            self.gpu,
            &mut self.space.integers,
            size_of_val(batch.integers.as_slice()),
        )?;
        self.gpu.write(&self.space.integers, &batch.integers)?;
        let lists = batch.lists(self.space.integers.address);
        let model = self.model;
        self.embed(batch, lists)?;
        let [operand, wide, of_inner] =
            [&self.space.operand, &self.space.wide, &self.space.inner].map(|buffer| buffer.address);
        for layer in &model.layers {
            self.product(operand, &layer.heads, wide, [hidden, 3 * hidden])?;
            let grid = (batch.tasks, self.config.num_attention_heads);
            let bias = layer.heads.bias.address;
            let arguments = &mut [operand, wide, bias, lists.tasks].map(Address);
            self.gpu.launch(Kernel::Attend, (grid, 320), arguments)?;
            self.product(operand, &layer.attention_output, wide, [hidden, hidden])?;
            self.add_norm(batch, &layer.attention_output.bias, &layer.attention_norm)?;
            self.product(operand, &layer.up, wide, [hidden, inner])?;
            let mut arguments = [of_inner, wide, layer.up.bias.address].map(Address).to_vec();
            arguments.push(Int(inner as i32));
            self.gpu
                .launch(Kernel::Gelu, ((batch.tokens, 1), 384), &mut arguments)?;
            self.product(of_inner, &layer.down, wide, [inner, hidden])?;
            self.add_norm(batch, &layer.down.bias, &layer.output_norm)?;
        }
        Ok(())
    }

    /// The last hidden states of the batch, `[tokens, hidden]`.
    pub(super) fn states(&mut self, batch: &Batch) -> Result<Vec<f32>, CudaError> {
        self.gpu
            .read(&self.space.state, batch.tokens * self.config.hidden_size)
    }

    /// Compares the batch that has gone through [`Pass::forward`], and adds what comes of it.
    pub(super) fn compare(
        &mut self,
        batch: &Batch,
        question: &Question,
        to: &mut Compared,
    ) -> Result<(), CudaError> {
        let (windows, units, pieces) = (batch.windows(), batch.units.len(), question.pieces);
        let count = windows * pieces + windows + units;
        Space::grow(self.gpu, &mut self.space.results, count * size_of::<f32>())?;
        let shape = [self.config.hidden_size, question.columns];
        let (operand, wide) = (self.space.operand.address, self.space.wide.address);
        self.multiply(operand, &question.vectors, wide, shape)?;
        let lists = batch.lists(self.space.integers.address);
        let best = self.space.results.address;
        let cosines = best + (windows * pieces * size_of::<f32>()) as u64;
        let of_units = cosines + (windows * size_of::<f32>()) as u64;
        let (state, embedding) = (self.space.state.address, question.embedding.address);
        let addresses = [
            best,
            cosines,
            of_units,
            state,
            wide,
            embedding,
            lists.windows,
            lists.units,
        ];
        let mut arguments = addresses.map(Address).to_vec();
        arguments.extend([Int(pieces as i32), Int(question.columns as i32)]);
        self.gpu
            .launch(Kernel::Compare, ((windows, 1), 256), &mut arguments)?;
        let results = self.gpu.read(&self.space.results, count)?;
        let (best, cosines) = results.split_at(windows * pieces);
        let (cosines, of_units) = cosines.split_at(windows);
        to.best.extend_from_slice(best);
        to.windows.extend_from_slice(cosines);
        to.units[batch.units.clone()].copy_from_slice(of_units);
        Ok(())
    }

    fn embed(&mut self, batch: &Batch, lists: Lists) -> Result<(), CudaError> {
        let model = self.model;
        let (state, operand) = (self.space.state.address, self.space.operand.address);
        let tables = [
            &model.words,
            &model.positions,
            &model.norm.scale,
            &model.norm.shift,
        ];
        let [words, positions, scale, shift] = tables.map(|buffer| buffer.address);
        let addresses = [
            state,
            operand,
            lists.ids,
            lists.places,
            words,
            positions,
            scale,
            shift,
        ];
        let mut arguments = addresses.map(Address).to_vec();
        arguments.extend([Int(batch.tokens as i32), Float(self.config.epsilon())]);
        self.gpu.launch(
            Kernel::Embed,
            ((batch.tokens.div_ceil(8), 1), 256),
            &mut arguments,
        )
    }

    fn add_norm(&mut self, batch: &Batch, bias: &Buffer, norm: &Norm<Buffer>) -> Result<(), CudaError> {
        let space = &self.space;
        let buffers = [
            &space.state,
            &space.operand,
            &space.wide,
            bias,
            &norm.scale,
            &norm.shift,
        ];
        let mut arguments = buffers.map(|buffer| Address(buffer.address)).to_vec();
        arguments.extend([Int(batch.tokens as i32), Float(self.config.epsilon())]);
        self.gpu.launch(
            Kernel::AddNorm,
            ((batch.tokens.div_ceil(8), 1), 256),
            &mut arguments,
        )
    }

    fn product(
        &mut self,
        x: u64,
        map: &Linear<Buffer, Buffer>,
        y: u64,
        shape: [usize; 2],
    ) -> Result<(), CudaError> {
        self.multiply(x, &map.weight, y, shape)
    }

    /// A product of split operands: from `depth` numbers to `columns`.
    fn multiply(
        &mut self,
        x: u64,
        weight: &Buffer,
        y: u64,
        [depth, columns]: [usize; 2],
    ) -> Result<(), CudaError> {
        let depth = 3 * depth;
        let shape = Shape {
            operands: Element::F16,
            y: Element::F32,
            rows: self.rows,
            depth,
            columns,
            x_layout: Layout::rows(depth),
            weight_layout: Layout::columns(depth),
            y_stride: columns,
        };
        let operands = Operands {
            x,
            weight: weight.address,
            y,
            bias: 0,
        };
        let (workspace, stream) = (self.space.work.address, self.gpu.stream.cu_stream());
        // SAFETY: `space` has room for `rows` rows of every shape of the model; columns of a question are fewer than the
        // model's. Buffers live until the stream has come to rest, and it is the only one.
        unsafe { self.gpu.products.run(shape, operands, workspace, stream)? };
        Ok(())
    }
}
