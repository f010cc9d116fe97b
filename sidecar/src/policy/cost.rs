//! What prompts cost, in plain input prices: a call, a conversation, and whether packs are cheaper than whole
//! documents. Pure; used by the policy and by `bench conversation`.
//!
//! A provider sells the part of a prompt that it has seen before at a fraction of the plain price (`read`) and
//! may charge more for the part that is new, because it writes that to its cache (`write`). With prompts of
//! `s(1), s(2), ..` tokens, each of them the one before and something behind it, `q` calls cost
//!
//! ```text
//! write s(q) + read (s(1) + .. + s(q - 1))
//! ```
//!
//! so a token costs less the later it comes: it is written once whenever that is, and read only from then on.
//! A pack with further excerpts in later turns, together never more than the document, is thus cheaper than the
//! document at every length, and [`Savings`] computes how much a turn may add. There is one exception. Prefixes
//! below [`LEAST_CACHED`] are not cached, so a prompt that a pack made short is paid in full in each turn, until
//! the conversation has grown. [`cheaper`] accounts for that.
//!
//! Sources: OpenAI, "Prompt caching" (developers.openai.com/api/docs/guides/prompt-caching): from 1,024 tokens,
//! reads at a tenth, writes at 1.25 from GPT-5.6 on and free before. Anthropic, "Prompt caching"
//! (platform.claude.com/docs/en/build-with-claude/prompt-caching): reads at 0.1, writes at 1.25, from 1,024
//! tokens or more by model.

use super::settings::CachedPrefix;

/// The shortest prefix that providers cache, in tokens.
pub const LEAST_CACHED: u64 = 1_024;

/// What a provider charges for a token of a prompt, in plain input prices; `read` is at most `write`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// Price of a token that is new, in a prompt long enough to be cached.
    pub write: f64,
    /// Price of a token that the provider has seen.
    pub read: f64,
}

impl Prices {
    /// Writes are charged: Anthropic, and OpenAI from GPT-5.6 on.
    pub const WRITE_CHARGED: Self = Self {
        write: 1.25,
        read: 0.1,
    };
    /// Writes are free: OpenAI before GPT-5.6.
    pub const WRITE_FREE: Self = Self {
        write: 1.0,
        read: 0.1,
    };
    /// Nothing is cached.
    pub const UNCACHED: Self = Self {
        write: 1.0,
        read: 1.0,
    };

    /// Computes the cost of one prompt, in plain tokens.
    pub fn cost(&self, prompt: Prompt) -> f64 {
        let (seen, new) = (prompt.seen as f64, prompt.new as f64);
        if prompt.seen.saturating_add(prompt.new) < LEAST_CACHED {
            seen + new
        } else if prompt.seen < LEAST_CACHED {
            self.write * (seen + new)
        } else {
            self.read * seen + self.write * new
        }
    }

    /// Computes the cost of several prompts together, in plain tokens.
    pub fn total(&self, prompts: impl IntoIterator<Item = Prompt>) -> f64 {
        prompts.into_iter().map(|prompt| self.cost(prompt)).sum()
    }
}

impl From<&CachedPrefix> for Prices {
    fn from(prefix: &CachedPrefix) -> Self {
        if prefix.enabled {
            Self {
                write: prefix.write,
                read: prefix.read,
            }
        } else {
            Self::UNCACHED
        }
    }
}

/// The prompt of one call, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prompt {
    /// The beginning that an earlier call sent, byte for byte.
    pub seen: u64,
    /// The rest.
    pub new: u64,
}

/// A document and the pack in its place, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Tokens of the whole document.
    pub document: u64,
    /// Tokens of its pack, frame included.
    pub pack: u64,
}

/// The calls that a document is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// One conversation, which brings the document once and goes on.
    Conversation(Growth),
    /// So many calls on the same document that share nothing else, each with a pack of its own. The document
    /// is cached; packs are not, because no call has another's.
    Apart {
        /// Different questions so far, the one of this call included.
        questions: u64,
    },
}

/// What a conversation adds to its document, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    /// Turns so far, counted from the one that brings the document, which is 1. An answer that is to be the
    /// same in every later turn is asked for with 1.
    pub turns: u64,
    /// The prompt beside the document in the turn that brings it.
    pub rest: u64,
    /// What each later turn adds whether or not the document is whole: an answer and a question. 0 counts as 1.
    pub turn: u64,
    /// The most that a later turn adds in further excerpts, frame included. They end when they and the pack are
    /// as long as the document.
    pub further: u64,
}

impl Growth {
    /// Tokens that a turn of a chat adds where nothing is known of it: LMSYS-Chat-1M (arXiv 2309.11998,
    /// table 1) has 69.5 a prompt and 214.5 an answer.
    pub const USUAL_TURN: u64 = 284;
}

/// Returns true if packs cost less than the whole document: in a conversation at its length and at every later
/// one, in calls apart at their number.
pub fn cheaper(sizes: Sizes, calls: Calls, prices: &Prices) -> bool {
    let Sizes { document, pack } = sizes;
    match calls {
        Calls::Conversation(growth) => {
            let whole = Prompts::new(document, document, growth);
            let packed = Prompts::new(document, pack, growth);
            let dearer = |turns| packed.cost(turns, prices) >= whole.cost(turns, prices);
            let first = growth.turns.max(1);
            pack < document && !lengths(&packed).any(|turns| dearer(turns.max(first)))
        }
        Calls::Apart { questions } => {
            let first = Prompt {
                seen: 0,
                new: document,
            };
            let later = Prompt {
                seen: document,
                new: 0,
            };
            let questions = questions.max(1) as f64;
            let whole = prices.cost(first) + prices.cost(later) * (questions - 1.0);
            (pack as f64) * questions < whole
        }
    }
}

/// Lists the lengths of a conversation at one of which packs are at their dearest against the document.
///
/// As long as neither side is cached, and when the document alone begins to be, packs gain. From there on the
/// difference is convex in the number of turns, so it is largest at an end: excerpts add to what the packs' side
/// pays in each turn, and the document's side grows evenly. It is convex anew from where packs are cached. Once
/// the excerpts have ended, packs gain in each turn or are as long as the document.
fn lengths(packed: &Prompts) -> impl Iterator<Item = u64> {
    let borders = [0, packed.uncached, packed.full_excerpts().saturating_add(1)];
    borders
        .into_iter()
        .flat_map(|border| [border, border.saturating_add(1)])
}

/// What a conversation has cost less than with whole documents, turn by turn, and what a turn may add of that.
#[derive(Debug, Clone, Copy)]
pub struct Savings {
    prices: Prices,
    /// What all turns before this one have cost less.
    saved: f64,
    /// The turn, counted from 1; 0 before the first.
    turn: u64,
    /// The prompt of the turn before and that of this one.
    before: Side,
    now: Side,
}

/// Tokens of a prompt with whole documents, and with what was sent in their place.
#[derive(Debug, Clone, Copy, Default)]
struct Side {
    whole: f64,
    sent: f64,
}

impl Savings {
    /// Turns up to which a conversation must be cheaper than with whole documents; a longer one for as long again.
    const TURNS: u64 = 20;

    /// Describes a conversation that has not begun.
    pub fn new(prices: Prices) -> Self {
        Self {
            prices,
            saved: 0.0,
            turn: 0,
            before: Side::default(),
            now: Side::default(),
        }
    }

    /// Begins the next turn, in which the prompt with whole documents has `whole` tokens.
    pub fn begin_turn(&mut self, whole: u64) {
        let cost = |before: f64, now: f64| {
            let seen = before.min(now) as u64;
            let new = (now - before).max(0.0) as u64;
            self.prices.cost(Prompt { seen, new })
        };
        self.saved += cost(self.before.whole, self.now.whole) - cost(self.before.sent, self.now.sent);
        let shorter = self.now.whole - self.now.sent;
        let whole = whole as f64;
        self.before = self.now;
        self.now = Side {
            whole,
            sent: whole - shorter,
        };
        self.turn += 1;
    }

    /// Notes that this turn sends `sent` tokens where `came` had come.
    pub fn replace(&mut self, came: u64, sent: u64) {
        self.now.sent += sent as f64 - came as f64;
    }

    /// Computes how many tokens this turn may add so that the conversation stays cheaper than with whole documents. They
    /// may be more than these have left: what was read in the turns before was shorter.
    ///
    /// A prompt that is `d` tokens shorter from this turn on costs `write d` less now and `read d` less in each later
    /// turn, against what all prompts so far and this one would have cost without documents' packs.
    pub fn spendable(&self) -> f64 {
        let Prices { write, read } = self.prices;
        let least = LEAST_CACHED as f64;
        let seen = |side: f64| if side < least { 0.0 } else { side };
        let price = |before: f64, now: f64| read * seen(before) + write * (now - seen(before));
        let mut owed =
            price(self.before.sent, self.now.whole) - price(self.before.whole, self.now.whole) - self.saved;
        if self.now.sent < least {
            // It is not cached yet, and is written as a whole in a later turn.
            owed += (1.0 - read).max(0.0) * least;
        }
        let last = Self::TURNS.max(self.turn.saturating_mul(2));
        let price_of_a_token = write + read * last.saturating_sub(self.turn) as f64;
        let shorter = owed / price_of_a_token.max(f64::MIN_POSITIVE);
        (self.now.whole - self.now.sent - shorter).max(0.0)
    }
}

/// The growing prompts of a conversation, in tokens.
#[derive(Debug, Clone, Copy)]
struct Prompts {
    /// The first prompt.
    first: u64,
    /// What every later one adds.
    turn: u64,
    /// What it adds in excerpts, until they are `most` together.
    further: u64,
    /// Tokens of the document that did not come at first.
    most: u64,
    /// Turns whose prompts are too short to be cached: fewer than [`LEAST_CACHED`], as each adds a token.
    uncached: u64,
}

impl Prompts {
    /// Describes a conversation that brings `sent` tokens in the document's place.
    fn new(document: u64, sent: u64, growth: Growth) -> Self {
        let mut prompts = Self {
            first: growth.rest.saturating_add(sent),
            turn: growth.turn.max(1),
            further: growth.further,
            most: document.saturating_sub(sent),
            uncached: 0,
        };
        let short = |turn: &u64| prompts.size(*turn) < LEAST_CACHED as f64;
        prompts.uncached = (1..=LEAST_CACHED).take_while(short).count() as u64;
        prompts
    }

    /// Counts the turns whose excerpts have their full size.
    fn full_excerpts(&self) -> u64 {
        self.most.checked_div(self.further).unwrap_or(0)
    }

    /// Computes the tokens of the prompt at a turn, `s(turn)`.
    fn size(&self, turn: u64) -> f64 {
        let before = turn.saturating_sub(1) as f64;
        let excerpts = (self.further as f64 * before).min(self.most as f64);
        self.first as f64 + self.turn as f64 * before + excerpts
    }

    /// Computes the tokens of all prompts up to a turn, `s(1) + .. + s(turns)`.
    fn sum(&self, turns: u64) -> f64 {
        let steps = |count: u64| count as f64 * (count as f64 - 1.0) / 2.0;
        let full = turns.min(self.full_excerpts().saturating_add(1));
        let excerpts = self.further as f64 * steps(full) + (turns - full) as f64 * self.most_sent();
        self.first as f64 * turns as f64 + self.turn as f64 * steps(turns) + excerpts
    }

    /// Returns the tokens of all excerpts together.
    fn most_sent(&self) -> f64 {
        if self.further == 0 { 0.0 } else { self.most as f64 }
    }

    /// Computes the cost of the first `turns` calls. With `u` of them too short to be cached it is
    /// `s(1) + .. + s(u) + write s(turns) + read (s(u + 1) + .. + s(turns - 1))`.
    fn cost(&self, turns: u64, prices: &Prices) -> f64 {
        if turns <= self.uncached {
            return self.sum(turns);
        }
        let before = self.sum(self.uncached);
        before + prices.write * self.size(turns) + prices.read * (self.sum(turns - 1) - before)
    }
}
