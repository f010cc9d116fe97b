//! Windows: runs of whole neighbouring units of about the same number of words, on which signals are computed.

use crate::document::Unit;

/// A run of neighbouring units, `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First unit.
    pub start: usize,
    /// One past the last unit.
    pub end: usize,
}

/// Cuts units into windows of about `words` words that together cover all units; a window begins every
/// `stride` words, so a stride below `words` makes them overlap. 0 words: a window for each unit. No window
/// crosses the end of a run of texts.
pub fn windows(units: &[Unit], words: usize, stride: usize) -> Vec<Window> {
    if words == 0 {
        return (0..units.len())
            .map(|start| Window {
                start,
                end: start + 1,
            })
            .collect();
    }
    let mut windows = Vec::new();
    let mut first = 0;
    for run in units.chunk_by(|a, b| a.run == b.run) {
        add_windows(run, first, words, stride, &mut windows);
        first += run.len();
    }
    windows
}

/// Adds the windows of a run of texts; `first` is the number of its first unit.
fn add_windows(units: &[Unit], first: usize, words: usize, stride: usize, windows: &mut Vec<Window>) {
    let mut start = 0;
    while start < units.len() {
        let (mut end, mut total, mut next) = (start, 0, start);
        while end < units.len() {
            let unit = units[end].words as usize;
            if end > start && total + unit > words {
                break;
            }
            total += unit;
            end += 1;
            if total <= stride {
                next = end;
            }
        }
        windows.push(Window {
            start: first + start,
            end: first + end,
        });
        if end == units.len() {
            break;
        }
        start = next.max(start + 1).min(end);
    }
}

/// Spreads the scores of windows over units: each unit gets the mean over the windows that cover it.
pub fn spread(units: usize, windows: &[Window], scores: &[f32]) -> Vec<f32> {
    let mut sums = vec![0.0_f32; units];
    let mut counts = vec![0.0_f32; units];
    for (window, &score) in windows.iter().zip(scores) {
        for unit in window.start..window.end {
            sums[unit] += score;
            counts[unit] += 1.0;
        }
    }
    sums.iter()
        .zip(&counts)
        .map(|(sum, count)| if *count > 0.0 { sum / count } else { 0.0 })
        .collect()
}
