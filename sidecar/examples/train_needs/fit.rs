//! Fits multinomial logistic regression to examples by AdaGrad, and writes it with weights of 8 bits.

use liquid_sidecar::need::model::Shape;

use super::random::Random;

const EPOCHS: usize = 14;
const RATE: f32 = 0.5;
/// How strongly a weight is pulled to zero, at each step that touches it.
const DECAY: f32 = 2e-5;
/// Share of an example's features that are left out at a step: no single one shall decide.
const DROPPED: f64 = 0.25;

/// An example: its features, its class, and how much it counts.
pub(crate) struct Example {
    /// Numbers of its features, as `features::extract` returns them.
    pub(crate) numbers: Vec<u32>,
    /// Index of its class.
    pub(crate) class: usize,
    /// Factor of its gradient.
    pub(crate) weight: f32,
}

/// Weights, one row of `classes` for each feature.
pub(crate) struct Fitted {
    shape: Shape,
    shift: u32,
    weights: Vec<f32>,
    offsets: Vec<f32>,
}

/// Fits a classifier. The same examples give the same weights.
pub(crate) fn fit(shape: Shape, shift: u32, examples: &[Example]) -> Fitted {
    let size = shape.classes << shape.bits;
    let mut fitted = Fitted {
        shape,
        shift,
        weights: vec![0.0; size],
        offsets: vec![0.0; shape.classes],
    };
    let mut squares = vec![1e-3_f32; size];
    let mut offset_squares = vec![1.0_f32; shape.classes];
    let mut random = Random(7);
    let mut order: Vec<usize> = (0..examples.len()).collect();
    let mut kept = Vec::new();
    for epoch in 0..EPOCHS {
        random.shuffle(&mut order);
        let rate = RATE * (1.0 - epoch as f32 / EPOCHS as f32);
        for example in order.iter().map(|&at| &examples[at]) {
            kept.clear();
            kept.extend(example.numbers.iter().filter(|_| !random.happens(DROPPED)));
            let length = (kept.len().max(1) as f32).sqrt();
            let probabilities = fitted.probabilities(&kept);
            for (class, probability) in probabilities.into_iter().enumerate() {
                let error = (probability - f32::from(u8::from(class == example.class))) * example.weight;
                offset_squares[class] += error * error;
                fitted.offsets[class] -= 0.1 * rate * error / offset_squares[class].sqrt();
                let gradient = error / length;
                for &number in &kept {
                    let at = (number >> shift) as usize * shape.classes + class;
                    squares[at] += gradient * gradient;
                    let weight = &mut fitted.weights[at];
                    *weight -= rate * (gradient / squares[at].sqrt() + DECAY * *weight);
                }
            }
        }
    }
    fitted
}

impl Fitted {
    /// Computes the probabilities of the classes.
    pub(crate) fn probabilities(&self, numbers: &[u32]) -> Vec<f32> {
        let classes = self.shape.classes;
        let length = (numbers.len().max(1) as f32).sqrt();
        let mut logits = vec![0.0; classes];
        for &number in numbers {
            let row = (number >> self.shift) as usize * classes;
            for (logit, weight) in logits.iter_mut().zip(&self.weights[row..row + classes]) {
                *logit += weight;
            }
        }
        for (logit, offset) in logits.iter_mut().zip(&self.offsets) {
            *logit = offset + *logit / length;
        }
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f32> = logits.iter().map(|logit| (logit - highest).exp()).collect();
        let sum: f32 = powers.iter().sum();
        powers.iter().map(|power| power / sum).collect()
    }

    /// Appends the classifier as `Classifier` reads it.
    pub(crate) fn write(&self, file: &mut Vec<u8>) {
        let classes = self.shape.classes;
        let of_class = |class: usize| self.weights.iter().skip(class).step_by(classes);
        let scales: Vec<f32> = (0..classes)
            .map(|class| of_class(class).fold(1e-6_f32, |most, weight| most.max(weight.abs())) / 127.0)
            .collect();
        for (scale, offset) in scales.iter().zip(&self.offsets) {
            file.extend(scale.to_le_bytes());
            file.extend(offset.to_le_bytes());
        }
        for (weight, scale) in self.weights.iter().zip(scales.iter().cycle()) {
            file.push(((weight / scale).round() as i8).cast_unsigned());
        }
    }
}
