//! What a piece of a sequence passes through, and the order of the pieces.

use burn::tensor::DType;
use liquid_cuda::device::{Event, Stream};
use liquid_cuda::pass::Piece;
use liquid_cuda::rule::{ConvolvedRows, NormRows, Rows, Sequences, Span};

use super::{Call, Layer, LayerProduct, SpanPlaces};
use crate::cuda::device::{DeviceTensor, Gpu};
use crate::cuda::error::CudaError;

/// What exists for a piece between input and output.
pub(super) struct Work {
    /// Products with the weights side by side.
    products: DeviceTensor,
    /// Queries, keys and values after the convolution, where there is one.
    convolved: Option<DeviceTensor>,
    records: DeviceTensor,
}

impl Work {
    pub(super) fn new(call: &Call, rows: usize, records: usize) -> Result<Self, CudaError> {
        let like = &call.x.tensor;
        Ok(Self {
            products: DeviceTensor::new(like, [rows, call.layer.places.pitch], DType::BF16)?,
            convolved: call
                .tail
                .as_ref()
                .map(|_| DeviceTensor::new(like, [rows, call.layer.channels()], DType::BF16))
                .transpose()?,
            records: DeviceTensor::new(like, [records], DType::U8)?,
        })
    }

    fn span(&self, call: &Call, piece: &Piece) -> Span {
        let places = SpanPlaces {
            products: self.products.address,
            convolved: self.convolved.as_ref().map(|rows| rows.address),
            records: self.records.address,
        };
        call.span(places, piece)
    }

    /// Projections and what does not depend on the state; all of it, for a single token.
    fn front(&self, gpu: &mut Gpu, call: &Call, piece: &Piece) -> Result<(), CudaError> {
        self.project(gpu, call, piece)?;
        self.convolve(gpu, call, piece)?;
        let (span, options) = (self.span(call, piece), call.rule.rule.into());
        // SAFETY: the work space has room for the piece (`Call::run`), the tensors have the layer's extents,
        // and the caller is `inside`.
        unsafe {
            if piece.tokens == 1 {
                gpu.kernels.step(&gpu.stream, &span, None, options, false)?;
            } else {
                gpu.kernels.prepare(&gpu.stream, &span, options)?;
            }
        }
        Ok(())
    }

    /// The products with the weights that read the input, in one if they lie side by side.
    fn project(&self, gpu: &mut Gpu, call: &Call, piece: &Piece) -> Result<(), CudaError> {
        let layer = call.layer;
        let x = Rows {
            address: call.x.address,
            stride: layer.embed,
        };
        let x = x.rows_from(piece.sequence * call.tokens + piece.token);
        let products = layer.products(self.products.address);
        let weights = &layer.weights;
        let product = |i: usize, columns| LayerProduct {
            rows: piece.rows(),
            depth: layer.embed,
            columns,
            x,
            weight: &weights.0[i],
            y: products[i],
            bias: layer.bias(i),
        };
        if weights.are_one(&layer.places) {
            return Layer::multiply(gpu, product(0, layer.places.used));
        }
        for i in 0..weights.0.len() {
            Layer::multiply(gpu, product(i, layer.places.widths[i]))?;
        }
        Ok(())
    }

    /// The convolution, where there is one.
    fn convolve(&self, gpu: &mut Gpu, call: &Call, piece: &Piece) -> Result<(), CudaError> {
        let (Some(convolved), Some(convolution)) = (&self.convolved, call.convolution(piece)) else {
            return Ok(());
        };
        let rows = ConvolvedRows {
            sequences: Sequences::Equal {
                count: piece.sequences,
                tokens: piece.tokens,
            },
            from: call.layer.products(self.products.address)[0],
            to: convolved.address,
            lengths: call.lengths(piece.sequence),
            first: piece.token,
        };
        // SAFETY: as in `front`.
        unsafe { gpu.kernels.convolve(&gpu.stream, &rows, &convolution)? };
        Ok(())
    }

    /// The recurrence of a piece, if it is more than a token, with norm and output gate, on the main stream
    /// or beside it.
    fn scan(&self, gpu: &mut Gpu, call: &Call, piece: &Piece, stream: &Stream) -> Result<(), CudaError> {
        if piece.tokens == 1 {
            return Ok(());
        }
        let (span, precise) = (self.span(call, piece), call.rule.rule.precise);
        // SAFETY: as in `front`; the streams are ordered by events where one needs what the other wrote.
        unsafe {
            match span.norm {
                Some(norm) if !span.gate.address.is_null() => {
                    gpu.kernels.scan(stream, &Span { norm: None, ..span }, precise)?;
                    let rows = NormRows {
                        from: span.output,
                        to: span.output.address,
                        tokens: piece.rows(),
                        heads: span.heads,
                        width: span.width,
                        norm,
                        gate: span.gate,
                    };
                    gpu.kernels.norm(stream, &rows)?;
                }
                _ => gpu.kernels.scan(stream, &span, precise)?,
            }
        }
        Ok(())
    }

    /// The projection of the output.
    fn back(&self, gpu: &mut Gpu, call: &Call, piece: &Piece) -> Result<(), CudaError> {
        let layer = call.layer;
        let y = Rows {
            address: call.output.address,
            stride: layer.columns,
        };
        let product = LayerProduct {
            rows: piece.rows(),
            depth: layer.inner(),
            columns: layer.columns,
            x: self.span(call, piece).output,
            weight: &layer.out,
            y: y.rows_from(piece.sequence * call.tokens + piece.token),
            bias: layer.out_bias(),
        };
        Layer::multiply(gpu, product)
    }
}

/// One piece after the other.
pub(super) fn whole(gpu: &mut Gpu, call: &Call, work: &Work, pieces: &[Piece]) -> Result<(), CudaError> {
    let main = gpu.stream.clone();
    for piece in pieces {
        work.front(gpu, call, piece)?;
        work.scan(gpu, call, piece, &main)?;
        work.back(gpu, call, piece)?;
    }
    Ok(())
}

/// Scan of a piece beside the projections of the next one, that of the last piece beside the output
/// projection of the one before. Pieces take turns with two sets of work space.
pub(super) fn overlapped(
    gpu: &mut Gpu,
    call: &Call,
    work: &[Work],
    pieces: &[Piece],
) -> Result<(), CudaError> {
    let (main, side) = (gpu.stream.clone(), gpu.side.clone());
    let mut before: Option<(&Work, &Piece, Event)> = None;
    for (piece, work) in pieces.iter().zip(work.iter().cycle()) {
        work.front(gpu, call, piece)?;
        side.wait(&gpu.mark(&main)?)?;
        work.scan(gpu, call, piece, &side)?;
        let scanned = gpu.mark(&side)?;
        if let Some((work, piece, scanned)) = before.replace((work, piece, scanned)) {
            main.wait(&scanned)?;
            work.back(gpu, call, piece)?;
        }
    }
    if let Some((work, piece, scanned)) = before {
        main.wait(&scanned)?;
        work.back(gpu, call, piece)?;
    }
    Ok(())
}
