//! States of hybrids: what they are, and that sequences which begin alike share them.

use super::*;

/// Reads a prompt in pieces of some size after what its sequence holds, and returns the logits after the last token.
fn read(
    model: &Model,
    cache: &mut KvCache,
    sequence: &mut Sequence,
    prompt: &[u32],
    size: usize,
) -> Vec<f32> {
    let rest = prompt[sequence.length()..].to_vec();
    let mut logits = Vec::new();
    for piece in rest.chunks(size) {
        logits = pass(model, cache, sequence, piece, Wanted::Last).into_values();
    }
    logits
}

fn long(tokens: &[u32], count: usize) -> Vec<u32> {
    tokens.iter().copied().cycle().take(count).collect()
}

fn hybrid_cache(model: &Model, pages: usize, states: usize) -> KvCache {
    let size = CacheSize {
        context_tokens: 700,
        pages,
        states,
    };
    KvCache::new(model, size).expect("a cache")
}

#[test]
fn states_are_those_of_the_recurrence() {
    for name in HYBRIDS {
        let (model, expected) = model(name);
        for size in [expected.tokens.len(), 37, 1] {
            let mut alone = Alone::new(&model, expected.tokens.len());
            for piece in expected.tokens.chunks(size) {
                alone.read(piece, Wanted::Nothing);
            }
            let states = &alone.cache.memory().states;
            let layers = (0..states.shape().layers).map(|layer| states.heads(0, layer));
            let ours = layers.collect::<Vec<_>>().concat();
            let worst = difference(&ours, &expected.states);
            assert!(worst < 1e-5, "{name} in pieces of {size}: {worst:e}");
        }
    }
}

#[test]
fn a_second_question_goes_on_from_a_copy_of_the_states() {
    for (name, kernels) in [
        ("qwen3_5", Kernels::Cpu),
        ("qwen3_next", Kernels::Cpu),
        ("qwen3_next", Kernels::Portable),
    ] {
        let (mut model, Expected { tokens, .. }) = model(name);
        model.kernels = kernels;
        let document = long(&tokens, 150);
        let ask = |question: u32| [&document[..], &[question; 40]].concat();
        let mut cache = hybrid_cache(&model, 12, 8);
        let mut hits = Vec::new();
        for question in 1..4 {
            let prompt = ask(question);
            let mut sequence = cache.sequence(&prompt, 200).expect("a sequence");
            hits.push(sequence.length());
            let ours = read(&model, &mut cache, &mut sequence, &prompt, 100);
            let mut alone = hybrid_cache(&model, 4, 1);
            let mut other = alone.sequence(&[], 200).expect("a sequence");
            let whole = read(&model, &mut alone, &mut other, &prompt, 190);
            match kernels {
                Kernels::Cpu => assert_eq!(ours, whole, "{name}, question {question}"),
                Kernels::Portable => assert!(difference(&ours, &whole) < 1e-4, "{name}"),
            }
            cache.release(sequence);
        }
        // Copies of the first prompt, of 190 tokens, are at 64 and 128.
        assert_eq!(hits, [0, 128, 128], "{name}");
        assert_eq!(cache.pages_used(), 0);
    }
}

#[test]
fn the_third_question_finds_a_copy_where_the_second_one_left_the_first() {
    let (model, Expected { tokens, .. }) = model("qwen3_5");
    let document = long(&tokens, 70);
    let ask = |question: u32| [&document[..], &[question; 600]].concat();
    let mut cache = hybrid_cache(&model, 40, 16);
    let mut hits = Vec::new();
    for question in 1..4 {
        let prompt = ask(question);
        let mut sequence = cache.sequence(&prompt, 700).expect("a sequence");
        hits.push(sequence.length());
        read(&model, &mut cache, &mut sequence, &prompt, 300);
        cache.release(sequence);
    }
    // The first prompt's copies are at pages 2, 6, 8, 9 and 10.
    assert_eq!(hits, [0, 0, 64]);
}

#[test]
fn copies_make_room_for_sequences_and_none_is_lost() {
    let (model, Expected { tokens, .. }) = model("qwen3_next");
    let mut cache = hybrid_cache(&model, 16, 3);
    let prompt = |seed: usize| long(&tokens[seed..], 150);
    for seed in 0..6 {
        let prompt = prompt(seed);
        let mut sequence = cache.sequence(&prompt, 160).expect("a sequence");
        read(&model, &mut cache, &mut sequence, &prompt, 64);
        assert_eq!(
            cache.check_states(&[&sequence]),
            2,
            "two slots are left for copies"
        );
        cache.release(sequence);
    }
    let prompts = [0, 5, 7].map(prompt);
    let sequences = prompts
        .each_ref()
        .map(|prompt| cache.sequence(prompt, 160).expect("a sequence"));
    // Its own copy was the last one to be forgotten.
    assert_eq!(sequences.each_ref().map(Sequence::length), [0, 128, 0]);
    assert_eq!(
        cache.check_states(&sequences.each_ref().map(|sequence| sequence)),
        0
    );
    let full = cache.sequence(&prompts[0], 160).expect_err("a refusal");
    assert_eq!(full, PassError::StatesFull { slots: 3 });
    let left = cache.pages_used();
    sequences.into_iter().for_each(|sequence| cache.release(sequence));
    assert_eq!((left, cache.pages_used()), (2, 0));
    cache.check_states(&[]);
    // A prefix whose pages are needed for others takes its copy with it.
    let mut cache = hybrid_cache(&model, 4, 4);
    let mut lengths = Vec::new();
    for seed in [0, 5, 0] {
        let mut sequence = cache.sequence(&prompt(seed), 256).expect("a sequence");
        lengths.push(sequence.length());
        read(&model, &mut cache, &mut sequence, &long(&prompt(seed), 250), 250);
        cache.check_states(&[&sequence]);
        cache.release(sequence);
    }
    assert_eq!(lengths, [0, 0, 0]);
}
