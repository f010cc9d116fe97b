//! `liquid-bench evidence`: packs made from the evaluation sets, scored by how much labelled evidence they hold.
//!
//! Each item's document is extracted at each ratio; the spans, joined by line feeds, are the pack. `--auto`
//! also lets the budget follow the question, and compares it with the one fixed ratio that keeps as many words.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, bail};
use clap::ValueEnum;
use liquid_worker::engine::{Auto, Budget, Extractor, Request, Settings, Tier};
use liquid_worker::model::{Device, Models};

use crate::chart;

mod data;
mod metric;
mod report;

use data::{Item, Set};
use report::{Cell, Report, Row};

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Sets to measure, .jsonl or .jsonl.gz [default: all of eval/]
    files: Vec<PathBuf>,
    /// Words of the document for each word that may be kept
    #[arg(long, value_delimiter = ',', default_values_t = [5.5, 10.0, 20.0])]
    ratios: Vec<f64>,
    /// The engine
    #[arg(long, value_enum, default_value = "encoder")]
    tier: TierName,
    /// Also measure the automatic budget, against a fixed ratio that keeps as many words
    #[arg(long)]
    auto: bool,
    /// Share of the evidence that the automatic budget aims at
    #[arg(long, default_value_t = Auto::default().floor)]
    floor: f64,
    /// Write the packs there: JSON lines {"id","ratio","tier","pack"}
    #[arg(long)]
    packs: Option<PathBuf>,
    /// Write the figures there
    #[arg(long, default_value = "target/bench/evidence.json")]
    json: PathBuf,
    /// Draw them there
    #[arg(long, default_value = "target/bench/evidence.svg")]
    svg: PathBuf,
    /// Only the first N items of each set
    #[arg(long)]
    limit: Option<usize>,
    /// The model's folder
    #[arg(long, default_value = ".cache/models/all-minilm-l6-v2")]
    model: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum TierName {
    Lexical,
    Static,
    Encoder,
}

impl From<TierName> for Tier {
    fn from(name: TierName) -> Self {
        match name {
            TierName::Lexical => Self::Lexical,
            TierName::Static => Self::Static,
            TierName::Encoder => Self::Encoder,
        }
    }
}

/// One pack, scored.
struct Outcome {
    cell: Cell,
    pack: String,
}

/// Measures, prints, writes.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let sets = data::load_all(&arguments.files, arguments.limit)?;
    let bench = Bench::new(arguments)?;
    let mut packs = arguments.packs.as_deref().map(writer).transpose()?;
    let mut report = Report::new(bench.tier.name());
    for set in &sets {
        for &ratio in &arguments.ratios {
            let outcomes = bench.measure(set, Budget::Ratio(ratio))?;
            if let Some(packs) = &mut packs {
                write_packs(packs, set, ratio, bench.tier, &outcomes)?;
            }
            report.rows.push(Row::new(
                &set.name,
                Some(ratio),
                outcomes.iter().map(|outcome| &outcome.cell),
            ));
        }
    }
    if let Some(mut packs) = packs {
        packs.flush()?;
    }
    print!("{}", report.table(&arguments.ratios));
    if arguments.auto {
        let comparison = bench.compare_auto(&sets, arguments.floor)?;
        print!("{comparison}");
        report.auto = Some(comparison);
    }
    report.write(&arguments.json)?;
    let labels = chart::Labels {
        title: "Evidence recall by compression",
        x: "ratio",
        y: "evidence recall, %",
    };
    chart::lines(&arguments.svg, &labels, &report.series())?;
    println!(
        "\nwritten: {} and {}",
        arguments.json.display(),
        arguments.svg.display()
    );
    Ok(())
}

struct Bench {
    tier: Tier,
    extractors: Vec<Mutex<Extractor>>,
}

impl Bench {
    /// One extractor a core for the cheap tiers; the encoder uses all cores itself.
    fn new(arguments: &Arguments) -> anyhow::Result<Self> {
        let tier = Tier::from(arguments.tier);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = if tier == Tier::Encoder { 1 } else { cores };
        let extractor = |_| -> anyhow::Result<_> {
            let models = if tier == Tier::Lexical {
                None
            } else {
                Some(load(&arguments.model)?)
            };
            Ok(Mutex::new(Extractor::new(models, Settings::default())))
        };
        let extractors = (0..count).map(extractor).collect::<anyhow::Result<_>>()?;
        Ok(Self { tier, extractors })
    }

    /// Scores the pack of every item of a set, in the order of the items.
    fn measure(&self, set: &Set, budget: Budget) -> anyhow::Result<Vec<Outcome>> {
        let next = AtomicUsize::new(0);
        let work = |extractor: &Mutex<Extractor>| -> anyhow::Result<Vec<(usize, Outcome)>> {
            let Ok(mut extractor) = extractor.lock() else {
                bail!("another thread failed")
            };
            let mut done = Vec::new();
            while let Some(item) = set.items.get(next.fetch_add(1, Ordering::Relaxed)) {
                done.push((item.index, self.measure_item(&mut extractor, item, budget)?));
            }
            Ok(done)
        };
        let results: Vec<anyhow::Result<Vec<(usize, Outcome)>>> = std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .extractors
                .iter()
                .map(|one| scope.spawn(|| work(one)))
                .collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("a thread of the measurement panicked")))
            };
            threads.into_iter().map(join).collect()
        });
        let mut outcomes = Vec::with_capacity(set.items.len());
        for result in results {
            outcomes.extend(result?);
        }
        outcomes.sort_by_key(|(index, _)| *index);
        Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
    }

    fn measure_item(
        &self,
        extractor: &mut Extractor,
        item: &Item,
        budget: Budget,
    ) -> anyhow::Result<Outcome> {
        let extraction = extractor
            .extract(&Request {
                document: &item.document,
                question: &item.question,
                budget,
                tier: Some(self.tier),
                deadline: None,
                cancelled: &|| false,
            })
            .with_context(|| format!("cannot extract {}", item.id))?;
        if extraction.tier != self.tier {
            bail!(
                "{}: ran {} ({})",
                item.id,
                extraction.tier.name(),
                extraction.tier_reason
            );
        }
        let kept: Vec<&str> = extraction
            .spans
            .iter()
            .filter_map(|span| item.document.get(span.start..span.end))
            .collect();
        let pack = kept.join("\n");
        let score = metric::score(&item.answers, &item.evidence, &pack);
        let document_words = item.document.split_whitespace().count();
        if let Budget::Ratio(ratio) = budget
            && score.words > (document_words as f64 / ratio) as usize
        {
            bail!(
                "{}: the pack of {} words exceeds its budget at ratio {ratio}",
                item.id,
                score.words
            );
        }
        let cell = Cell {
            score,
            document_words,
            estimated: extraction.estimated_recall,
        };
        Ok(Outcome { cell, pack })
    }

    /// Automatic budgets against the one fixed ratio that keeps as many words.
    fn compare_auto(&self, sets: &[Set], floor: f64) -> anyhow::Result<report::Auto> {
        let rows = |budget: Budget| -> anyhow::Result<Vec<Row>> {
            let row = |set: &Set| {
                let outcomes = self.measure(set, budget)?;
                Ok(Row::new(
                    &set.name,
                    None,
                    outcomes.iter().map(|outcome| &outcome.cell),
                ))
            };
            sets.iter().map(row).collect()
        };
        let auto = rows(Budget::Auto(Auto {
            floor,
            ..Auto::default()
        }))?;
        let share = auto.iter().map(|row| row.kept_share).sum::<f64>() / auto.len().max(1) as f64;
        let fixed_ratio = (1.0 / share).max(1.0);
        let fixed = rows(Budget::Ratio(fixed_ratio))?;
        Ok(report::Auto {
            floor,
            fixed_ratio,
            auto,
            fixed,
        })
    }
}

fn load(folder: &Path) -> anyhow::Result<Models> {
    Models::load(folder, Device::Cpu)
        .with_context(|| format!("cannot load {}; `cargo xtask model` fetches it", folder.display()))
}

fn writer(path: &Path) -> anyhow::Result<BufWriter<std::fs::File>> {
    let file = std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(BufWriter::new(file))
}

fn write_packs(
    to: &mut impl Write,
    set: &Set,
    ratio: f64,
    tier: Tier,
    outcomes: &[Outcome],
) -> anyhow::Result<()> {
    for (item, outcome) in set.items.iter().zip(outcomes) {
        let line =
            serde_json::json!({"id": item.id, "ratio": ratio, "tier": tier.name(), "pack": outcome.pack});
        writeln!(to, "{line}")?;
    }
    Ok(())
}
