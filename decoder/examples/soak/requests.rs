//! The requests of a load: a document that several ask about, and what is asked; a long prompt; or a long answer.

use liquid_decoder::{Request, Sampling};

/// Different requests.
pub(crate) const REQUESTS: u64 = 24;
/// Most tokens of a request.
pub(crate) const CONTEXT: usize = 1024;

/// Makes one of the different requests, by its number, of at most `context` tokens.
pub(crate) fn request(seed: u64, vocabulary: u32, context: usize) -> Request {
    let tokens = |seed: u64, count: usize| {
        let mut random = fastrand::Rng::with_seed(seed);
        (0..count)
            .map(|_| random.u32(3..vocabulary))
            .collect::<Vec<u32>>()
    };
    let (mut prompt, own, max_tokens) = match seed % 4 {
        0 | 1 => (tokens(1000 + seed % 3, context / 2), 1 + 5 * seed as usize, 8),
        2 => (Vec::new(), 3 * context / 4, 2),
        _ => (Vec::new(), 10, context / 8),
    };
    prompt.extend(tokens(seed, own));
    Request {
        prompt,
        max_tokens,
        sampling: Sampling {
            temperature: (seed % 3) as f32 * 0.5,
            frequency_penalty: 0.2,
            seed: Some(seed),
            ..Sampling::default()
        },
        ..Request::default()
    }
}

/// Makes the same request for the likeliest tokens, as many as there may be: an answer that parts from another one is at a
/// tie or wrong.
pub(crate) fn likeliest(seed: u64, vocabulary: u32, context: usize) -> Request {
    Request {
        sampling: Sampling::default(),
        ignore_end: true,
        ..request(seed, vocabulary, context)
    }
}
