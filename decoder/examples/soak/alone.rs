//! What a model answers alone, and how sure that is: the same tokens are read twice, in passes of other sizes, and where a
//! device makes its sums in another order then, the logits differ by its rounding.

use std::error::Error;

use liquid_decoder::engine::Runner;
use liquid_decoder::{CacheSize, KvCache, Logits, Request, Segment, Sequence, Wanted};

type Failure = Box<dyn Error + Send + Sync>;

/// Tokens of a pass: when an answer is written the first of them for the prompt and then one, when it is read again the
/// second.
const PIECES: [usize; 2] = [64, 100];

/// Up to how many times the two passes' difference, the root mean square over a row's logits, a lead may shrink in a third
/// pass. A lead is the difference of two logits: by rounding alone its shift has the square root of 2 of the rows' as standard
/// deviation (1.3 times it in the example `rounding`), so that this is more than five of them, and no token of a load of
/// millions is beyond by chance.
pub(crate) const TIE: f32 = 8.0;

/// An answer of the likeliest tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Alone {
    pub(crate) tokens: Vec<u32>,
    /// For each token by how much its logit is above the next one.
    pub(crate) leads: Vec<f32>,
    /// For each token the lead up to which another one is as good; 0 where all passes have the same bits.
    pub(crate) ties: Vec<f32>,
}

/// A model with memory for one sequence.
pub(crate) struct Reader<R: Runner> {
    runner: R,
    cache: KvCache,
    context: usize,
}

impl<R: Runner> Reader<R> {
    pub(crate) fn new(mut runner: R, context: usize) -> Result<Self, Failure> {
        let cache = runner.cache(CacheSize::of_one(context))?;
        Ok(Self {
            runner,
            cache,
            context,
        })
    }

    pub(crate) fn into_runner(self) -> R {
        self.runner
    }

    /// Writes the likeliest tokens behind a prompt, and reads all of them again.
    pub(crate) fn answer(&mut self, request: &Request) -> Result<Alone, Failure> {
        let Request {
            prompt, max_tokens, ..
        } = request;
        let (mut alone, mut rows) = (Alone::default(), Vec::new());
        let mut sequence = self.cache.sequence(&[], self.context)?;
        let mut row = self.read(&mut sequence, prompt, PIECES[0], 1)?;
        loop {
            let best = Best::of(&row);
            alone.tokens.push(best.token);
            alone.leads.push(best.lead);
            rows.append(&mut row);
            if alone.tokens.len() == *max_tokens {
                break;
            }
            row = self.read(&mut sequence, &[best.token], 1, 1)?;
        }
        self.cache.release(sequence);
        let mut tokens = prompt.clone();
        tokens.extend(alone.tokens.iter().take(max_tokens - 1));
        let mut sequence = self.cache.sequence(&[], self.context)?;
        let again = self.read(&mut sequence, &tokens, PIECES[1], *max_tokens)?;
        self.cache.release(sequence);
        let vocabulary = self.runner.architecture().vocab_size;
        let pairs = rows.chunks_exact(vocabulary).zip(again.chunks_exact(vocabulary));
        alone.ties = pairs.map(|(row, again)| TIE * difference(row, again)).collect();
        Ok(alone)
    }

    /// Reads tokens in pieces. Returns the logits of the last rows.
    fn read(
        &mut self,
        sequence: &mut Sequence,
        tokens: &[u32],
        piece: usize,
        rows: usize,
    ) -> Result<Vec<f32>, Failure> {
        let mut values = Vec::new();
        let first = tokens.len() - rows;
        for (number, tokens) in tokens.chunks(piece).enumerate() {
            let wanted = match number * piece + tokens.len() > first {
                true => Wanted::All,
                false => Wanted::Nothing,
            };
            let mut segments = [Segment {
                sequence: &mut *sequence,
                tokens,
                wanted,
            }];
            let logits = self.runner.pass(&mut self.cache, &mut segments)?;
            values.extend(logits.into_iter().flat_map(Logits::into_values));
        }
        let vocabulary = self.runner.architecture().vocab_size;
        Ok(values.split_off(values.len() - rows * vocabulary))
    }
}

/// Lifts ties to the median of all answers'. Two passes may have the same bits at a token, as where the first of them read
/// all of a short prompt and the second one did, and a third pass rounds there all the same.
pub(crate) fn lift_ties(answers: &mut [&mut Alone]) {
    let mut ties: Vec<f32> = answers
        .iter()
        .flat_map(|alone| alone.ties.iter().copied())
        .collect();
    ties.sort_unstable_by(f32::total_cmp);
    let median = ties.get(ties.len() / 2).copied().unwrap_or_default();
    for tie in answers.iter_mut().flat_map(|alone| &mut alone.ties) {
        *tie = tie.max(median);
    }
}

/// The likeliest token of a row.
pub(crate) struct Best {
    pub(crate) token: u32,
    /// The next one.
    pub(crate) next: u32,
    /// By how much its logit is above that of the next one.
    pub(crate) lead: f32,
}

impl Best {
    pub(crate) fn of(row: &[f32]) -> Self {
        let (mut token, mut next) = (0, 0);
        let (mut first, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
        for (index, logit) in row.iter().enumerate() {
            if *logit > first {
                (next, second) = (token, first);
                (token, first) = (index as u32, *logit);
            } else if *logit > second {
                (next, second) = (index as u32, *logit);
            }
        }
        Self {
            token,
            next,
            lead: first - second,
        }
    }
}

/// Returns the root mean square difference of two rows of logits. What is added to all logits of a row changes no token.
pub(crate) fn difference(one: &[f32], other: &[f32]) -> f32 {
    let count = one.len() as f64;
    let differences = || one.iter().zip(other).map(|(one, other)| f64::from(one - other));
    let mean = differences().sum::<f64>() / count;
    let square = differences().map(|x| (x - mean).powi(2)).sum::<f64>();
    (square / count).sqrt() as f32
}
