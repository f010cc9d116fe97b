//! Prints how well a classifier does.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use liquid_sidecar::need::features;
use liquid_sidecar::need::model::Model;
use liquid_sidecar::need::{Need, SURE, judge_with};
use serde_json::Value;

use super::data::Sample;
use super::fit::Fitted;
use super::{Label, NEEDS, Result};

/// Right answers of some.
#[derive(Default)]
struct Share {
    right: usize,
    all: usize,
}

impl Share {
    fn add(&mut self, right: bool) {
        self.right += usize::from(right);
        self.all += 1;
    }

    fn percent(&self) -> f64 {
        100.0 * self.right as f64 / self.all.max(1) as f64
    }
}

/// Prints accuracy by class and by language on samples that the classifier has not seen.
pub(crate) fn print_held_out(fitted: &Fitted, held: &[&Sample], label: Label, names: &[&str]) {
    let mut classes: BTreeMap<usize, Share> = BTreeMap::new();
    let mut languages: BTreeMap<&str, Share> = BTreeMap::new();
    let mut harm = Harm::default();
    for sample in held {
        let Some(class) = label(sample) else { continue };
        let probabilities = fitted.probabilities(&features::extract(&sample.text));
        let best = probabilities.iter().enumerate().fold(
            0,
            |best, (at, p)| if *p > probabilities[best] { at } else { best },
        );
        if best != class && std::env::var_os("WRONG").is_some() {
            println!(
                "  {} {} as {}: {:?}",
                sample.language, names[class], names[best], sample.text
            );
        }
        if names.len() == NEEDS.len() {
            harm.add(class < 2, probabilities[0] + probabilities[1] >= SURE);
        }
        classes.entry(class).or_default().add(best == class);
        languages.entry(&sample.language).or_default().add(best == class);
    }
    let all = Share {
        right: classes.values().map(|s| s.right).sum(),
        all: classes.values().map(|s| s.all).sum(),
    };
    print!("held out {}: {:.1} %;", all.all, all.percent());
    for (class, share) in &classes {
        print!(" {} {:.1} ({})", names[*class], share.percent(), share.all);
    }
    print!("\n ");
    for (language, share) in &languages {
        print!(" {language} {:.0}", share.percent());
    }
    println!();
    if harm.should > 0 {
        println!("  {harm}");
    }
}

/// What a decision does, as wrong decisions are counted.
#[derive(Default)]
struct Harm {
    harmful: usize,
    must_not: usize,
    costly: usize,
    should: usize,
}

impl Harm {
    /// Adds a decision: whether passages are enough, and whether they were taken for enough.
    fn add(&mut self, enough: bool, taken: bool) {
        let (all, wrong) = if enough {
            (&mut self.should, &mut self.costly)
        } else {
            (&mut self.must_not, &mut self.harmful)
        };
        *all += 1;
        *wrong += usize::from(enough != taken);
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            harmful,
            must_not,
            costly,
            should,
        } = *self;
        let percent = |part: usize, all: usize| 100.0 * part as f64 / all.max(1) as f64;
        let (harm, cost) = (percent(harmful, must_not), percent(costly, should));
        write!(
            f,
            "harmful {harmful:3} of {must_not:3} ({harm:.1} %)  costly {costly:3} of {should:3} ({cost:.1} %)"
        )
    }
}

/// Scores a file of labelled requests with a model's file. Wrong decisions are printed with the environment's `WRONG`.
pub(crate) fn print_labelled(file: &[u8], labelled: &Path) -> Result<()> {
    let model = Model::read(file).ok_or("the written model cannot be read")?;
    let mut languages: BTreeMap<String, Harm> = BTreeMap::new();
    let mut classes: BTreeMap<usize, Share> = BTreeMap::new();
    for line in std::fs::read_to_string(labelled)?.lines() {
        let item: Value = serde_json::from_str(line)?;
        let text = item["text"].as_str().unwrap_or_default();
        let class = |name: &Value| NEEDS.iter().position(|other| name == other);
        let need = class(&item["need"]).ok_or("a need without a name")?;
        let judgement = judge_with(&model, text);
        let found = Need::ALL
            .iter()
            .position(|other| *other == judgement.need)
            .unwrap_or_default();
        let also: Vec<usize> = item["also"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(class)
            .collect();
        let language = item["language"].as_str().unwrap_or_default().to_owned();
        let [one, all] = [language, "all".to_owned()];
        let wrong = (found < 2) != (need < 2) && also.iter().all(|also| (found < 2) != (*also < 2));
        classes.entry(need).or_default().add(found == need);
        for name in [one, all] {
            languages
                .entry(name)
                .or_default()
                .add(need < 2, (need < 2) != wrong);
        }
        if wrong && std::env::var_os("WRONG").is_some() {
            println!(
                "  {} as {} ({:.2}): {text:?} {}",
                NEEDS[need], NEEDS[found], judgement.confidence, item["note"]
            );
        }
    }
    for (language, harm) in &languages {
        println!("{language:4} {harm}");
    }
    for (class, share) in &classes {
        print!("{} {:.1} ({})  ", NEEDS[*class], share.percent(), share.all);
    }
    println!();
    Ok(())
}
