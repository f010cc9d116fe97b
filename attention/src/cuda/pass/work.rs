//! What a piece of a sequence passes through, and the order of the pieces.

use burn::tensor::DType;
use cudarc::driver::{CudaEvent, sys};

use super::Call;
use crate::cuda::buffer::Buffer;
use crate::cuda::convolution::Convolution;
use crate::cuda::error::CudaError;
use crate::cuda::gpu::Gpu;
use crate::cuda::launch::{Rows, Span};
use crate::cuda::segment::Piece;

/// What exists for a piece between input and output.
pub(super) struct Work {
    /// Products with the weights side by side.
    products: Buffer,
    /// Queries, keys and values after the convolution, where there is one.
    convolved: Option<Buffer>,
    records: Buffer,
}

impl Work {
    pub(super) fn new(call: &Call, rows: usize, records: usize) -> Result<Self, CudaError> {
        let like = &call.x.tensor;
        Ok(Self {
            products: Buffer::new(like, [rows, call.layer.places.pitch], DType::BF16)?,
            convolved: call
                .tail
                .as_ref()
                .map(|_| Buffer::new(like, [rows, call.layer.channels()], DType::BF16))
                .transpose()?,
            records: Buffer::new(like, [records], DType::U8)?,
        })
    }

    fn span(&self, call: &Call, piece: &Piece) -> Result<Span, CudaError> {
        let convolved = self.convolved.as_ref().map(|rows| rows.address);
        call.span((self.products.address, convolved, self.records.address), piece)
    }

    /// Projections and what does not depend on the state; all of it, for a single token.
    fn front(&self, gpu: &mut Gpu, call: &Call, piece: &Piece) -> Result<(), CudaError> {
        let layer = call.layer;
        let x = Rows {
            address: call.x.address,
            stride: layer.embed,
        }
        .skip((piece.sequence * call.tokens + piece.token) * layer.embed);
        let products = layer.products(self.products.address);
        let (rows, embed) = (piece.rows(), layer.embed);
        let weights = &layer.weights;
        if weights.are_one(&layer.places) {
            layer.product(
                gpu,
                (rows, embed, layer.places.used),
                (x, &weights.0[0], products[0], layer.bias(0)),
            )?;
        } else {
            for (i, weight) in weights.0.iter().enumerate() {
                let size = (rows, embed, layer.places.widths[i]);
                layer.product(gpu, size, (x, weight, products[i], layer.bias(i)))?;
            }
        }
        if let (Some(rows), Some(convolution)) = (&self.convolved, call.convolution(piece)) {
            gpu.convolve(
                (products[0], rows.address),
                (piece.sequences, piece.tokens),
                (call.lengths(piece.sequence), piece.token),
                &convolution,
            )?;
        }
        let span = self.span(call, piece)?;
        if piece.tokens == 1 {
            return gpu.step((&span, Convolution::NONE), call.rule.rule, false);
        }
        gpu.prepare(&span, call.rule.rule)
    }

    /// The recurrence of a piece, if it is more than a token, with norm and output gate.
    fn scan(
        &self,
        gpu: &mut Gpu,
        call: &Call,
        piece: &Piece,
        stream: sys::CUstream,
    ) -> Result<(), CudaError> {
        if piece.tokens == 1 {
            return Ok(());
        }
        let (span, precise) = (self.span(call, piece)?, call.rule.rule.precise);
        match span.norm {
            Some(norm) if span.gate.address != 0 => {
                gpu.scan(&Span { norm: None, ..span }, precise, stream)?;
                let size = (piece.rows(), span.heads, span.width);
                gpu.norm((span.output, span.output), size, norm, span.gate, stream)
            }
            _ => gpu.scan(&span, precise, stream),
        }
    }

    /// The projection of the output.
    fn back(&self, gpu: &mut Gpu, call: &Call, piece: &Piece) -> Result<(), CudaError> {
        let layer = call.layer;
        let to = Rows {
            address: call.output.address,
            stride: layer.columns,
        }
        .skip((piece.sequence * call.tokens + piece.token) * layer.columns);
        let size = (piece.rows(), layer.inner(), layer.columns);
        let from = self.span(call, piece)?.output;
        layer.product(gpu, size, (from, &layer.out, to, layer.out_bias()))
    }
}

/// One piece after the other.
pub(super) fn whole(gpu: &mut Gpu, call: &Call, work: &Work, pieces: &[Piece]) -> Result<(), CudaError> {
    for piece in pieces {
        work.front(gpu, call, piece)?;
        work.scan(gpu, call, piece, gpu.stream.cu_stream())?;
        work.back(gpu, call, piece)?;
    }
    Ok(())
}

/// Scan of a piece beside the projections of the next one, that of the last piece beside the output projection of the
/// one before. Pieces take turns with two sets of work space.
pub(super) fn overlapped(
    gpu: &mut Gpu,
    call: &Call,
    work: &[Work],
    pieces: &[Piece],
) -> Result<(), CudaError> {
    let (main, side) = (gpu.stream.cu_stream(), gpu.side.cu_stream());
    let mut before: Option<(&Work, &Piece, CudaEvent)> = None;
    for (piece, work) in pieces.iter().zip(work.iter().cycle()) {
        work.front(gpu, call, piece)?;
        let ready = gpu.mark(main)?;
        gpu.wait(side, &ready)?;
        work.scan(gpu, call, piece, side)?;
        let scanned = gpu.mark(side)?;
        if let Some((work, piece, scanned)) = before.replace((work, piece, scanned)) {
            gpu.wait(main, &scanned)?;
            work.back(gpu, call, piece)?;
        }
    }
    if let Some((work, piece, scanned)) = before {
        gpu.wait(main, &scanned)?;
        work.back(gpu, call, piece)?;
    }
    Ok(())
}
