//! What a ranker is to the engine: a question and windows of word pieces in, logits out. A ranker reads each window
//! together with the question, so nothing that it says about a window holds for another question.

use std::borrow::Cow;

use super::ModelCard;
use super::encoder::EncodeError;

/// Most word pieces of a question that rankers are trained with.
pub const QUESTION_TOKENS: usize = 64;

/// Pieces of a longer question that are read from its beginning; the others are its last. Instructions stand at
/// the ends of a long question more often than in its middle.
const QUESTION_LEAD: usize = 24;

/// Most word pieces of a window that rankers are trained with.
pub const WINDOW_TOKENS: usize = 220;

/// Number of tokens that a ranker adds to each pair: `[CLS]`, and `[SEP]` behind the question and the window.
pub(crate) const PAIR_TOKENS: usize = 3;

/// A model that reads windows with a question. One thread owns it; it may use more inside.
pub trait Ranker: Send {
    /// Returns the most word pieces of a window; `[CLS]`, the question and both `[SEP]` are not counted.
    fn max_tokens(&self) -> usize;

    /// Returns the tokens to ask for at a time, `[CLS]`, question and `[SEP]` of each window counted, if fewer take as
    /// long: so on a device that reads a whole document soon. `None` on a processor.
    fn step_tokens(&self) -> Option<usize> {
        None
    }

    /// Reads windows of vocabulary ids with a question, whose ids come without `[CLS]` and `[SEP]` and are
    /// [shortened](shorten_question). The answers come in the order of the windows. Windows of similar length are
    /// cheapest together.
    ///
    /// # Errors
    /// [`EncodeError`]; then nothing is known about any window.
    fn rank(&mut self, question: &[u32], windows: &[&[u32]]) -> Result<Vec<Ranked>, EncodeError>;

    /// Runs every size of batch once, so that no request meets one for the first time. Returns how many tokens a
    /// second it reads, if that was measured.
    ///
    /// # Errors
    /// [`EncodeError`].
    fn warm_up(&mut self) -> Result<Option<f64>, EncodeError> {
        Ok(None)
    }
}

/// What a ranker says about a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// Logit that the window holds evidence.
    pub window: f32,
    /// Logits that each of the window's pieces is a part of evidence, `[pieces]`.
    pub tokens: Vec<f32>,
}

/// A loaded ranker.
pub struct RankerModel {
    /// The model's name, from its manifest.
    pub name: String,
    /// Identity of the model.
    pub card: ModelCard,
    /// The ranker, which runs the forward pass.
    pub ranker: Box<dyn Ranker>,
}

/// Returns a question as rankers read it: of more than [`QUESTION_TOKENS`] pieces the first and the last.
pub fn shorten_question(ids: &[u32]) -> Cow<'_, [u32]> {
    if ids.len() <= QUESTION_TOKENS {
        return Cow::Borrowed(ids);
    }
    let tail = ids.len() - (QUESTION_TOKENS - QUESTION_LEAD);
    Cow::Owned([&ids[..QUESTION_LEAD], &ids[tail..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_question_loses_its_middle_once() {
        let ids: Vec<u32> = (0..100).collect();
        let short = shorten_question(&ids);
        let expected: Vec<u32> = (0..24).chain(60..100).collect();
        assert_eq!(short, expected);
        assert_eq!(shorten_question(&short), expected);
        assert_eq!(shorten_question(&ids[..64]), &ids[..64]);
        assert!(shorten_question(&[]).is_empty());
    }
}
