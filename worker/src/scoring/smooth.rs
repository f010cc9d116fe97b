//! Standardising signals and smoothing them along the document, so that a hit lifts its surroundings.

use crate::document::Unit;

/// Subtracts the mean and divides by the standard deviation; all zeros if there is no spread.
pub fn standardise(scores: &mut [f32]) {
    let n = scores.len().max(1) as f64;
    let mean = scores.iter().map(|&s| f64::from(s)).sum::<f64>() / n;
    let variance = scores.iter().map(|&s| (f64::from(s) - mean).powi(2)).sum::<f64>() / n;
    let scale = if variance > 1e-12 {
        1.0 / variance.sqrt()
    } else {
        0.0
    };
    for score in scores {
        *score = ((f64::from(*score) - mean) * scale) as f32;
    }
}

/// Adds `weight * signal` to `total`.
pub fn add_scaled(total: &mut [f32], signal: &[f32], weight: f32) {
    for (total, signal) in total.iter_mut().zip(signal) {
        *total += weight * signal;
    }
}

/// Computes the surroundings of each unit: `log(K * exp((s - max s) / temperature))`, with `K` a two-sided
/// exponential kernel that falls by `e` every `reach` words, ends where a run of texts does, and weighs units by their
/// words. Two passes, linear.
pub fn smooth(units: &[Unit], scores: &[f32], temperature: f32, reach: f32) -> Vec<f32> {
    let max = scores.iter().copied().fold(f32::MIN, f32::max);
    let heat: Vec<f64> = scores
        .iter()
        .map(|&s| f64::from((s - max) / temperature).exp())
        .collect();
    let mut out = vec![0.0_f64; units.len()];
    let mut mass = vec![0.0_f64; units.len()];
    let reach = f64::from(reach);
    let mut pass = |order: &mut dyn Iterator<Item = usize>, own: f64| {
        let (mut sum, mut weight, mut half) = (0.0, 0.0, 0.0);
        let mut run = None;
        for i in order {
            if run.replace(units[i].run) != Some(units[i].run) {
                (sum, weight, half) = (0.0, 0.0, 0.0);
            }
            let words = f64::from(units[i].words.max(1));
            let decay = (-(half + words / 2.0) / reach).exp();
            (sum, weight) = (sum * decay, weight * decay);
            out[i] += sum + own * heat[i] * words;
            mass[i] += weight + own * words;
            sum += heat[i] * words;
            weight += words;
            half = words / 2.0;
        }
    };
    pass(&mut (0..units.len()), 1.0);
    pass(&mut (0..units.len()).rev(), 0.0);
    out.iter()
        .zip(&mass)
        .map(|(sum, weight)| ((sum / weight + 1e-6).ln()) as f32)
        .collect()
}
