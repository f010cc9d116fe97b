//! A trained model: rows of small integers, one for each feature, in one file that the program embeds.

use super::features::{self, BITS};

/// First bytes of a model's file.
pub const MAGIC: &[u8; 8] = b"LMNEED01";
/// Bytes of the SHA-256 of the training data.
pub const DATA_HASH: usize = 32;

/// Size and place of one classifier of the file.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Number of classes.
    pub classes: usize,
    /// Bits of a feature's number that are used, the upper ones: the table has `1 << bits` rows.
    pub bits: u32,
}

impl Shape {
    /// Returns the length of the classifier in the file: scale and offset of each class as little-endian f32, then the
    /// weights, one i8 for each class of each row.
    pub const fn size(self) -> usize {
        self.classes * 8 + (self.classes << self.bits)
    }
}

/// The classifier of needs in the file: the first.
pub const NEED: Shape = Shape {
    classes: 6,
    bits: BITS,
};
/// The classifier of speech in the file: the second.
pub const SPEECH: Shape = Shape {
    classes: 3,
    bits: BITS - 2,
};

/// A classifier in a model's file: multinomial logistic regression over binary features, with weights of 8 bits.
#[derive(Debug, Clone, Copy)]
pub struct Classifier<'a> {
    shape: Shape,
    head: &'a [u8],
    weights: &'a [u8],
}

/// A model's file.
#[derive(Debug, Clone, Copy)]
pub struct Model<'a> {
    /// SHA-256 of the data that it was trained on.
    pub data_hash: &'a [u8],
    /// Tells needs apart: the classes of `Need::ALL`.
    pub need: Classifier<'a>,
    /// Tells speech apart: the classes of `Speech::ALL`.
    pub speech: Classifier<'a>,
}

impl<'a> Model<'a> {
    /// Reads a model's file. Returns None if it is none of this version.
    pub fn read(file: &'a [u8]) -> Option<Self> {
        let rest = file.strip_prefix(MAGIC)?;
        let (data_hash, rest) = rest.split_at_checked(DATA_HASH)?;
        let (need, rest) = Classifier::read(NEED, rest)?;
        let (speech, rest) = Classifier::read(SPEECH, rest)?;
        rest.is_empty().then_some(Self {
            data_hash,
            need,
            speech,
        })
    }
}

impl<'a> Classifier<'a> {
    fn read(shape: Shape, file: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, rest) = file.split_at_checked(shape.classes * 8)?;
        let (weights, rest) = rest.split_at_checked(shape.classes << shape.bits)?;
        Some((Self { shape, head, weights }, rest))
    }

    /// Computes the probabilities of `N` classes for a text. Those beyond the classifier's classes are zero.
    pub fn classify<const N: usize>(&self, text: &str) -> [f32; N] {
        let numbers = features::extract(text);
        let mut sums = [0_i32; N];
        for &number in &numbers {
            let row = (number >> (BITS - self.shape.bits)) as usize * self.shape.classes;
            let row = self
                .weights
                .get(row..row + self.shape.classes)
                .unwrap_or_default();
            for (sum, &weight) in sums.iter_mut().zip(row) {
                *sum += i32::from(weight.cast_signed());
            }
        }
        let length = (numbers.len().max(1) as f32).sqrt();
        let mut logits = [f32::NEG_INFINITY; N];
        for ((logit, sum), head) in logits.iter_mut().zip(sums).zip(self.head.as_chunks::<8>().0) {
            let [a, b, c, d, e, f, g, h] = *head;
            let (scale, offset) = (f32::from_le_bytes([a, b, c, d]), f32::from_le_bytes([e, f, g, h]));
            *logit = offset + scale * sum as f32 / length;
        }
        softmax(logits)
    }
}

fn softmax<const N: usize>(logits: [f32; N]) -> [f32; N] {
    let highest = logits.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let powers = logits.map(|logit| (logit - highest).exp());
    let sum: f32 = powers.iter().sum();
    powers.map(|power| power / sum)
}
