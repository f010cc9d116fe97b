//! The engine's thread: admits requests as far as there are pages for all of prompt and answer, and reads one batch after
//! the other. What was cancelled or is late gives its pages back before the next one.

use std::any::Any;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::Runner;
use super::plan::{Need, plan};
use super::queue::{Admitted, Events, Job, Queue, send};
use super::{EngineLoad, EngineOptions};
use crate::generate::{Event, FinishReason, GenerateError, Next, Writer};
use crate::model::{KvCache, Logits, Segment, Sequence, Wanted};
use crate::tokenizer::Tokenizer;

/// An answer that is being written.
struct Slot<'a> {
    events: Events,
    deadline: Option<Instant>,
    prompt: Vec<u32>,
    sequence: Sequence,
    writer: Writer<'a>,
    next: Next,
    /// The last event, once there is one.
    end: Option<Result<Event, GenerateError>>,
}

/// What the thread owns.
pub(super) struct Scheduler<'a> {
    model: &'a mut dyn Runner,
    tokenizer: &'a Tokenizer,
    options: &'a EngineOptions,
    queue: &'a Queue,
    cache: KvCache,
    /// In the order in which they were admitted.
    slots: Vec<Slot<'a>>,
    load: EngineLoad,
}

impl<'a> Scheduler<'a> {
    pub(super) fn new(
        model: &'a mut dyn Runner,
        tokenizer: &'a Tokenizer,
        options: &'a EngineOptions,
        queue: &'a Queue,
        cache: KvCache,
    ) -> Self {
        Self {
            model,
            tokenizer,
            options,
            queue,
            cache,
            slots: Vec::new(),
            load: EngineLoad::default(),
        }
    }

    /// Works until no request will come, or the memory is lost.
    pub(super) fn run(&mut self) {
        while self.cache.is_whole() && (!self.slots.is_empty() || self.queue.wait()) {
            self.turn();
        }
    }

    /// Ends what is over, admits what fits, and reads one batch.
    fn turn(&mut self) {
        let now = Instant::now();
        self.queue.sweep(now);
        for slot in &mut self.slots {
            if slot.deadline.is_some_and(|deadline| deadline <= now) {
                slot.end = Some(Ok(slot.writer.end(FinishReason::Deadline)));
            }
        }
        self.retire();
        self.admit();
        self.publish();
        if !self.slots.is_empty() {
            self.step();
            self.retire();
        }
    }

    /// Gives back the pages of answers that have ended or were cancelled, then sends their last events.
    fn retire(&mut self) {
        let over = |slot: &mut Slot<'_>| slot.end.is_some() || slot.events.is_closed();
        let mut ends = Vec::new();
        for slot in self.slots.extract_if(.., over) {
            self.cache.release(slot.sequence);
            ends.extend(slot.end.map(|end| (slot.events, end)));
        }
        self.publish();
        for (events, end) in ends {
            send(&events, end);
        }
    }

    fn publish(&mut self) {
        self.load.running = self.slots.len();
        self.load.pages = self.cache.pages();
        self.load.pages_used = self.cache.pages_used();
        self.queue.publish(self.load);
    }

    /// Admits requests in the order in which they came, until one does not fit.
    fn admit(&mut self) {
        while self.slots.len() < self.options.sequences {
            let cache = &mut self.cache;
            let admitted = self.queue.admit(|job| {
                let limit = job.request.prompt.len() + job.request.max_tokens;
                cache.sequence(&job.request.prompt, limit).ok()
            });
            match admitted {
                Some(admitted) => self.begin(admitted),
                None => return,
            }
        }
    }

    fn begin(&mut self, admitted: Admitted<Sequence>) {
        let Admitted {
            job:
                Job {
                    request,
                    grammar,
                    deadline,
                    since,
                    events,
                },
            place: sequence,
        } = admitted;
        let mut writer = match Writer::new(self.tokenizer, &request, grammar) {
            Ok(writer) => writer,
            Err(error) => {
                self.cache.release(sequence);
                return send(&events, Err(error));
            }
        };
        let cached = sequence.length();
        writer.count_prompt(0, cached);
        writer.note_queued(since.elapsed());
        self.load.prefix_query_tokens += request.prompt.len() as u64;
        self.load.prefix_hit_tokens += cached as u64;
        self.load.prompt_tokens += cached as u64;
        self.keep_shared_states(&request.prompt);
        self.slots.push(Slot {
            events,
            deadline,
            prompt: request.prompt,
            sequence,
            writer,
            next: Next::Prompt,
            end: None,
        });
    }

    /// Has states kept where a new prompt leaves those that are being read, so that it can go on from there.
    fn keep_shared_states(&mut self, prompt: &[u32]) {
        for slot in self.slots.iter_mut().filter(|slot| slot.next == Next::Prompt) {
            slot.sequence
                .keep_states(KvCache::shared_tokens(&slot.prompt, prompt));
        }
    }

    /// Reads one batch and writes the tokens that follow from it.
    fn step(&mut self) {
        let rows = plan(&self.needs(), self.options.step_tokens);
        let chooses = self.model.chooses();
        let vocab_size = self.model.architecture().vocab_size;
        let mut reading = Vec::new();
        for (slot, rows) in self.slots.iter_mut().zip(rows) {
            if rows > 0 {
                let (tokens, wanted) = slot.next.tokens(&slot.prompt, slot.sequence.length(), rows);
                let draw = match wanted {
                    Wanted::Last if chooses => slot.writer.draw(),
                    _ => None,
                };
                let wanted = draw.map_or(wanted, Wanted::Token);
                reading.push((slot, tokens, wanted));
            }
        }
        let mut segments: Vec<Segment<'_>> = reading
            .iter_mut()
            .map(|(slot, tokens, wanted)| Segment {
                sequence: &mut slot.sequence,
                tokens,
                wanted: *wanted,
            })
            .collect();
        // After a panic only the sequences of this pass are in doubt, and they are given back: full pages are not written.
        let pass = AssertUnwindSafe(|| self.model.pass(&mut self.cache, &mut segments));
        match catch_unwind(pass) {
            Ok(Ok(logits)) => {
                for ((slot, tokens, _), logits) in reading.into_iter().zip(logits) {
                    slot.take(&tokens, &logits, vocab_size, &mut self.load);
                }
            }
            Ok(Err(error)) => {
                for (slot, ..) in reading {
                    slot.end = Some(Err(error.clone().into()));
                }
            }
            Err(panic) => {
                let message = panic_message(panic.as_ref());
                for (slot, ..) in reading {
                    slot.end = Some(Err(GenerateError::Panicked(message.to_owned())));
                }
            }
        }
    }

    /// Takes over pages that others have read meanwhile, and says what each answer could read.
    fn needs(&mut self) -> Vec<Need> {
        let mut being_read = HashSet::new();
        let mut needs = Vec::with_capacity(self.slots.len());
        for slot in &mut self.slots {
            if slot.next != Next::Prompt {
                needs.push(Need::Token);
                continue;
            }
            let skipped = self.cache.skip(&mut slot.sequence, &slot.prompt);
            slot.writer.count_prompt(0, skipped);
            self.load.prefix_hit_tokens += skipped as u64;
            self.load.prompt_tokens += skipped as u64;
            let left = slot.prompt.len() - slot.sequence.length();
            let page = slot.sequence.next_page(&slot.prompt);
            let waits = page
                .as_ref()
                .is_some_and(|page| slot.sequence.can_skip(&slot.prompt) && being_read.contains(page));
            being_read.extend(page);
            needs.push(match waits {
                true => Need::Wait,
                false => Need::Prompt(left),
            });
        }
        needs
    }
}

impl Slot<'_> {
    /// Takes what a pass over some tokens brought.
    fn take(&mut self, tokens: &[u32], logits: &Logits, vocab_size: usize, load: &mut EngineLoad) {
        if self.next == Next::Prompt {
            self.writer.count_prompt(tokens.len(), 0);
            load.prompt_tokens += tokens.len() as u64;
        }
        let Some(written) = self.writer.take(logits, vocab_size) else {
            return;
        };
        load.generated_tokens += 1;
        let written = match written {
            Ok(written) => written,
            Err(error) => {
                self.end = Some(Err(error));
                return;
            }
        };
        self.next = written.next;
        match written.next {
            Next::Ended => self.end = Some(Ok(written.event)),
            Next::End(reason) => {
                send(&self.events, Ok(written.event));
                self.end = Some(Ok(self.writer.end(reason)));
            }
            Next::Prompt | Next::Token(_) => send(&self.events, Ok(written.event)),
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
