//! Weights on their way from mapped files to the device: threads copy pieces into pinned memory, and the device fetches
//! them while the next ones are copied. What becomes FP8 is rounded on the device.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use half::{bf16, f16};
use liquid_cuda::device::{Address, Buffer, Context, Event, PinnedBuffer, Stream};
use liquid_cuda::transformer::{Quantise, QuantisedRows, TransformerKernels};
use liquid_cuda::{Error, Rows};
use safetensors::tensor::Dtype;

use super::CudaError;
use super::weights::Copy;

/// Threads that copy; more are no faster than the bus.
const THREADS: usize = 8;

/// Bytes of a piece as bf16, but for rows that are longer.
const PIECE: usize = 16 << 20;

/// Hears how many bytes of how many have been read.
pub type LoadProgress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// Some rows of a tensor.
struct Piece<'a> {
    copy: &'a Copy<'a>,
    rows: Range<usize>,
}

/// What the threads share.
struct Transfer<'a> {
    context: &'a Context,
    /// Beginning of the weights' memory.
    base: Address,
    pieces: Vec<Piece<'a>>,
    /// Bytes as bf16 of the longest piece.
    longest: usize,
    next: AtomicUsize,
    failed: AtomicBool,
    read: AtomicU64,
    total: u64,
    kernels: Mutex<TransformerKernels>,
    progress: LoadProgress<'a>,
}

/// Memory of a thread for one piece.
struct Stage {
    pinned: PinnedBuffer,
    /// The piece as bf16 on the device, if it becomes FP8 there.
    device: Option<Buffer>,
    /// When the pinned memory can be written again.
    free: Event,
}

/// Copies all tensors to memory that begins at `base`, and returns when they are there.
pub(super) fn transfer(
    context: &Context,
    base: Address,
    copies: &[Copy<'_>],
    progress: LoadProgress<'_>,
) -> Result<(), CudaError> {
    let pieces: Vec<Piece<'_>> = copies.iter().flat_map(pieces).collect();
    let transfer = Transfer {
        context,
        base,
        longest: pieces.iter().map(Piece::bf16_bytes).max().unwrap_or(0),
        next: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
        read: AtomicU64::new(0),
        total: copies.iter().map(|copy| copy.bytes.len() as u64).sum(),
        kernels: Mutex::default(),
        progress,
        pieces,
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.min(THREADS))
            .map(|_| std::thread::Builder::new().spawn_scoped(scope, || transfer.work()))
            .collect();
        let mut outcome = Ok(());
        for thread in threads {
            let worked = match thread?.join() {
                Ok(worked) => worked.map_err(CudaError::from),
                Err(panic) => std::panic::resume_unwind(panic),
            };
            outcome = outcome.and(worked);
        }
        outcome
    })
}

/// Cuts a tensor into pieces of whole rows.
fn pieces<'a>(copy: &'a Copy<'a>) -> impl Iterator<Item = Piece<'a>> {
    let row = copy.columns * size_of::<u16>();
    let step = (PIECE / row.max(1)).max(1);
    (0..copy.rows).step_by(step).map(move |first| Piece {
        copy,
        rows: first..(first + step).min(copy.rows),
    })
}

impl Piece<'_> {
    fn numbers(&self) -> usize {
        self.rows.len() * self.copy.columns
    }

    fn bf16_bytes(&self) -> usize {
        self.numbers() * size_of::<u16>()
    }

    /// Returns the rows as they are stored.
    fn stored(&self) -> &[u8] {
        let row = self.copy.bytes.len() / self.copy.rows.max(1);
        let range = self.rows.start * row..self.rows.end * row;
        self.copy.bytes.get(range).unwrap_or_default()
    }

    /// Writes the rows as bf16.
    fn write(&self, to: &mut [u8]) {
        let (to, _) = to.as_chunks_mut::<2>();
        let stored = self.stored();
        match self.copy.dtype {
            Dtype::F32 => {
                for (to, from) in to.iter_mut().zip(stored.as_chunks::<4>().0) {
                    *to = bf16::from_f32(f32::from_le_bytes(*from)).to_le_bytes();
                }
            }
            Dtype::F16 => {
                for (to, from) in to.iter_mut().zip(stored.as_chunks::<2>().0) {
                    *to = bf16::from_f32(f16::from_le_bytes(*from).to_f32()).to_le_bytes();
                }
            }
            _ => {
                for (to, from) in to.iter_mut().zip(stored.as_chunks::<2>().0) {
                    *to = *from;
                }
            }
        }
    }
}

impl Transfer<'_> {
    /// Copies pieces until there are no more, or another thread has failed.
    fn work(&self) -> Result<(), Error> {
        let outcome = self.copy_all();
        if outcome.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        outcome
    }

    fn copy_all(&self) -> Result<(), Error> {
        self.context.bind()?;
        let stream = self.context.stream()?;
        let mut stages = [self.stage()?, self.stage()?];
        let mut outcome = Ok(());
        for turn in 0.. {
            let Some(piece) = self.pieces.get(self.next.fetch_add(1, Ordering::Relaxed)) else {
                break;
            };
            let [first, second] = &mut stages;
            let stage = if turn % 2 == 0 { first } else { second };
            outcome = self.copy(piece, stage, &stream);
            if outcome.is_err() || self.failed.load(Ordering::Relaxed) {
                break;
            }
            let bytes = piece.stored().len() as u64;
            let read = self.read.fetch_add(bytes, Ordering::Relaxed) + bytes;
            (self.progress)(read, self.total);
        }
        // Also after an error: the device may still read the stages.
        let rested = stream.synchronize();
        outcome.and(rested)
    }

    fn stage(&self) -> Result<Stage, Error> {
        let rounds = self.pieces.iter().any(|piece| piece.copy.scales.is_some());
        let device = rounds.then(|| self.context.allocate(self.longest));
        Ok(Stage {
            pinned: self.context.pinned(self.longest)?,
            device: device.transpose()?,
            free: self.context.event()?,
        })
    }

    fn copy(&self, piece: &Piece<'_>, stage: &mut Stage, stream: &Stream) -> Result<(), Error> {
        stage.free.synchronize()?;
        piece.write(stage.pinned.bytes_mut());
        let (first, columns) = (piece.rows.start, piece.copy.columns);
        match (piece.copy.scales, &stage.device) {
            (Some(scales), Some(device)) => {
                let quantise = Quantise {
                    x: Rows {
                        address: device.address(),
                        stride: columns,
                    },
                    rows: piece.rows.len(),
                    width: columns,
                    to: QuantisedRows {
                        codes: Rows {
                            address: self.base.offset(piece.copy.to + first * columns),
                            stride: columns,
                        },
                        scales: self.base.offset(scales + first * size_of::<f32>()),
                    },
                    early: false,
                };
                // SAFETY: the stage is as large as the longest piece, and is written again after `free`; place and scales
                // of the rows are the plan's, within the weights' memory.
                unsafe {
                    stream.upload(device.address(), &stage.pinned, piece.bf16_bytes())?;
                    let mut kernels = self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
                    kernels.quantise_rows(stream, &quantise)?;
                }
            }
            _ => {
                let to = piece.copy.to + first * columns * size_of::<u16>();
                // SAFETY: as above.
                unsafe { stream.upload(self.base.offset(to), &stage.pinned, piece.bf16_bytes())? };
            }
        }
        stream.record(&stage.free)
    }
}
