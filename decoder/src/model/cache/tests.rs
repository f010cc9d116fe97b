//! Pages through any life: begun, read in pieces, taken over, given back, taken again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::sync::LazyLock;

use burn::tensor::Device;
use proptest::prelude::*;

use super::*;

static MODEL: LazyLock<Model> = LazyLock::new(|| load("llama"));
static HYBRID: LazyLock<Model> = LazyLock::new(|| load("qwen3_next"));

fn load(name: &str) -> Model {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    Model::load(&folder.join(name), &Device::flex()).unwrap()
}

/// A step in the life of a cache.
#[derive(Clone, Debug)]
enum Action {
    /// A sequence with one of a few prompts, which begin alike.
    Begin {
        prompt: usize,
        length: usize,
        more: usize,
    },
    /// One of the sequences reads some tokens.
    Read { which: usize, tokens: usize },
    /// One takes over what others have read.
    Skip { which: usize },
    /// One is given back.
    Release { which: usize },
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        2 => (0..3_usize, 1..200_usize, 1..40_usize)
            .prop_map(|(prompt, length, more)| Action::Begin { prompt, length, more }),
        4 => (0..8_usize, 1..150_usize).prop_map(|(which, tokens)| Action::Read { which, tokens }),
        1 => (0..8_usize).prop_map(|which| Action::Skip { which }),
        2 => (0..8_usize).prop_map(|which| Action::Release { which }),
    ]
}

/// Prompts differ from one of their pages on.
fn prompt(kind: usize, length: usize) -> Vec<u32> {
    let token = |index: usize| (index * 7 + if index >= 64 * kind { kind * 11 } else { 0 }) % 48;
    (0..length).map(|index| token(index) as u32).collect()
}

/// A sequence, and all tokens that it will have read.
struct Life {
    sequence: Sequence,
    tokens: Vec<u32>,
    prompt: Vec<u32>,
}

fn read(model: &Model, cache: &mut KvCache, life: &mut Life, count: usize) {
    let length = life.sequence.length();
    let end = (length + count).min(life.tokens.len());
    if end > length {
        let mut segments = [Segment {
            sequence: &mut life.sequence,
            tokens: &life.tokens[length..end],
            wanted: Wanted::Nothing,
        }];
        model.pass(cache, &mut segments).unwrap();
    }
}

/// Checks all counts, and that each page of a sequence holds the tokens that it should.
fn check(cache: &KvCache, lives: &[Life]) {
    let pages: Vec<&[u32]> = lives.iter().map(|life| life.sequence.pages.as_slice()).collect();
    cache.pool.check(&pages);
    let copies = cache.check_states(&lives.iter().map(|life| &life.sequence).collect::<Vec<_>>());
    assert!(copies <= cache.states.slots());
    let promised: usize = lives.iter().map(|life| life.sequence.promised).sum();
    assert_eq!(cache.pool.promised(), promised);
    for life in lives {
        let Sequence {
            pages,
            promised,
            length,
            limit,
            ..
        } = &life.sequence;
        assert_eq!(pages.len() + promised, limit.div_ceil(PAGE_TOKENS));
        let mut prefix = Prefix::default();
        for (tokens, page) in life.tokens[..*length].chunks_exact(PAGE_TOKENS).zip(pages) {
            let known = cache.pool.find(prefix, tokens).expect("a full page is known");
            assert_eq!(known.page, *page);
            prefix = known.prefix;
        }
        assert_eq!(life.sequence.prefix, prefix);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn no_page_is_lost_and_each_holds_what_its_sequences_read(
        actions in proptest::collection::vec(action(), 1..60),
        pages in 4..12_usize,
        states in 1..8_usize,
        hybrid in proptest::bool::ANY,
    ) {
        let model = if hybrid { &HYBRID } else { &MODEL };
        let size = CacheSize { context_tokens: 240, pages, states };
        let mut cache = KvCache::new(model, size).unwrap();
        let mut lives: Vec<Life> = Vec::new();
        for action in actions {
            match action {
                Action::Begin { prompt: kind, length, more } => {
                    let tokens = prompt(kind, length + more);
                    let prompt = tokens[..length].to_vec();
                    match cache.sequence(&prompt, tokens.len()) {
                        Ok(sequence) => {
                            prop_assert!(sequence.length() < prompt.len());
                            lives.push(Life { sequence, tokens, prompt });
                        }
                        Err(PassError::Full { needed, left }) => prop_assert!(needed > left || left == 0),
                        Err(PassError::StatesFull { slots }) => prop_assert_eq!((slots, lives.len()), (states, states)),
                        Err(error) => prop_assert!(false, "{error}"),
                    }
                }
                Action::Read { which, tokens } => {
                    if let Some(life) = lives.get_mut(which) {
                        read(model, &mut cache, life, tokens);
                    }
                }
                Action::Skip { which } => {
                    if let Some(life) = lives.get_mut(which) {
                        cache.skip(&mut life.sequence, &life.prompt);
                        prop_assert!(life.sequence.length() <= life.tokens.len());
                    }
                }
                Action::Release { which } => {
                    if which < lives.len() {
                        cache.release(lives.remove(which).sequence);
                    }
                }
            }
            check(&cache, &lives);
        }
        // Whoever was let in gets all its pages.
        for life in &mut lives {
            read(model, &mut cache, life, usize::MAX / 2);
        }
        check(&cache, &lives);
        for life in lives.drain(..) {
            cache.release(life.sequence);
        }
        check(&cache, &lives);
        prop_assert_eq!(cache.pages_used(), 0);
    }
}

#[test]
fn what_was_used_last_is_found_for_longest_and_beginnings_longer_than_ends() {
    let size = CacheSize {
        context_tokens: 240,
        pages: 5,
        states: 0,
    };
    let mut cache = KvCache::new(&MODEL, size).unwrap();
    let mut live = |kind: usize, length: usize| {
        let tokens = prompt(kind, length);
        let sequence = cache.sequence(&tokens, length).unwrap();
        let found = sequence.length();
        let mut life = Life {
            sequence,
            prompt: tokens.clone(),
            tokens,
        };
        read(&MODEL, &mut cache, &mut life, length);
        cache.release(life.sequence);
        found
    };
    assert_eq!(live(0, 193), 0);
    assert_eq!(live(0, 193), 192);
    // Differs from the third page on, for which two pages are free.
    assert_eq!(live(2, 193), 128);
    assert_eq!(live(0, 193), 192);
    // Differs from the second page on, and takes the two third pages.
    assert_eq!(live(1, 193), 64);
    assert_eq!(live(1, 193), 192);
    assert_eq!(live(0, 193), 128);
}
