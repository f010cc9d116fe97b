//! Facts of a job, once its evidence is there.

use std::time::Instant;

use super::{Decoder, Inner, Job};
use crate::config;
use crate::engine::{Extraction, TierReason};
use crate::facts::{FactWriter, FactsTask, Work, Written};
use crate::tier::Tier;

/// Share of the time left after which the decoder stops.
const WRITING_SHARE: f64 = 0.9;

/// Jobs whose facts are written at a time. Their questions share the decoder with the answers to HTTP requests.
pub(super) const FACT_SLOTS: usize = 2;

/// What the decoder is to read; none if it cannot be put before it.
pub(super) type Prepared = Option<Work>;

fn writer<'a>(decoder: &'a Decoder, settings: &'a config::Facts) -> FactWriter<'a> {
    FactWriter {
        engine: &decoder.engine,
        tokenizer: &decoder.tokenizer,
        template: decoder.template().ok(),
        context_tokens: decoder.context_tokens,
        settings,
    }
}

/// Chooses what the decoder reads of a job's document: work for a processor.
pub(super) fn prepare(
    decoder: &Decoder,
    settings: &config::Facts,
    job: &Job,
    extraction: &Extraction,
) -> Prepared {
    let task = FactsTask {
        document: &job.document,
        texts: &job.texts,
        asks: &job.asks,
        spans: &extraction.spans,
    };
    match writer(decoder, settings).prepare(&task) {
        Ok(work) => Some(work),
        Err(error) => {
            tracing::warn!(%error, "no facts can be written");
            None
        }
    }
}

impl Inner {
    /// Adds facts to a job's evidence, as far as there is time; the evidence stays what it is.
    pub(super) async fn add_facts(
        &self,
        job: &Job,
        prepared: Prepared,
        mut extraction: Extraction,
    ) -> Extraction {
        let Some(decoder) = self.decoder.as_ref().filter(|_| !job.asks.is_empty()) else {
            return extraction;
        };
        let until = job.deadline.map(|deadline| {
            let now = Instant::now();
            now + deadline.saturating_duration_since(now).mul_f64(WRITING_SHARE)
        });
        let written = match prepared {
            None => Written::nothing(TierReason::DecoderFailed),
            Some(work) => match self.fact_slot(until).await {
                None => Written::nothing(TierReason::NoTimeForFacts),
                Some(_slot) => writer(decoder, &self.facts).write(&work, until).await,
            },
        };
        extraction.limited |= written.instead.is_some();
        // Why there is less than there could be says more than that this tier was asked for.
        if let Some(reason) = written.instead {
            extraction.tier_reason = reason;
        }
        if written.instead != Some(TierReason::NoTimeForFacts) {
            extraction.tier = Tier::Decoder;
            extraction.facts = Some(written.facts);
        }
        extraction
    }

    /// Waits for a slot; none if none comes free in time.
    async fn fact_slot(&self, until: Option<Instant>) -> Option<tokio::sync::SemaphorePermit<'_>> {
        let slot = self.fact_slots.acquire();
        match until {
            None => slot.await.ok(),
            Some(until) => tokio::time::timeout_at(until.into(), slot).await.ok()?.ok(),
        }
    }
}
