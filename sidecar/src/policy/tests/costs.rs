//! Costs: a prompt by its prefix, a conversation call by call and by the formula, packs against documents.

use proptest::prelude::*;

use crate::policy::CachedPrefix;
use crate::policy::cost::{Calls, Growth, LEAST_CACHED, Prices, Prompt, Savings, Sizes, cheaper};

const TABLES: [Prices; 3] = [Prices::WRITE_CHARGED, Prices::WRITE_FREE, Prices::UNCACHED];

/// The definition of a conversation: the prompts of its first `turns` calls, one after the other.
fn prompts(document: u64, sent: u64, growth: Growth, turns: u64) -> Vec<Prompt> {
    let mut prompts = vec![Prompt {
        seen: 0,
        new: growth.rest + sent,
    }];
    let mut left = document.saturating_sub(sent);
    while (prompts.len() as u64) < turns {
        let before = prompts[prompts.len() - 1];
        let excerpts = growth.further.min(left);
        left -= excerpts;
        prompts.push(Prompt {
            seen: before.seen + before.new,
            new: growth.turn.max(1) + excerpts,
        });
    }
    prompts
}

/// By how much packs are dearer at their dearest from `growth.turns` on, call by call.
fn dearest(sizes: Sizes, growth: Growth, turns: u64, prices: &Prices) -> f64 {
    let whole = prompts(sizes.document, sizes.document, growth, turns);
    let packed = prompts(sizes.document, sizes.pack, growth, turns);
    let (mut difference, mut dearest) = (0.0, f64::MIN);
    for (turn, (whole, packed)) in (1..).zip(whole.into_iter().zip(packed)) {
        difference += prices.cost(packed) - prices.cost(whole);
        if turn >= growth.turns {
            dearest = f64::max(dearest, difference);
        }
    }
    dearest
}

fn conversation(document: u64, pack: u64, growth: Growth) -> bool {
    let sizes = Sizes { document, pack };
    cheaper(sizes, Calls::Conversation(growth), &Prices::WRITE_CHARGED)
}

const CHAT: Growth = Growth {
    turns: 1,
    rest: 100,
    turn: Growth::USUAL_TURN,
    further: 0,
};

#[test]
fn a_prompt_costs_by_what_was_seen_of_it() {
    let cost = |seen, new| Prices::WRITE_CHARGED.cost(Prompt { seen, new });
    assert_eq!(cost(0, LEAST_CACHED - 1), 1_023.0, "too short to be cached");
    assert_eq!(cost(0, 2_000), 2_500.0, "written");
    assert_eq!(cost(2_000, 100), 325.0, "read, and written behind");
    assert_eq!(
        cost(1_000, 1_000),
        2_500.0,
        "what was too short then is written now"
    );
    assert_eq!(
        Prices::UNCACHED.cost(Prompt {
            seen: 2_000,
            new: 100
        }),
        2_100.0
    );
    let calls = [Prompt { seen: 0, new: 2_000 }, Prompt { seen: 2_000, new: 0 }];
    assert_eq!(Prices::WRITE_CHARGED.total(calls), 2_700.0);
}

#[test]
fn packs_of_calls_apart_are_cheaper_above_the_ratio_of_the_cached_document() {
    let prices = Prices::from(&CachedPrefix::default());
    let document = 1_000_000;
    // q / (1.25 + 0.1 (q - 1)), to one digit: the ratio from which a pack is cheaper.
    for (questions, ratio) in [(1, 0.8), (2, 1.5), (5, 3.0), (10, 4.7), (20, 6.4), (50, 8.1)] {
        let at = |ratio: f64| {
            let pack = (document as f64 / ratio) as u64;
            cheaper(Sizes { document, pack }, Calls::Apart { questions }, &prices)
        };
        assert!(at(ratio + 0.1) && !at(ratio - 0.1), "{questions}");
    }
}

#[test]
fn packs_of_calls_apart_are_cheaper_at_every_number_where_the_document_is_not_cached() {
    let apart = |document, questions, prices| {
        let pack = document - 1;
        cheaper(Sizes { document, pack }, Calls::Apart { questions }, prices)
    };
    for questions in [1, 2, 1_000] {
        assert!(apart(1_000, questions, &Prices::WRITE_CHARGED));
        assert!(apart(100_000, questions, &Prices::UNCACHED));
    }
    assert!(!apart(100_000, 2, &Prices::WRITE_CHARGED));
}

#[test]
fn settings_without_a_cached_prefix_have_one_price() {
    let prefix = CachedPrefix {
        enabled: false,
        ..CachedPrefix::default()
    };
    assert_eq!(Prices::from(&prefix), Prices::UNCACHED);
    assert_eq!(Prices::from(&CachedPrefix::default()), Prices::WRITE_CHARGED);
}

#[test]
fn a_conversation_stays_cheaper_with_excerpts_in_every_turn() {
    for document in [2_000, 10_000, 1_000_000] {
        let growth = Growth {
            further: document / 20,
            ..CHAT
        };
        assert!(conversation(document, document * 2 / 11, growth), "{document}");
    }
}

#[test]
fn a_pack_below_the_shortest_prefix_is_dearer_in_a_conversation_that_hardly_grows() {
    let slow = Growth { turn: 5, ..CHAT };
    assert!(!conversation(2_000, 364, slow));
    assert!(conversation(2_000, 364, CHAT));
    assert!(conversation(8_000, 1_455, slow), "the pack itself is long enough");
    let empty = Growth { rest: 0, ..slow };
    assert!(
        !conversation(900, 164, empty),
        "the document begins to be cached earlier"
    );
}

#[test]
fn a_pack_as_long_as_its_document_is_not_cheaper() {
    assert!(!conversation(5_000, 5_000, CHAT) && !conversation(5_000, 6_000, CHAT));
}

#[test]
fn no_size_overflows() {
    let most = u64::MAX;
    let growth = Growth {
        turns: most,
        rest: most,
        turn: most,
        further: 1,
    };
    let sizes = Sizes {
        document: most,
        pack: 1,
    };
    for calls in [Calls::Conversation(growth), Calls::Apart { questions: most }] {
        // Which it is does not matter at such sizes.
        let _: bool = cheaper(sizes, calls, &Prices::WRITE_CHARGED);
    }
    assert!(
        Prices::UNCACHED.cost(Prompt {
            seen: most,
            new: most
        }) > 1e19
    );
}

/// A conversation that brings a document in its first turn, its pack in the document's place, and whose later turns each
/// ask for some tokens more: returns by how much it is cheaper at each length.
fn saved(document: u64, pack: u64, rest: u64, turns: &[(u64, u64)], prices: &Prices) -> Vec<f64> {
    let mut savings = Savings::new(*prices);
    let (mut whole, mut sent) = (rest + document, rest + pack);
    savings.begin_turn(whole);
    savings.replace(document, pack);
    let first = |new| prices.cost(Prompt { seen: 0, new });
    let mut saved = vec![first(whole) - first(sent)];
    for &(turn, asked) in turns {
        savings.begin_turn(whole + turn);
        let given = asked.min(savings.spendable() as u64);
        savings.replace(0, given);
        let cost = |seen, new| prices.cost(Prompt { seen, new });
        saved.push(saved[saved.len() - 1] + cost(whole, turn) - cost(sent, turn + given));
        (whole, sent) = (whole + turn, sent + turn + given);
    }
    saved
}

#[test]
fn a_turn_may_add_what_is_missing_and_more_the_later_it_comes() {
    let spendable = |turns: u64| {
        let mut savings = Savings::new(Prices::WRITE_CHARGED);
        savings.begin_turn(12_000);
        savings.replace(10_000, 2_000);
        (1..turns).for_each(|turn| savings.begin_turn(12_000 + 300 * turn));
        savings.spendable()
    };
    // 1.25 + 0.1 * 18 for each token beyond the document, out of 0.1 * 8,000.
    assert!(
        (spendable(2) - (8_000.0 + 800.0 / 3.05)).abs() < 1e-6,
        "{}",
        spendable(2)
    );
    assert!((spendable(10) - (8_000.0 + 9.0 * 800.0 / 2.25)).abs() < 1e-6);
    let mut spent = Savings::new(Prices::WRITE_CHARGED);
    spent.begin_turn(12_000);
    spent.replace(10_000, 10_400);
    assert_eq!(spent.spendable(), 0.0);
}

prop_compose! {
    fn cases()(
        document in 1..6_000_u64, percent in 1..105_u64, rest in 0..1_500_u64,
        turn in prop_oneof![0..10_u64, 0..400_u64], further in prop_oneof![Just(0), 5..600_u64],
        turns in prop_oneof![Just(1), 1..40_u64], table in 0..3_usize,
    ) -> (Sizes, Growth, Prices) {
        let sizes = Sizes { document, pack: (document * percent / 100).max(1) };
        (sizes, Growth { turns, rest, turn, further }, TABLES[table])
    }
}

proptest! {
    #[test]
    fn what_turns_may_add_never_makes_a_conversation_dearer(
        document in 500..20_000_u64, percent in 1..100_u64, rest in 0..500_u64, table in 0..3_usize,
        turns in prop::collection::vec((1..400_u64, prop_oneof![Just(0), 0..800_u64, Just(100_000)]), 0..19),
    ) {
        let pack = (document * percent / 100).max(1);
        let rest = LEAST_CACHED + rest;
        for (turn, saved) in (1..).zip(saved(document, pack, rest, &turns, &TABLES[table])) {
            prop_assert!(saved > -1e-3, "turn {turn}: {saved}");
        }
    }

    #[test]
    fn the_formula_agrees_with_the_calls((sizes, growth, prices) in cases()) {
        // Nothing is open after the excerpts of 6,000 tokens, or the turns up to the shortest prefix, have come.
        let dearest = dearest(sizes, growth, 1_300, &prices);
        prop_assume!(dearest.abs() > 1e-3);
        let cheaper = cheaper(sizes, Calls::Conversation(growth), &prices);
        prop_assert_eq!(cheaper, dearest < 0.0 && sizes.pack < sizes.document, "{}", dearest);
    }

    #[test]
    fn a_turn_more_costs_more((sizes, growth, prices) in cases()) {
        let total = |turns| prices.total(prompts(sizes.document, sizes.pack, growth, turns));
        prop_assert!(total(growth.turns + 1) > total(growth.turns));
    }

    #[test]
    fn what_comes_again_is_never_dearer((seen, new) in (0..5_000_u64, 0..5_000_u64), table in 0..3_usize) {
        let prices = TABLES[table];
        let cost = |seen, new| prices.cost(Prompt { seen, new });
        prop_assert!(cost(seen, new) <= cost(0, seen + new) + 1e-9);
        prop_assert!(cost(seen, new) <= cost(seen, new + 1));
    }

    #[test]
    fn a_smaller_pack_of_calls_apart_stays_cheaper(
        document in 1..100_000_u64, pack in 1..100_000_u64, questions in 1..100_u64, table in 0..3_usize,
    ) {
        let apart = |pack| cheaper(Sizes { document, pack }, Calls::Apart { questions }, &TABLES[table]);
        prop_assert!(!apart(pack) || apart(pack - 1));
    }

    #[test]
    fn packs_that_are_cached_are_cheaper_at_every_length((sizes, growth, prices) in cases()) {
        prop_assume!(sizes.pack < sizes.document);
        let growth = Growth { rest: growth.rest + LEAST_CACHED, ..growth };
        prop_assert!(cheaper(sizes, Calls::Conversation(growth), &prices));
    }
}
