//! What is drawn against exact probabilities, and every setting's meaning.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

const LOGITS: [f32; 6] = [1.0, 3.0, 2.0, -1.0, f32::NEG_INFINITY, 2.5];
type Change = fn(&mut Sampling);

const DRAWS: usize = 40_000;

fn settings(change: impl FnOnce(&mut Sampling)) -> Sampling {
    let mut settings = Sampling {
        temperature: 1.0,
        seed: Some(11),
        ..Sampling::default()
    };
    change(&mut settings);
    settings
}

/// Probabilities of the tokens that are left, by the definitions in f64.
fn exact(logits: &[f32], temperature: f64, kept: &[usize]) -> Vec<f64> {
    let weight = |token: &usize| (f64::from(logits[*token]) / temperature).exp();
    let total: f64 = kept.iter().map(weight).sum();
    let share = |token| {
        if kept.contains(&token) {
            weight(&token) / total
        } else {
            0.0
        }
    };
    (0..logits.len()).map(share).collect()
}

/// Draws from the same logits, without memory, and compares the counts with the probabilities: each within five
/// standard deviations.
fn draws(settings: Sampling, logits: &[f32], expected: &[f64]) {
    let mut random = fastrand::Rng::with_seed(settings.seed.unwrap());
    let mut counts = vec![0_usize; logits.len()];
    for _ in 0..DRAWS {
        let mut sampler = Sampler::new(settings.clone(), &[]).unwrap();
        sampler.random = random.fork();
        counts[sampler.sample(logits).unwrap().token as usize] += 1;
    }
    for (token, (count, share)) in counts.iter().zip(expected).enumerate() {
        let (mean, deviation) = (
            share * DRAWS as f64,
            (share * (1.0 - share) * DRAWS as f64).sqrt(),
        );
        let distance = (*count as f64 - mean).abs();
        assert!(
            distance <= 5.0 * deviation,
            "token {token}: {count} draws, expected {mean:.0}"
        );
    }
}

#[test]
fn draws_follow_the_probabilities_at_any_temperature() {
    for temperature in [0.5, 1.0, 2.0] {
        let expected = exact(&LOGITS, f64::from(temperature), &[0, 1, 2, 3, 5]);
        draws(settings(|s| s.temperature = temperature), &LOGITS, &expected);
    }
}

#[test]
fn what_is_cut_is_never_drawn_and_the_rest_keeps_its_proportions() {
    draws(
        settings(|s| s.top_k = Some(2)),
        &LOGITS,
        &exact(&LOGITS, 1.0, &[1, 5]),
    );
    // 0.49, 0.30, 0.18, 0.07, 0.01: the third reaches 0.8.
    draws(
        settings(|s| s.top_p = 0.8),
        &LOGITS,
        &exact(&LOGITS, 1.0, &[1, 5, 2]),
    );
    // Shares of the likeliest: 1, 0.61, 0.37, 0.14, 0.02.
    draws(
        settings(|s| s.min_p = 0.1),
        &LOGITS,
        &exact(&LOGITS, 1.0, &[1, 5, 2, 0]),
    );
    let both = settings(|s| (s.top_k, s.top_p) = (Some(3), 0.6));
    draws(both, &LOGITS, &exact(&LOGITS, 1.0, &[1, 5]));
}

#[test]
fn a_share_of_many_equal_tokens_is_cut_to_the_right_number() {
    let logits = vec![0.0_f32; 5000];
    let mut distribution = Distribution::new(&logits, 1.0).unwrap();
    distribution.cut(&settings(|s| s.top_p = 0.5));
    let mut seen = HashSet::new();
    for step in 0..50_000 {
        seen.insert(distribution.draw(f64::from(step) / 50_000.0).unwrap());
    }
    // Of equals the first ones.
    assert_eq!(seen, (0..2500).collect());
}

#[test]
fn penalties_change_logits_as_they_are_defined() {
    let prompt = settings(|s| s.repetition_penalty = 2.0);
    let mut sampler = Sampler::new(prompt, &[1, 3]).unwrap();
    let halved = [1.0, 1.5, 2.0, -2.0, f32::NEG_INFINITY, 2.5];
    assert_eq!(sampler.penalised(&LOGITS).unwrap(), halved);
    let chosen = sampler.sample(&[0.0, 0.0, 0.0, 0.0, 0.0, 90.0]).unwrap().token;
    assert_eq!(chosen, 5);
    assert_eq!(sampler.penalised(&LOGITS).unwrap()[5], 1.25);

    let counted = settings(|s| (s.presence_penalty, s.frequency_penalty) = (0.5, 0.25));
    let mut sampler = Sampler::new(counted, &[1, 2]).unwrap();
    for _ in 0..3 {
        sampler.sample(&[0.0, 0.0, 0.0, 0.0, 0.0, 90.0]).unwrap();
    }
    let subtracted = [1.0, 3.0, 2.0, -1.0, f32::NEG_INFINITY, 2.5 - 0.5 - 0.75];
    assert_eq!(sampler.penalised(&LOGITS).unwrap(), subtracted);
}

#[test]
fn the_likeliest_token_is_taken_at_temperature_0_and_the_first_of_equals() {
    let mut greedy = Sampler::new(Sampling::default(), &[]).unwrap();
    assert_eq!(greedy.sample(&LOGITS).unwrap().token, 1);
    assert_eq!(greedy.sample(&[f32::NAN, 2.0, 2.0]).unwrap().token, 1);
    let nothing = greedy.sample(&[f32::NAN, f32::NEG_INFINITY]);
    assert_eq!(nothing, Err(SamplingError::Undefined));
}

#[test]
fn a_seed_gives_the_same_tokens_again_and_another_one_others() {
    let tokens = |seed| {
        let mut sampler = Sampler::new(settings(|s| s.seed = Some(seed)), &[]).unwrap();
        (0..50)
            .map(|_| sampler.sample(&LOGITS).unwrap().token)
            .collect::<Vec<u32>>()
    };
    assert_eq!(tokens(1), tokens(1));
    assert_ne!(tokens(1), tokens(2));
}

#[test]
fn logprobs_are_those_of_the_model_whatever_the_settings() {
    let changed = settings(|s| {
        (s.temperature, s.top_k, s.logprobs) = (3.0, Some(1), Some(2));
        s.repetition_penalty = 1.5;
    });
    let sample = Sampler::new(changed, &[0]).unwrap().sample(&LOGITS).unwrap();
    let shares = exact(&LOGITS, 1.0, &[0, 1, 2, 3, 5]);
    let close = |logprob: f32, token: usize| (f64::from(logprob) - shares[token].ln()).abs() < 1e-5;
    assert_eq!(sample.token, 1);
    assert!(close(sample.logprob.unwrap(), 1));
    let top: Vec<u32> = sample.top.iter().map(|top| top.token).collect();
    assert_eq!(top, [1, 5]);
    assert!(close(sample.top[1].logprob, 5));
}

#[test]
fn settings_out_of_range_are_named() {
    let wrong: [(&str, Change); 9] = [
        ("temperature", |s| s.temperature = -0.1),
        ("temperature", |s| s.temperature = f32::NAN),
        ("top_p", |s| s.top_p = 0.0),
        ("top_k", |s| s.top_k = Some(0)),
        ("min_p", |s| s.min_p = 1.5),
        ("repetition_penalty", |s| s.repetition_penalty = 0.0),
        ("presence_penalty", |s| s.presence_penalty = 2.5),
        ("frequency_penalty", |s| s.frequency_penalty = -2.5),
        ("logprobs", |s| s.logprobs = Some(21)),
    ];
    for (field, change) in wrong {
        let error = settings(change).check().unwrap_err().to_string();
        assert!(error.starts_with(field) && error.contains("must be"), "{error}");
    }
}
