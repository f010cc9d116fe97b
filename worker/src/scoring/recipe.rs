//! How signals become scores: the only place that holds the recipe's constants.
//!
//! Chosen on one half of the documents of the DEV sets and confirmed on the other
//! (`liquid-bench evidence --tier TIER`). Signals are standardised over the document before they are added, so
//! weights compare like with like.

use std::ops::Range;

use super::lexical::TermCounts;
use super::maxsim::WindowMatches;
use super::smooth::{add_scaled, smooth, standardise};
use super::windows::{Window, spread, windows};
use crate::document::{Document, Unit};

/// Words of the windows that embeddings are matched in, and that the encoder reads.
pub const MATCH_WORDS: usize = 50;

/// Words of the windows that the ranker reads, next to each other.
pub const RANKER_WORDS: usize = 100;

/// A BM25 signal.
struct Bm25 {
    /// Words of a window; 0 for a window for each unit.
    words: usize,
    /// Words from the beginning of a window to that of the next.
    stride: usize,
    /// Weight of a hit in the lead of a window's first unit.
    lead_weight: f32,
}

/// The BM25 signals: single units, and windows of two sizes.
const BM25: [Bm25; 3] = [
    Bm25 {
        words: 0,
        stride: 0,
        lead_weight: 2.0,
    },
    Bm25 {
        words: 100,
        stride: 50,
        lead_weight: 1.0,
    },
    Bm25 {
        words: 200,
        stride: 100,
        lead_weight: 0.0,
    },
];

/// Weight of each encoder signal against each BM25 signal, whose weight is 1 (as is that of static signals).
const ENCODER_WEIGHT: f32 = 1.5;

/// Weights of the ranker's signals against each BM25 signal, whose weight is 1: of the mean logit of a unit's tokens, and
/// of the logit of the window around the unit. On documents kept out of the ranker's training nothing else is better.
const RANKER_TOKENS_WEIGHT: f32 = 5.0;
const RANKER_WINDOW_WEIGHT: f32 = 2.0;

/// Neighbouring match windows that make a wide one, and the step between wide ones.
const WIDE: usize = 4;
const WIDE_STEP: usize = 2;

/// The weight and the reach of a unit's surroundings.
struct Smoothing {
    temperature: f32,
    /// Words after which a neighbour counts a factor of `e` less.
    reach: f32,
    /// Weight of the surroundings against the unit itself.
    weight: f32,
}

/// Smoothing of most documents.
const SMOOTH_TEXT: Smoothing = Smoothing {
    temperature: 0.5,
    reach: 100.0,
    weight: 1.0,
};

/// Smoothing of conversations: there the evidence is spread over neighbouring turns, so surroundings count
/// more.
const SMOOTH_TRANSCRIPT: Smoothing = Smoothing {
    temperature: 1.0,
    reach: 300.0,
    weight: 6.0,
};

/// Adds up the lexical signals, a number for each unit.
pub fn sum_lexical(document: &Document<'_>, lexical: &TermCounts) -> Vec<f32> {
    let mut total = vec![0.0; document.units.len()];
    for Bm25 {
        words,
        stride,
        lead_weight,
    } in BM25
    {
        let windows = windows(&document.units, words, stride);
        let scores = lexical.bm25(document, &windows, lead_weight);
        add_standardised(&mut total, spread(document.units.len(), &windows, &scores), 1.0);
    }
    total
}

/// Adds the matches of the input embeddings, near and wide, to the lexical signals in `total`.
pub fn add_static(
    document: &Document<'_>,
    mut total: Vec<f32>,
    windows: &[Window],
    matches: &WindowMatches,
) -> Vec<f32> {
    for signal in near_and_wide(&document.units, windows, matches) {
        add_standardised(&mut total, signal, 1.0);
    }
    total
}

/// The signals of an encoder for the match windows that it has read.
pub struct EncoderSignals {
    /// Flags of the windows that were read.
    pub read: Vec<bool>,
    /// Similarities of the windows' hidden states to the question's.
    pub matches: WindowMatches,
    /// Cosine of each window's embedding and the question's; 0 where nothing was read.
    pub window_cosines: Vec<f32>,
    /// Cosine of each unit's mean hidden state and the question's embedding; 0 where nothing was read.
    pub unit_cosines: Vec<f32>,
}

impl EncoderSignals {
    /// Starts the signals of a document of which nothing has been read: `rarity` of the question's pieces,
    /// and the numbers of match windows and of units.
    pub fn unread(rarity: Vec<f32>, windows: usize, units: usize) -> Self {
        Self {
            read: vec![false; windows],
            matches: WindowMatches::new(rarity, windows),
            window_cosines: vec![0.0; windows],
            unit_cosines: vec![0.0; units],
        }
    }
}

/// Adds the encoder's signals to the lexical ones in `total`. Units that were not read get what a line fitted
/// through the read ones predicts from their static score, so that both kinds compare.
pub fn add_encoder(
    document: &Document<'_>,
    mut total: Vec<f32>,
    static_scores: &[f32],
    windows: &[Window],
    signals: &EncoderSignals,
) -> Vec<f32> {
    let units = total.len();
    let read = read_units(units, windows, &signals.read);
    let near = near(units, windows, &signals.matches);
    let cosines = spread(units, windows, &signals.window_cosines);
    for mut signal in [near, cosines, signals.unit_cosines.clone()] {
        predict(&mut signal, &read, static_scores);
        add_standardised(&mut total, signal, ENCODER_WEIGHT);
    }
    let mut wide_windows = wide_ranges(&document.units, windows);
    wide_windows.retain(|range| signals.read[range.clone()].contains(&true));
    let (mut wide, wide_read) = wide(units, windows, &wide_windows, &signals.matches);
    predict(&mut wide, &wide_read, static_scores);
    add_standardised(&mut total, wide, ENCODER_WEIGHT);
    total
}

/// The signals of a ranker for the windows that it has read.
pub struct RankerSignals {
    /// Flags of the windows that were read.
    pub read: Vec<bool>,
    /// Logit of each window; 0 where nothing was read.
    pub window_logits: Vec<f32>,
    /// Mean logit of each unit's tokens; 0 where nothing was read.
    pub unit_logits: Vec<f32>,
}

impl RankerSignals {
    /// Starts the signals of a document of which nothing has been read: the numbers of its windows and units.
    pub fn unread(windows: usize, units: usize) -> Self {
        Self {
            read: vec![false; windows],
            window_logits: vec![0.0; windows],
            unit_logits: vec![0.0; units],
        }
    }
}

/// Adds the ranker's signals to the sum of those before it in `total`. Units that were not read get what a line
/// fitted through the read ones predicts from their static score, so that both kinds compare.
pub fn add_ranker(
    mut total: Vec<f32>,
    static_scores: &[f32],
    windows: &[Window],
    signals: &RankerSignals,
) -> Vec<f32> {
    let read = read_units(total.len(), windows, &signals.read);
    let of_window = spread(total.len(), windows, &signals.window_logits);
    for (mut signal, weight) in [
        (signals.unit_logits.clone(), RANKER_TOKENS_WEIGHT),
        (of_window, RANKER_WINDOW_WEIGHT),
    ] {
        predict(&mut signal, &read, static_scores);
        add_standardised(&mut total, signal, weight);
    }
    total
}

/// Returns whether each unit lies in a window that was read.
fn read_units(units: usize, windows: &[Window], read: &[bool]) -> Vec<bool> {
    let mut flags = vec![false; units];
    for (window, _) in windows.iter().zip(read).filter(|(_, read)| **read) {
        flags[window.start..window.end].fill(true);
    }
    flags
}

/// Makes scores from a sum of signals: standardised, and lifted by their surroundings.
pub fn finish(document: &Document<'_>, mut total: Vec<f32>) -> Vec<f32> {
    standardise(&mut total);
    let Smoothing {
        temperature,
        reach,
        weight,
    } = if document.transcript {
        SMOOTH_TRANSCRIPT
    } else {
        SMOOTH_TEXT
    };
    let mut surroundings = smooth(&document.units, &total, temperature, reach);
    standardise(&mut surroundings);
    add_scaled(&mut total, &surroundings, weight);
    standardise(&mut total);
    total
}

fn add_standardised(total: &mut [f32], mut signal: Vec<f32>, weight: f32) {
    standardise(&mut signal);
    add_scaled(total, &signal, weight);
}

fn near_and_wide(units: &[Unit], windows: &[Window], matches: &WindowMatches) -> [Vec<f32>; 2] {
    let ranges = wide_ranges(units, windows);
    [
        near(units.len(), windows, matches),
        wide(units.len(), windows, &ranges, matches).0,
    ]
}

fn near(units: usize, windows: &[Window], matches: &WindowMatches) -> Vec<f32> {
    let scores: Vec<f32> = (0..windows.len()).map(|w| matches.score(w, w + 1)).collect();
    spread(units, windows, &scores)
}

fn wide(
    units: usize,
    windows: &[Window],
    ranges: &[Range<usize>],
    matches: &WindowMatches,
) -> (Vec<f32>, Vec<bool>) {
    let scores: Vec<f32> = ranges
        .iter()
        .map(|range| matches.score(range.start, range.end))
        .collect();
    let over: Vec<Window> = ranges
        .iter()
        .map(|range| Window {
            start: windows[range.start].start,
            end: windows[range.end - 1].end,
        })
        .collect();
    let mut covered = vec![false; units];
    for window in &over {
        covered[window.start..window.end].fill(true);
    }
    (spread(units, &over, &scores), covered)
}

/// Returns overlapping ranges of match windows that together cover all of them; none crosses the end of a run of texts.
fn wide_ranges(units: &[Unit], windows: &[Window]) -> Vec<Range<usize>> {
    let run_of = |window: &Window| units.get(window.start).map(|unit| unit.run);
    let mut ranges = Vec::new();
    let mut first = 0;
    for run in windows.chunk_by(|a, b| run_of(a) == run_of(b)) {
        let count = run.len();
        let last = count.saturating_sub(WIDE - WIDE_STEP).max(1).min(count);
        let starts = (0..last).step_by(WIDE_STEP);
        ranges.extend(starts.map(|start| first + start..first + (start + WIDE).min(count)));
        first += count;
    }
    ranges
}

/// Fills the units that have no signal by linear regression on the static scores of those that have.
fn predict(signal: &mut [f32], known: &[bool], static_scores: &[f32]) {
    let pairs = || {
        signal
            .iter()
            .zip(static_scores)
            .zip(known)
            .filter(|(_, known)| **known)
            .map(|(pair, _)| pair)
    };
    let n = pairs().count() as f32;
    if n == 0.0 {
        signal.fill(0.0);
        return;
    }
    let mean_y = pairs().map(|(y, _)| y).sum::<f32>() / n;
    let mean_x = pairs().map(|(_, x)| x).sum::<f32>() / n;
    let covariance: f32 = pairs().map(|(y, x)| (y - mean_y) * (x - mean_x)).sum();
    let variance: f32 = pairs().map(|(_, x)| (x - mean_x).powi(2)).sum();
    let slope = if variance > 0.0 {
        covariance / variance
    } else {
        0.0
    };
    for ((y, x), known) in signal.iter_mut().zip(static_scores).zip(known) {
        if !known {
            *y = mean_y + slope * (x - mean_x);
        }
    }
}
