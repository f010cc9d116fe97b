//! Anything at once, in little memory: arrivals, cancellations, deadlines and shared beginnings in any order.

use proptest::prelude::*;

use super::*;
use crate::constraint::Constraint;

/// A request and what becomes of it.
#[derive(Clone, Debug)]
struct Case {
    /// Pages of a document that others begin with too.
    shared: usize,
    document: u64,
    own: usize,
    max_tokens: usize,
    seed: Option<u64>,
    /// Whether the answer must be a JSON object.
    json: bool,
    ending: Ending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Whole,
    /// Dropped after a number of events.
    Cancelled(usize),
    /// Late after so many microseconds.
    Deadline(u64),
}

fn case() -> impl Strategy<Value = Case> {
    let ending = prop_oneof![
        3 => Just(Ending::Whole),
        1 => (0..6_usize).prop_map(Ending::Cancelled),
        1 => (0..20_000_u64).prop_map(Ending::Deadline),
    ];
    let lengths = (0..3_usize, 0..2_u64, 1..77_usize, 1..40_usize);
    (
        lengths,
        proptest::option::of(0..4_u64),
        proptest::bool::weighted(0.2),
        ending,
    )
        .prop_map(|((shared, document, own, max_tokens), seed, json, ending)| Case {
            shared,
            document,
            own,
            max_tokens,
            seed,
            json,
            ending,
        })
}

impl Case {
    fn request(&self, index: usize) -> Request {
        let mut prompt = prompt(self.document, self.shared * 70);
        prompt.extend(self::prompt(100 + index as u64 % 3, self.own));
        let mut request = request(prompt, self.max_tokens);
        if let Some(seed) = self.seed {
            request.ignore_end = false;
            request.sampling = Sampling {
                temperature: 0.9,
                top_p: 0.95,
                frequency_penalty: 0.3,
                seed: Some(seed),
                ..Sampling::default()
            };
        }
        if self.json {
            request.ignore_end = false;
            request.constraint = Some(Constraint::JsonObject);
        }
        request
    }
}

/// Submits a request, again while the queue is full.
fn submit(engine: &Engine, request: &Request, deadline: Option<Instant>) -> Answer {
    loop {
        match engine.submit(request.clone(), deadline) {
            Ok(answer) => return answer,
            Err(Refusal::QueueFull { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

fn run(engine: &Engine, case: &Case, request: &Request) -> Text {
    let deadline = match case.ending {
        Ending::Deadline(micros) => Some(Instant::now() + Duration::from_micros(micros)),
        _ => None,
    };
    let mut answer = submit(engine, request, deadline);
    let events = match case.ending {
        Ending::Cancelled(events) => events,
        _ => usize::MAX,
    };
    let mut text = Text::default();
    for _ in 0..events {
        match answer.blocking_next() {
            Some(event) => text.add(event.unwrap()),
            None => break,
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn whatever_runs_beside_an_answer_it_is_what_it_would_be_alone_and_no_page_is_lost(
        cases in proptest::collection::vec(case(), 1..24),
        threads in 1..6_usize,
        name in prop_oneof![Just("mistral"), Just("llama"), Just("qwen3"), Just("qwen3_5")],
    ) {
        let (engine, model, tokenizer) = (engine(name, 6), model(name), tokenizer());
        let cases: Vec<(Case, Request)> = cases
            .into_iter()
            .enumerate()
            .map(|(index, case)| { let request = case.request(index); (case, request) })
            .collect();
        let texts: Vec<Text> = std::thread::scope(|scope| {
            let engine = &engine;
            let parts: Vec<_> = cases
                .chunks(cases.len().div_ceil(threads))
                .map(|part| scope.spawn(move || {
                    part.iter().map(|(case, request)| run(engine, case, request)).collect::<Vec<_>>()
                }))
                .collect();
            parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
        });
        for ((case, request), text) in cases.iter().zip(texts) {
            let mut expected = alone(&model, &tokenizer, request);
            if text.reason == expected.reason {
                expected.usage.cached_tokens = text.usage.cached_tokens;
                prop_assert_eq!(text, expected);
                continue;
            }
            prop_assert!(expected.tokens.starts_with(&text.tokens), "{:?}", case);
            match case.ending {
                Ending::Whole => prop_assert!(false, "{:?} ended by {:?}", case, text.reason),
                Ending::Cancelled(_) => prop_assert_eq!(text.reason, None),
                Ending::Deadline(_) => prop_assert_eq!(text.reason, Some(FinishReason::Deadline)),
            }
        }
        // What was dropped last is noticed before the next step.
        read(submit(&engine, &request(prompt(7, 5), 2), None));
        let load = engine.load();
        prop_assert_eq!((load.waiting, load.running, load.pages_used), (0, 0, 0));
        // All pages can be had at once.
        let whole = read(submit(&engine, &request(prompt(8, 200), 56), None));
        prop_assert_eq!(whole.tokens.len(), 56);
    }
}
