//! The latest calls and, if they are kept, their texts: both bounded, and texts by age too.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant, SystemTime};

use bytestring::ByteString;
use liquid_process::lock;
use serde::Serialize;

use super::settings::Settings;
use crate::api::Surface;
use crate::compress::{Action, AskRecord, Decision, Evidence, Outcome, SiteRecord, SiteText, TurnRecord};
use crate::pack::{KeptSpan, Manifest, PackRecord, Stretch, StretchKind, lay_out};
use crate::reading::SiteKind;

/// More sites of a call are counted, not listed.
const MAX_SITES: usize = 100;

/// A model's name is kept up to so many characters.
const MAX_MODEL_CHARACTERS: usize = 100;

/// The latest calls. What it holds is bounded, whatever arrives.
#[derive(Debug)]
pub struct RecentCalls {
    settings: Settings,
    calls: Mutex<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    /// The number of the latest call.
    number: u64,
    /// The oldest first.
    kept: VecDeque<KeptCall>,
    /// Bytes of all texts.
    bytes: u64,
}

#[derive(Debug)]
struct KeptCall {
    record: CallRecord,
    texts: Option<KeptTexts>,
}

/// A call, without its texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallRecord {
    /// Its number since the start, from 1.
    pub number: u64,
    /// When its decision was made: milliseconds since 1970.
    pub at_ms: u64,
    /// The surface of the request.
    pub surface: Surface,
    /// The body's `model`, if it names one.
    pub model: Option<String>,
    /// What happened to the request.
    pub decision: Action,
    /// Why it happened.
    pub reason: &'static str,
    /// Whether nothing was sent, because a dry run was asked for.
    pub dry_run: bool,
    /// Estimated prompt tokens of the request as it came.
    pub tokens_before: u64,
    /// Estimated prompt tokens of the request as it went on.
    pub tokens_after: u64,
    /// Microseconds that the sidecar spent on the call before the upstream saw it.
    pub overhead_us: u64,
    /// The manifest's id, if a document was compressed.
    pub pack: Option<String>,
    /// What became of the texts that hold a document, at most 100 of them.
    pub sites: Vec<SiteRecord>,
    /// How many more there are.
    pub more_sites: usize,
}

/// The texts of a call.
#[derive(Debug)]
struct KeptTexts {
    at: Instant,
    bytes: u64,
    texts: Arc<Texts>,
}

#[derive(Debug)]
struct Texts {
    turns: Vec<TurnRecord>,
    asks: Vec<AskRecord>,
    sites: Vec<SiteText>,
    manifest: Option<Arc<Manifest>>,
}

/// A call with its packs, and with its texts if they are kept.
#[derive(Debug, Serialize)]
pub struct CallDetail {
    call: CallRecord,
    /// The account of its packs; `None` where there are none, or they are no longer known.
    packs: Option<Vec<PackRecord>>,
    texts: Option<TextDetail>,
}

#[derive(Debug, Serialize)]
struct TextDetail {
    turns: Vec<TurnRecord>,
    asks: Vec<AskRecord>,
    /// The documents, in the order of the call's sites.
    sites: Vec<SiteDetail>,
}

#[derive(Debug, Serialize)]
struct SiteDetail {
    kind: SiteKind,
    tool: Option<String>,
    /// The document, cut into what became of it; `None` for one that stays as it is.
    stretches: Option<Vec<StretchDetail>>,
    /// A document that stays as it is.
    whole: Option<String>,
}

#[derive(Debug, Serialize)]
struct StretchDetail {
    kind: StretchKind,
    text: String,
}

impl RecentCalls {
    /// Makes an empty list. Must be called inside a tokio runtime: a task forgets texts that are too old, and ends with
    /// the list.
    pub fn start(settings: &Settings) -> Arc<Self> {
        let list = Arc::new(Self {
            settings: settings.clone(),
            calls: Mutex::default(),
        });
        if settings.keep_texts {
            tokio::spawn(forget(Arc::downgrade(&list), list.period()));
        }
        list
    }

    /// Returns whether texts of calls are to be kept.
    pub fn keeps_texts(&self) -> bool {
        self.settings.keep_texts
    }

    /// Adds a call that was read.
    pub fn record(&self, outcome: &Outcome) {
        let decision = outcome.decision();
        let evidence = match outcome {
            Outcome::Forward { evidence, .. } => evidence.as_deref(),
            Outcome::Reject { .. } => None,
        };
        let texts = evidence
            .filter(|_| self.settings.keep_texts)
            .map(|evidence| KeptTexts::new(evidence, decision.pack.clone()));
        self.push(CallRecord::new(decision), texts);
    }

    /// Adds a call that was not read.
    pub fn record_unread(&self, surface: Surface, decision: Action, reason: &'static str) {
        let record = CallRecord {
            number: 0,
            at_ms: now_ms(),
            surface,
            model: None,
            decision,
            reason,
            dry_run: false,
            tokens_before: 0,
            tokens_after: 0,
            overhead_us: 0,
            pack: None,
            sites: Vec::new(),
            more_sites: 0,
        };
        self.push(record, None);
    }

    /// Returns the calls, the latest first.
    pub fn list(&self) -> Vec<CallRecord> {
        let calls = lock(&self.calls);
        calls.kept.iter().rev().map(|call| call.record.clone()).collect()
    }

    /// Returns a call with its packs and texts. `manifest` looks up the account of its packs where no texts are kept.
    pub fn detail(
        &self,
        number: u64,
        manifest: impl FnOnce(&str) -> Option<Arc<Manifest>>,
    ) -> Option<CallDetail> {
        self.forget_texts(Instant::now());
        let (call, texts) = {
            let calls = lock(&self.calls);
            let kept = calls.kept.iter().find(|kept| kept.record.number == number)?;
            let texts = kept.texts.as_ref().map(|kept| Arc::clone(&kept.texts));
            (kept.record.clone(), texts)
        };
        let manifest = match &texts {
            Some(texts) => texts.manifest.clone(),
            None => call.pack.as_deref().and_then(manifest),
        };
        Some(CallDetail {
            packs: manifest.map(|manifest| manifest.packs.clone()),
            texts: texts.map(|texts| texts.detail()),
            call,
        })
    }

    /// Returns the bytes of all texts that are kept.
    #[cfg(test)]
    pub(super) fn text_bytes(&self) -> u64 {
        lock(&self.calls).bytes
    }

    fn push(&self, mut record: CallRecord, texts: Option<KeptTexts>) {
        let texts = texts.filter(|texts| texts.bytes <= self.settings.text_bytes);
        let mut calls = lock(&self.calls);
        calls.number += 1;
        record.number = calls.number;
        calls.bytes += texts.as_ref().map_or(0, |texts| texts.bytes);
        calls.kept.push_back(KeptCall { record, texts });
        while calls.kept.len() > self.settings.calls {
            let gone = calls.kept.pop_front().and_then(|call| call.texts);
            calls.bytes -= gone.map_or(0, |texts| texts.bytes);
        }
        let most = self.settings.text_bytes;
        calls.forget(|_, bytes| bytes > most);
    }

    /// Forgets the texts that are too old at `now`.
    pub(super) fn forget_texts(&self, now: Instant) {
        let ttl = Duration::from_secs(self.settings.text_ttl_s);
        lock(&self.calls).forget(|texts, _| now.saturating_duration_since(texts.at) >= ttl);
    }

    /// Returns how often old texts are looked for.
    fn period(&self) -> Duration {
        Duration::from_secs((self.settings.text_ttl_s / 10).clamp(1, 60))
    }
}

/// Forgets old texts, also where no call comes any more.
async fn forget(list: Weak<RecentCalls>, period: Duration) {
    loop {
        tokio::time::sleep(period).await;
        match list.upgrade() {
            Some(list) => list.forget_texts(Instant::now()),
            None => return,
        }
    }
}

impl Calls {
    /// Forgets texts, the oldest first, as long as `is_due` says so of one and of the bytes of all.
    fn forget(&mut self, is_due: impl Fn(&KeptTexts, u64) -> bool) {
        for call in &mut self.kept {
            let Some(texts) = &call.texts else { continue };
            if !is_due(texts, self.bytes) {
                return;
            }
            self.bytes -= texts.bytes;
            call.texts = None;
        }
    }
}

impl CallRecord {
    fn new(decision: &Decision) -> Self {
        let model = |name: &String| name.chars().take(MAX_MODEL_CHARACTERS).collect();
        Self {
            number: 0,
            at_ms: now_ms(),
            surface: decision.surface,
            model: decision.model.as_ref().map(model),
            decision: decision.action,
            reason: decision.reason.as_str(),
            dry_run: decision.dry_run,
            tokens_before: decision.tokens_before,
            tokens_after: decision.tokens_after,
            overhead_us: decision.stages.total_us,
            pack: decision.pack.as_ref().map(|manifest| manifest.id.clone()),
            sites: decision.sites.iter().take(MAX_SITES).cloned().collect(),
            more_sites: decision.sites.len().saturating_sub(MAX_SITES),
        }
    }
}

impl KeptTexts {
    /// Copies the texts: what they share is the memory of the whole body.
    fn new(evidence: &Evidence, manifest: Option<Arc<Manifest>>) -> Self {
        let copy = |site: &SiteText| SiteText {
            document: ByteString::from(site.document.to_string()),
            ..site.clone()
        };
        let sites: Vec<SiteText> = evidence.sites.iter().take(MAX_SITES).map(copy).collect();
        let spans = |pack: &PackRecord| pack.kept.len() + pack.dropped.len() + pack.further.len();
        let packs = manifest.iter().flat_map(|manifest| &manifest.packs);
        let bytes = sites.iter().map(|site| site.document.len()).sum::<usize>()
            + evidence.asks.iter().map(|ask| ask.text.len()).sum::<usize>()
            + packs
                .map(|pack| spans(pack) * size_of::<KeptSpan>())
                .sum::<usize>();
        Self {
            at: Instant::now(),
            bytes: bytes as u64,
            texts: Arc::new(Texts {
                turns: evidence.turns.clone(),
                asks: evidence.asks.clone(),
                sites,
                manifest,
            }),
        }
    }
}

impl Texts {
    fn detail(&self) -> TextDetail {
        let packs = self.manifest.iter().flat_map(|manifest| &manifest.packs);
        let mut packs = packs.peekable();
        let sites = self.sites.iter().enumerate().map(|(number, site)| {
            let pack = packs.next_if(|pack| pack.site == number);
            SiteDetail::new(site, pack)
        });
        TextDetail {
            sites: sites.collect(),
            turns: self.turns.clone(),
            asks: self.asks.clone(),
        }
    }
}

impl SiteDetail {
    fn new(site: &SiteText, pack: Option<&PackRecord>) -> Self {
        let document = &*site.document;
        let text = |stretch: Stretch| StretchDetail {
            kind: stretch.kind,
            text: document.get(stretch.range).unwrap_or_default().to_owned(),
        };
        let stretches = pack.map(|pack| lay_out(document, pack).into_iter().map(text).collect());
        Self {
            kind: site.kind,
            tool: site.tool.clone(),
            whole: stretches.is_none().then(|| document.to_owned()),
            stretches,
        }
    }
}

/// Returns the milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
