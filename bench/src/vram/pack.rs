//! How long a pack of a document is.

use std::path::Path;

use anyhow::Result;
use liquid_worker::engine::{Asks, Budget, Extractor, Request, Settings, Texts, Tier, TierChoice};

use crate::extract::document;

/// Tokens of the pack of a document of so many. The lexical tier makes it: a tier decides which passages are kept, the ratio
/// how many.
pub(super) fn tokens(sets: &Path, tokens: usize, ratio: f64) -> Result<usize> {
    let document = document::build(sets, tokens)?;
    let extraction = Extractor::new(None, Settings::default()).extract(&Request {
        document: &document.text,
        texts: &Texts::default(),
        asks: &Asks::from_question(document.question.as_str()),
        budget: Budget::ratio(ratio)?,
        tier: TierChoice::as_asked(Tier::Lexical),
        deadline: None,
        cancelled: &|| false,
    })?;
    let share = extraction.counts.kept_tokens as f64 / extraction.counts.document_tokens.max(1) as f64;
    Ok((tokens as f64 * share) as usize)
}
