//! A question and the windows to compare with it, and what comes of it: what a device that keeps the hidden
//! states to itself is asked and answers, in place of the states.

use std::ops::Range;

use super::wordpiece::ADDED_TOKENS;

/// A question and the windows to compare with it, as vocabulary ids without `[CLS]` and `[SEP]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Vocabulary ids of the question.
    pub question: Vec<u32>,
    /// Number of the question's pieces, from the first on, that are matched.
    pub pieces: usize,
    ids: Vec<u32>,
    windows: Vec<Window>,
    units: Vec<Range<usize>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    ids: Range<usize>,
    units: Range<usize>,
}

impl Comparison {
    /// Starts a comparison without windows.
    pub fn new(question: Vec<u32>, pieces: usize) -> Self {
        let pieces = pieces.min(question.len());
        Self {
            question,
            pieces,
            ..Self::default()
        }
    }

    /// Adds a window and its units, ranges of the window's ids. What a unit has beyond the window is left out.
    pub fn push(&mut self, ids: &[u32], units: impl Iterator<Item = Range<usize>>) {
        let first = self.units.len();
        let cut = |unit: Range<usize>| unit.start.min(ids.len())..unit.end.min(ids.len());
        self.units.extend(units.map(cut));
        let start = self.ids.len();
        self.ids.extend_from_slice(ids);
        self.windows.push(Window {
            ids: start..self.ids.len(),
            units: first..self.units.len(),
        });
    }

    /// Returns the number of windows.
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// Returns true if there is no window.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// Returns the number of units of all windows.
    pub fn unit_count(&self) -> usize {
        self.units.len()
    }

    /// Returns the ids of each window.
    pub fn windows(&self) -> impl ExactSizeIterator<Item = &[u32]> + Clone {
        self.windows.iter().map(|window| &self.ids[window.ids.clone()])
    }

    /// Returns how many tokens an encoder reads for the windows, `[CLS]` and `[SEP]` of each included.
    pub fn tokens(&self) -> usize {
        self.ids.len() + self.windows.len() * ADDED_TOKENS
    }

    /// Returns the numbers of a window's units.
    pub fn units_of(&self, window: usize) -> Range<usize> {
        self.windows[window].units.clone()
    }

    /// Returns the ids of a unit, as a range of the ids of its window.
    pub fn unit(&self, unit: usize) -> Range<usize> {
        self.units[unit].clone()
    }
}

/// The result of a [`Comparison`]. All numbers are cosines, -1 to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compared {
    /// Cosine of the best token of each window with each piece of the question, `[windows, pieces]`
    /// row-major.
    pub best: Vec<f32>,
    /// Cosine of each window's embedding with the question's.
    pub windows: Vec<f32>,
    /// Cosine of the mean hidden state of each unit with the question's embedding.
    pub units: Vec<f32>,
}
