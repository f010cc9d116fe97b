//! One batch on the device: the buffers, the forward pass, the comparison with the question.

use liquid_cuda::device::{Address, Buffer, Element, Layout, Operands, Shape, WORKSPACE};

use super::batch::{Batch, Lists};
use super::error::CudaError;
use super::gpu::{Argument, Blocks, Gpu};
use super::program::{Kernel, Programs};
use super::ranker::Heads;
use super::weights::{Layer, Linear, Norm, OnDevice, split};
use crate::model::bert::Config;
use crate::model::comparison::Compared;
use crate::model::encoder::Encoded;
use crate::vectors::unit;

/// Divisor of the columns of the question's operand, so that there are four shapes of products with it.
const QUESTION_COLUMNS: usize = 32;

/// Buffers for batches of up to `rows` tokens of models that are no wider than `hidden` and `inner`.
pub(super) struct Space {
    rows: usize,
    hidden: usize,
    inner_width: usize,
    /// Hidden states, `[rows, hidden]` f32.
    state: Buffer,
    /// The operand of the next product, `[rows, 3 hidden]` f16.
    operand: Buffer,
    /// The result of a product, up to `[rows, inner]` f32.
    wide: Buffer,
    /// The operand of the product with `down`, `[rows, 3 inner]` f16.
    inner: Buffer,
    /// Work space of the products.
    work: Buffer,
    /// Lists of the batch; grows with it.
    integers: Buffer,
    /// Results of a comparison, or logits; grows with the batch.
    results: Buffer,
}

impl Space {
    pub(super) fn new(gpu: &Gpu, rows: usize, config: &Config) -> Result<Self, CudaError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let (half, single) = (size_of::<u16>(), size_of::<f32>());
        Ok(Self {
            rows,
            hidden,
            inner_width: inner,
            state: gpu.allocate(rows * hidden * single)?,
            operand: gpu.allocate(rows * 3 * hidden * half)?,
            wide: gpu.allocate(rows * inner.max(3 * hidden) * single)?,
            inner: gpu.allocate(rows * 3 * inner * half)?,
            work: gpu.allocate(WORKSPACE)?,
            integers: gpu.allocate(8 * rows * size_of::<i32>())?,
            results: gpu.allocate(4 * rows * single)?,
        })
    }

    /// Returns whether a batch of so many rows fits, of a model with these sizes.
    pub(super) fn fits(&self, rows: usize, config: &Config) -> bool {
        self.rows >= rows && self.hidden >= config.hidden_size && self.inner_width >= config.intermediate_size
    }

    /// Makes a buffer at least that large; what it holds is lost.
    fn grow(gpu: &Gpu, buffer: &mut Buffer, bytes: usize) -> Result<(), CudaError> {
        if buffer.bytes() < bytes {
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

/// A pass of one batch: the device, the model and the buffers that it needs.
pub(super) struct Pass<'a> {
    pub(super) gpu: &'a mut Gpu,
    pub(super) programs: &'a Programs,
    pub(super) model: &'a OnDevice,
    pub(super) space: &'a mut Space,
    pub(super) config: &'a Config,
    /// Rows of the products: the batch's, rounded up. Those beyond the batch are computed and not read.
    pub(super) rows: usize,
}

/// A product of split operands, with the weights of a matrix `[columns, 3 depth]`.
struct Product<'a> {
    /// Address of the split input, `[rows, 3 depth]` f16.
    x: Address,
    weight: &'a Buffer,
    /// Address of the result, `[rows, columns]` f32.
    y: Address,
    depth: usize,
    columns: usize,
}

impl Pass<'_> {
    /// Enqueues the forward pass: the last hidden states, in `space.state` and as operand.
    pub(super) fn forward(&mut self, batch: &Batch) -> Result<(), CudaError> {
        let bytes = size_of_val(batch.integers.as_slice());
        Space::grow(self.gpu, &mut self.space.integers, bytes)?;
        self.gpu.write(&self.space.integers, &batch.integers)?;
        let lists = batch.lists(self.space.integers.address());
        self.embed(batch, lists)?;
        let model = self.model;
        for layer in &model.layers {
            self.attend(batch, lists, &layer.heads)?;
            self.add_attention(batch, layer)?;
            self.feed_forward(batch, layer)?;
        }
        Ok(())
    }

    /// The last hidden states of the batch, `[tokens, hidden]`.
    pub(super) fn states(&mut self, batch: &Batch) -> Result<Vec<f32>, CudaError> {
        self.gpu
            .read(&self.space.state, batch.tokens * self.config.hidden_size)
    }

    /// Compares the batch that has gone through [`Pass::forward`], and adds the results to `to`.
    pub(super) fn compare(
        &mut self,
        batch: &Batch,
        question: &Question,
        to: &mut Compared,
    ) -> Result<(), CudaError> {
        let (windows, units, pieces) = (batch.windows(), batch.units.len(), question.pieces);
        let count = windows * pieces + windows + units;
        Space::grow(self.gpu, &mut self.space.results, count * size_of::<f32>())?;
        self.multiply(&Product {
            x: self.space.operand.address(),
            weight: &question.vectors,
            y: self.space.wide.address(),
            depth: self.config.hidden_size,
            columns: question.columns,
        })?;
        let lists = batch.lists(self.space.integers.address());
        let best = self.space.results.address();
        let cosines = best.offset(windows * pieces * size_of::<f32>());
        let arguments = [
            Argument::Address(best),
            Argument::Address(cosines),
            Argument::Address(cosines.offset(windows * size_of::<f32>())),
            Argument::Address(self.space.state.address()),
            Argument::Address(self.space.wide.address()),
            Argument::Address(question.embedding.address()),
            Argument::Address(lists.windows),
            Argument::Address(lists.units),
            Argument::Int(pieces as i32),
            Argument::Int(question.columns as i32),
        ];
        self.launch(Kernel::Compare, Blocks::row(windows, 256), &arguments)?;
        let results = self.gpu.read(&self.space.results, count)?;
        let (best, cosines) = results.split_at(windows * pieces);
        let (cosines, of_units) = cosines.split_at(windows);
        to.best.extend_from_slice(best);
        to.windows.extend_from_slice(cosines);
        to.units[batch.units.clone()].copy_from_slice(of_units);
        Ok(())
    }

    /// Returns the logit of each token of the batch that has gone through [`Pass::forward`], `[tokens]`: of the first
    /// of a window that of the window.
    pub(super) fn rank(&mut self, batch: &Batch, heads: &Heads<Buffer>) -> Result<Vec<f32>, CudaError> {
        let bytes = batch.tokens * size_of::<f32>();
        Space::grow(self.gpu, &mut self.space.results, bytes)?;
        let lists = batch.lists(self.space.integers.address());
        let arguments = [
            Argument::Address(self.space.results.address()),
            Argument::Address(self.space.state.address()),
            Argument::Address(lists.places),
            Argument::Address(heads.weights.address()),
            Argument::Float(heads.token_bias),
            Argument::Float(heads.window_bias),
            Argument::Int(batch.tokens as i32),
        ];
        self.launch(Kernel::Rank, Self::blocks_of_tokens(batch), &arguments)?;
        self.gpu.read(&self.space.results, batch.tokens)
    }

    /// Enqueues a kernel of the model.
    fn launch(&self, kernel: Kernel, blocks: Blocks, arguments: &[Argument]) -> Result<(), CudaError> {
        self.gpu.launch(self.programs.get(kernel), blocks, arguments)
    }

    /// Words and positions to states.
    fn embed(&mut self, batch: &Batch, lists: Lists) -> Result<(), CudaError> {
        let model = self.model;
        let arguments = [
            Argument::Address(self.space.state.address()),
            Argument::Address(self.space.operand.address()),
            Argument::Address(lists.ids),
            Argument::Address(lists.places),
            Argument::Address(model.words.address()),
            Argument::Address(model.positions.address()),
            Argument::Address(model.norm.scale.address()),
            Argument::Address(model.norm.shift.address()),
            Argument::Int(batch.tokens as i32),
            Argument::Float(self.config.epsilon()),
        ];
        self.launch(Kernel::Embed, Self::blocks_of_tokens(batch), &arguments)
    }

    /// Queries, keys and values, and the attention of every head.
    fn attend(
        &mut self,
        batch: &Batch,
        lists: Lists,
        heads: &Linear<Buffer, Buffer>,
    ) -> Result<(), CudaError> {
        let hidden = self.config.hidden_size;
        let (operand, wide) = (self.space.operand.address(), self.space.wide.address());
        self.multiply(&Product {
            x: operand,
            weight: &heads.weight,
            y: wide,
            depth: hidden,
            columns: 3 * hidden,
        })?;
        let arguments = [operand, wide, heads.bias.address(), lists.tasks].map(Argument::Address);
        let blocks = Blocks {
            grid: [batch.tasks, self.config.num_attention_heads],
            threads: 320,
        };
        self.launch(Kernel::Attend, blocks, &arguments)
    }

    /// The attention's output projection, added to the states and normalised.
    fn add_attention(&mut self, batch: &Batch, layer: &Layer<Buffer, Buffer>) -> Result<(), CudaError> {
        let hidden = self.config.hidden_size;
        self.multiply(&Product {
            x: self.space.operand.address(),
            weight: &layer.attention_output.weight,
            y: self.space.wide.address(),
            depth: hidden,
            columns: hidden,
        })?;
        self.add_norm(batch, &layer.attention_output.bias, &layer.attention_norm)
    }

    /// The two products with GELU between them, added to the states and normalised.
    fn feed_forward(&mut self, batch: &Batch, layer: &Layer<Buffer, Buffer>) -> Result<(), CudaError> {
        let (hidden, inner) = (self.config.hidden_size, self.config.intermediate_size);
        let (wide, activated) = (self.space.wide.address(), self.space.inner.address());
        self.multiply(&Product {
            x: self.space.operand.address(),
            weight: &layer.up.weight,
            y: wide,
            depth: hidden,
            columns: inner,
        })?;
        let arguments = [
            Argument::Address(activated),
            Argument::Address(wide),
            Argument::Address(layer.up.bias.address()),
            Argument::Int(inner as i32),
        ];
        self.launch(Kernel::Gelu, Blocks::row(batch.tokens, 384), &arguments)?;
        self.multiply(&Product {
            x: activated,
            weight: &layer.down.weight,
            y: wide,
            depth: inner,
            columns: hidden,
        })?;
        self.add_norm(batch, &layer.down.bias, &layer.output_norm)
    }

    /// Adds a product and its bias to the states, and normalises them.
    fn add_norm(&mut self, batch: &Batch, bias: &Buffer, norm: &Norm<Buffer>) -> Result<(), CudaError> {
        let space = &self.space;
        let arguments = [
            Argument::Address(space.state.address()),
            Argument::Address(space.operand.address()),
            Argument::Address(space.wide.address()),
            Argument::Address(bias.address()),
            Argument::Address(norm.scale.address()),
            Argument::Address(norm.shift.address()),
            Argument::Int(batch.tokens as i32),
            Argument::Float(self.config.epsilon()),
        ];
        self.launch(Kernel::AddNorm, Self::blocks_of_tokens(batch), &arguments)
    }

    /// Blocks of a kernel that gives each of its eight warps a token.
    fn blocks_of_tokens(batch: &Batch) -> Blocks {
        Blocks::row(batch.tokens.div_ceil(8), 256)
    }

    /// Enqueues a product of all rows.
    fn multiply(&mut self, product: &Product<'_>) -> Result<(), CudaError> {
        let depth = 3 * product.depth;
        let shape = Shape {
            operands: Element::F16,
            y: Element::F32,
            rows: self.rows,
            depth,
            columns: product.columns,
            x_layout: Layout::rows(depth),
            weight_layout: Layout::columns(depth),
            y_stride: product.columns,
        };
        let operands = Operands {
            x: product.x,
            weight: product.weight.address(),
            y: product.y,
            bias: Address::NULL,
        };
        let (workspace, stream) = (self.space.work.address(), &self.gpu.stream);
        // SAFETY: `space` has room for `rows` rows of every shape of the model; columns of a question are
        // fewer than the model's. Buffers live until the stream has come to rest, and it is the only one.
        unsafe { self.gpu.products.run(shape, operands, workspace, stream)? };
        Ok(())
    }
}
