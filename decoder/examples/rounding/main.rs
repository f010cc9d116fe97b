//! How far the logits of a Llama part where activations are rounded to bf16 and sums are made in another order, computed on
//! the processor: what two passes over the same tokens differ by on a GPU, without a fault. Requests, answers and the bound of
//! a tie are those of the example `soak`.
//!
//!     cargo run --release -p liquid-decoder --example rounding -- .cache/models/smollm2-135m-instruct

use std::error::Error;
use std::path::Path;

use burn::tensor::Device;
use liquid_decoder::Model;

#[path = "../soak/alone.rs"]
#[allow(dead_code, reason = "no load follows here")]
mod alone;
mod forward;
#[path = "../soak/requests.rs"]
#[allow(dead_code, reason = "the load on the processor draws its tokens")]
mod requests;

use alone::{Alone, Best, Reader, TIE, difference};
use forward::{Arithmetic, Llama};

type Failure = Box<dyn Error + Send + Sync>;

/// Most difference of two leads in f32.
const F32: f32 = 0.01;

/// What two passes give for a row.
struct Row {
    /// By how much the likeliest token of the first pass leads there.
    lead: f32,
    /// By how much its lead over the same other token is another one in the second pass.
    shift: f32,
    /// Root mean square difference of the two rows.
    difference: f32,
    /// Whether another token is the likeliest in the second pass.
    parts: bool,
}

impl Row {
    fn new(one: &[f32], other: &[f32]) -> Self {
        let best = Best::of(one);
        let [first, second] = [best.token, best.next].map(|token| other[token as usize]);
        Self {
            lead: best.lead,
            shift: (best.lead - (first - second)).abs(),
            difference: difference(one, other),
            parts: Best::of(other).token != best.token,
        }
    }
}

/// Squares of numbers and of their errors.
#[derive(Clone, Copy, Default)]
struct Squares {
    errors: f64,
    numbers: f64,
    count: f64,
}

impl Squares {
    fn add(&mut self, exact: &[f32], rounded: &[f32]) {
        for (exact, rounded) in exact.iter().zip(rounded) {
            self.errors += f64::from(exact - rounded).powi(2);
            self.numbers += f64::from(*exact).powi(2);
            self.count += 1.0;
        }
    }
}

/// What all requests give.
#[derive(Default)]
struct Totals {
    rows: Vec<Row>,
    /// Of sums at once, in parts and in rounded parts against f32, and of the first two against each other.
    squares: [Squares; 4],
}

impl Totals {
    fn add(&mut self, [exact, whole, parts, rounded]: &[Vec<Vec<f32>>; 4]) {
        for ((exact, whole), (parts, rounded)) in exact.iter().zip(whole).zip(parts.iter().zip(rounded)) {
            let [of_whole, of_parts, of_rounded, of_both] = &mut self.squares;
            of_whole.add(exact, whole);
            of_parts.add(exact, parts);
            of_rounded.add(exact, rounded);
            of_both.add(whole, parts);
            self.rows.push(Row::new(whole, parts));
        }
    }
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("give the folder of a model")?;
    let folder = Path::new(&folder);
    let count: u64 = arguments
        .next()
        .map_or(Ok(requests::REQUESTS), |count| count.parse())?;
    let llama = Llama::load(folder)?;
    let model = Model::load(folder, &Device::flex())?;
    let vocabulary = model.architecture().vocab_size as u32;
    let mut reader = Reader::new(model, requests::CONTEXT)?;
    let mut totals = Totals::default();
    for seed in 0..count {
        let request = requests::likeliest(seed, vocabulary, requests::CONTEXT);
        let answer = reader.answer(&request)?;
        if answer.ties.iter().any(|tie| *tie != 0.0) {
            return Err("the processor's logits are other ones in other passes".into());
        }
        let mut tokens = request.prompt;
        tokens.extend(answer.tokens.iter().rev().skip(1).rev());
        println!(
            "request {seed}: {} tokens, {} of them written",
            tokens.len() + 1,
            answer.tokens.len()
        );
        let logits = [
            Arithmetic::Exact,
            Arithmetic::Whole,
            Arithmetic::Parts,
            Arithmetic::RoundedParts,
        ];
        let logits = logits.map(|arithmetic| llama.logits(&tokens, answer.tokens.len(), arithmetic));
        check(&logits[0], &answer)?;
        totals.add(&logits);
    }
    let names = [
        "sums at once, against f32",
        "sums in parts, against f32",
        "parts in bf16, against f32",
        "at once, against in parts",
    ];
    for (name, squares) in names.into_iter().zip(totals.squares) {
        let (error, size) = (squares.errors / squares.count, squares.numbers / squares.count);
        println!(
            "{name}: error {:.4}, {:.2} % of {:.2}",
            error.sqrt(),
            100.0 * (error / size).sqrt(),
            size.sqrt()
        );
    }
    report(&totals.rows);
    Ok(())
}

/// Checks that the pass which is written here chooses the model's tokens, where they lead.
fn check(exact: &[Vec<f32>], answer: &Alone) -> Result<(), Failure> {
    let leads = answer.tokens.iter().zip(&answer.leads);
    for (row, (token, lead)) in exact.iter().zip(leads) {
        let best = Best::of(row);
        if best.token != *token && *lead > F32 || (best.lead - lead).abs() > F32 {
            return Err(format!(
                "{token} leads by {lead}, and here {} by {}",
                best.token, best.lead
            )
            .into());
        }
    }
    Ok(())
}

fn report(rows: &[Row]) {
    print_shares("shift of a lead", rows.iter().map(|row| row.shift).collect());
    print_shares(
        "difference of rows",
        rows.iter().map(|row| row.difference).collect(),
    );
    let shares = rows.iter().map(|row| row.shift / row.difference);
    print_shares("shift by difference", shares.collect());
    let parted = || rows.iter().filter(|row| row.parts);
    let largest = |of: fn(&Row) -> f32| parted().map(of).fold(0.0, f32::max);
    let ties = rows.iter().filter(|row| row.lead <= TIE * row.difference);
    println!(
        "{} of {} tokens part, at leads up to {:.3}, {:.2} times the difference; a tie is {TIE} times, and {} tokens are one",
        parted().count(),
        rows.len(),
        largest(|row| row.lead),
        largest(|row| row.lead / row.difference),
        ties.count()
    );
}

/// Prints the root mean square of some numbers, and below what shares of them are.
fn print_shares(name: &str, mut numbers: Vec<f32>) {
    numbers.sort_by(f32::total_cmp);
    let square: f32 = numbers.iter().map(|x| x * x).sum();
    let at = |share: f64| {
        let index = (numbers.len().saturating_sub(1)) as f64 * share;
        numbers.get(index.round() as usize).copied().unwrap_or(0.0)
    };
    println!(
        "{name}: root mean square {:.3}; half up to {:.3}, 90 % {:.3}, 99 % {:.3}, all {:.3}",
        (square / numbers.len() as f32).sqrt(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
}
