//! What a piece of a sequence passes through, and the order of the pieces.

use burn::tensor::DType;
use cudarc::driver::CudaEvent;

use super::Call;
use crate::cuda::buffer::Buffer;
use crate::cuda::error::CudaError;
use crate::cuda::gpu::Gpu;
use crate::cuda::launch::{Rows, Span};
use crate::cuda::segment::Piece;

/// What exists for a piece between input and output.
pub(super) struct Work {
    /// Products with the five weights side by side.
    products: Buffer,
    records: Buffer,
}

impl Work {
    pub(super) fn new(call: &Call, rows: usize, records: usize) -> Result<Self, CudaError> {
        let like = &call.x.tensor;
        Ok(Self {
            products: Buffer::new(like, [rows, call.layer.places.pitch], DType::BF16)?,
            records: Buffer::new(like, [records], DType::U8)?,
        })
    }

    fn span(&self, call: &Call, piece: &Piece) -> Result<Span, CudaError> {
        call.span((self.products.address, self.records.address), piece)
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
                (x, &weights.0[0], products[0]),
            )?;
        } else {
            let widths = weights.widths()?;
            for ((weight, to), columns) in weights.0.iter().zip(products).zip(widths) {
                layer.product(gpu, (rows, embed, columns), (x, weight, to))?;
            }
        }
        let span = self.span(call, piece)?;
        if piece.tokens == 1 {
            return gpu.step(&span, call.rule.rule, false);
        }
        gpu.prepare(&span, call.rule.rule)
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
        layer.product(gpu, size, (self.span(call, piece)?.output, &layer.out, to))
    }
}

/// One piece after the other.
pub(super) fn whole(gpu: &mut Gpu, call: &Call, work: &Work, pieces: &[Piece]) -> Result<(), CudaError> {
    for piece in pieces {
        work.front(gpu, call, piece)?;
        if piece.tokens > 1 {
            let stream = gpu.stream.cu_stream();
            gpu.scan(&work.span(call, piece)?, call.rule.rule.precise, stream)?;
        }
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
        if piece.tokens > 1 {
            gpu.scan(&work.span(call, piece)?, call.rule.rule.precise, side)?;
        }
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
