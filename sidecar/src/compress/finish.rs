//! The second half of the pipeline, with the evidence at hand: writes the pack, weighs it, and puts it into
//! the body.

use std::sync::Arc;

use base16ct::lower::encode_string;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::outcome::{Evidence, Excerpt};
use super::prepare::Job;
use crate::api::{Mode, Reason};
use crate::extract::Extraction;
use crate::pack::{self, Manifest, PackSize, SourceDocument};
use crate::policy::{self, TextSize, tokens};

/// A body with a pack in it.
pub(super) struct PackedBody {
    pub(super) body: Bytes,
    pub(super) manifest: Arc<Manifest>,
    pub(super) evidence: Option<Arc<Evidence>>,
}

/// Packs the evidence.
///
/// # Errors
/// [`Reason::NotSmaller`] if that would not save enough.
pub(super) fn finish(job: &Job, extraction: &Extraction, reason: Reason) -> Result<PackedBody, Reason> {
    let document = &*job.query.document;
    if extraction.spans.is_empty() || keeps_too_much(job, extraction) {
        return Err(Reason::NotSmaller);
    }
    let text = pack::write(document, &job.query.document_sha256, &extraction.spans);
    let pack_tokens = tokens::estimate(&text);
    // Escaping only lengthens: what is too long already need not be escaped.
    if !accept(job, pack_tokens, text.len()) {
        return Err(Reason::NotSmaller);
    }
    let body = job.site.with(&text);
    let escaped = body.len().saturating_sub(job.site.around_bytes());
    if !accept(job, pack_tokens, escaped) {
        return Err(Reason::NotSmaller);
    }
    let manifest = manifest(job, extraction, reason, &text, pack_tokens);
    let evidence = job.evidence.then(|| Arc::new(evidence(job, extraction, text)));
    Ok(PackedBody {
        body,
        manifest: Arc::new(manifest),
        evidence,
    })
}

/// Returns true if so much is kept that a pack need not be written to see that it saves too little: half of
/// what it must save leaves room for passages that are cheaper or dearer than the rest.
fn keeps_too_much(job: &Job, extraction: &Extraction) -> bool {
    let all = job.query.document.len() as f64;
    let share = kept_bytes(extraction) as f64 / all.max(1.0);
    share >= 1.0 || (job.settings.mode != Mode::Force && share > 1.0 - job.settings.min_saving / 2.0)
}

fn kept_bytes(extraction: &Extraction) -> u64 {
    extraction.spans.iter().map(|span| span.end - span.start).sum()
}

fn accept(job: &Job, pack_tokens: u64, pack_bytes: usize) -> bool {
    let document = TextSize {
        tokens: job.document_tokens,
        bytes: job.site.document_bytes(),
    };
    let pack = TextSize {
        tokens: pack_tokens,
        bytes: pack_bytes,
    };
    policy::accept(document, pack, &job.settings)
}

fn manifest(job: &Job, extraction: &Extraction, reason: Reason, text: &str, tokens: u64) -> Manifest {
    let pack_sha256 = Sha256::digest(text);
    let id = Sha256::new()
        .chain_update(job.query.key())
        .chain_update(pack_sha256)
        .finalize();
    let bytes = job.query.document.len() as u64;
    let question = &job.query.question;
    Manifest {
        id: format!("pk_{}", encode_string(&id[..12])),
        source: SourceDocument {
            sha256: encode_string(&job.query.document_sha256),
            start: job.start,
            bytes,
            tokens: job.document_tokens,
        },
        question_sha256: if question.is_empty() {
            String::new()
        } else {
            encode_string(&Sha256::digest(question))
        },
        pack: PackSize {
            sha256: encode_string(&pack_sha256),
            bytes: text.len() as u64,
            tokens,
            kept_bytes: kept_bytes(extraction),
        },
        kept: extraction.spans.clone(),
        dropped: pack::dropped(&extraction.spans, bytes),
        reason: reason.as_str().to_owned(),
        tier: extraction.tier.to_owned(),
        tier_reason: extraction.tier_reason.clone(),
        estimated_recall: extraction.estimated_recall,
        worker: extraction.worker.clone(),
        timing: extraction.timing,
    }
}

fn evidence(job: &Job, extraction: &Extraction, pack: String) -> Evidence {
    let document = &*job.query.document;
    let excerpts = extraction.spans.iter().filter_map(|span| {
        let text = document.get(span.start as usize..span.end as usize)?.to_owned();
        Some(Excerpt {
            start: span.start,
            end: span.end,
            score: span.score,
            kind: span.kind,
            text,
        })
    });
    Evidence {
        question: job.query.question.clone(),
        pack,
        excerpts: excerpts.collect(),
    }
}
