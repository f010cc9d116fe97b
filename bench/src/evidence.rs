//! `liquid-bench evidence`: packs made from the evaluation sets, scored by how much labelled evidence they hold.
//!
//! Each item's document is extracted at each ratio; the spans, joined by line feeds, are the pack. `--auto`
//! also lets the budget follow the question, and compares it with the one fixed ratio that keeps as many words.
//!
//! Means are also given for each half of the documents (`data::Half`), so that what was chosen on one half can be
//! seen on the other.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, bail};
use liquid_worker::engine::{
    Asks, AutoBudget, Budget, Extraction, Extractor, Request, Settings, Text, Texts, Tier, TierChoice,
    TierReason,
};
use liquid_worker::model::{Device, Models};

use crate::{chart, results};

mod calibration;
pub(crate) mod data;
pub(crate) mod metric;
mod report;
mod same;
mod together;

use data::{Choice, Item, Set};
use report::{Cell, Report, Row};
use together::Together;

/// Sets, budgets and devices to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Sets to measure, .jsonl or .jsonl.gz [default: all of eval/]
    files: Vec<PathBuf>,
    /// Words of the document for each word that may be kept
    #[arg(long, value_delimiter = ',', default_values_t = [5.5, 10.0, 20.0])]
    ratios: Vec<f64>,
    /// The engine
    #[arg(long, default_value_t = Tier::Encoder)]
    tier: Tier,
    /// Most tokens that the encoder reads for an answer; 0 for all [default: 8000 on a processor, all on a GPU]
    #[arg(long)]
    encode_tokens: Option<usize>,
    /// Most tokens that the ranker tier reads for an answer; 0 for all, which the encoder then reads too [default: 8000
    /// on a processor, all on a GPU]
    #[arg(long)]
    ranker_tokens: Option<usize>,
    /// Device of encoder and ranker: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Also measure the automatic budget, against a fixed ratio that keeps as many words
    #[arg(long)]
    auto: bool,
    /// Also check the automatic budget on kinds of documents that took no part in choosing what it is asked for: files
    /// in the same format, one a kind, of documents that the tier was not trained on (`ranker.kept` writes them)
    #[arg(long, value_name = "FILE", num_args = 1..)]
    kinds: Vec<PathBuf>,
    /// Share of the evidence that the automatic budget aims at
    #[arg(long, default_value_t = AutoBudget::default().floor())]
    floor: f64,
    /// Also measure N questions in one request, with one budget for all: the item's own, others about its document,
    /// and others of the set if those are too few
    #[arg(long, value_name = "N")]
    asks: Option<usize>,
    /// Cut every document into passages of so many bytes, wherever they end, as careless retrievers do: each is kept whole
    /// or left out whole
    #[arg(long, value_name = "BYTES")]
    passages: Option<usize>,
    #[command(flatten)]
    choice: Choice,
    /// Write the packs there: JSON lines {"id","ratio","tier","spans","pack"}
    #[arg(long)]
    packs: Option<PathBuf>,
    /// Compare the spans with those of packs that another device or build has written with --packs, plain or gzip;
    /// --ratios, --encode-tokens and --ranker-tokens as there
    #[arg(long, value_name = "PACKS")]
    same_as: Option<PathBuf>,
    /// Write the figures there
    #[arg(long, default_value = "target/bench/evidence.json")]
    json: PathBuf,
    /// Draw them there
    #[arg(long, default_value = "target/bench/evidence.png")]
    png: PathBuf,
    /// The model's folder
    #[arg(long, default_value = ".cache/models/all-minilm-l6-v2")]
    model: PathBuf,
    /// The ranker's folder, for --tier ranker
    #[arg(long, default_value = ".cache/models/liquid-ranker")]
    ranker: PathBuf,
}

/// Bytes of what the models said that are remembered: enough for any document, so that its second ratio costs nothing.
const MEMORY_BYTES: usize = 512 << 20;

/// Why a cheaper tier runs where that is meant.
const MEANT: [TierReason; 2] = [TierReason::NotTrainedFor, TierReason::OtherLanguage];

/// One pack, scored.
struct Outcome {
    cell: Cell,
    /// First byte and one past the last of each span.
    spans: Vec<[usize; 2]>,
    pack: String,
}

/// The outcomes of some items, by their place in the set: one for each budget.
type Done = Vec<(usize, Vec<Outcome>)>;

/// Measures, prints, writes.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let sets = data::load_all(&arguments.files, &arguments.choice)?;
    let kinds = data::load_all_of(&arguments.kinds, &arguments.choice)?;
    let packs = arguments.packs.as_deref().map(writer).transpose()?;
    let all_for_zero = |most: usize| if most == 0 { usize::MAX } else { most };
    let settings = Settings {
        encode_tokens: arguments.encode_tokens.map(all_for_zero),
        ranker_tokens: arguments.ranker_tokens.map(all_for_zero),
        memory_bytes: MEMORY_BYTES,
    };
    let bench = Bench::new(arguments, settings)?;
    let mut report = bench.report(&sets, arguments, packs)?;
    print!("{}", report.table(&arguments.ratios));
    if let Some(comparison) = &report.auto {
        print!("{comparison}");
    }
    if let Some(together) = &report.together {
        print!("{}", together.table(&report.rows));
    }
    if !kinds.is_empty() {
        let calibration = bench.calibrate(&kinds, &sets, arguments.floor)?;
        print!("{calibration}");
        report.calibration = Some(calibration);
    }
    println!();
    results::write_json(&arguments.json, &[&report])?;
    let labels = chart::Labels {
        title: "Evidence recall by compression",
        x: "ratio",
        y: "evidence recall, %",
        scale: chart::Scale::Linear,
    };
    chart::lines(&arguments.png, &labels, &report.series())?;
    println!(
        "written: {} and {}",
        arguments.json.display(),
        arguments.png.display()
    );
    Ok(())
}

struct Bench {
    tier: Tier,
    /// Bytes of the passages that documents are cut into.
    passages: Option<usize>,
    settings: Settings,
    extractors: Vec<Mutex<Extractor>>,
}

impl Bench {
    /// One extractor a core for the cheap tiers; encoder and ranker use all cores themselves.
    fn new(arguments: &Arguments, settings: Settings) -> anyhow::Result<Self> {
        let tier = arguments.tier;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = if tier.runs_model() { 1 } else { cores };
        let extractor = |_| -> anyhow::Result<_> {
            let models = load(arguments)?;
            Ok(Mutex::new(Extractor::new(models, settings)))
        };
        let extractors = (0..count).map(extractor).collect::<anyhow::Result<_>>()?;
        Ok(Self {
            tier,
            passages: arguments.passages,
            settings,
            extractors,
        })
    }

    fn report(
        &self,
        sets: &[Set],
        arguments: &Arguments,
        mut packs: Option<BufWriter<std::fs::File>>,
    ) -> anyhow::Result<Report> {
        let mut report = Report::new(self.tier, &self.settings);
        let budgets = arguments.ratios.iter().map(|&ratio| Budget::ratio(ratio));
        let mut budgets = budgets.collect::<Result<Vec<Budget>, _>>()?;
        if arguments.auto {
            let default = AutoBudget::default();
            let (least, most) = (default.min_ratio().get(), default.max_ratio().get());
            budgets.push(Budget::Auto(AutoBudget::new(arguments.floor, least, most)?));
        }
        let mut auto = Vec::new();
        let mut same = arguments.same_as.as_deref().map(same::Same::read).transpose()?;
        let alone = |item: &Item| Ok(Asks::from_question(item.question.as_str()));
        for set in sets {
            let mut outcomes = self.measure(set, &budgets, &alone)?;
            if arguments.auto {
                let of_auto = outcomes.pop().unwrap_or_default();
                auto.push(row(set, None, &of_auto));
            }
            for (&ratio, outcomes) in arguments.ratios.iter().zip(&outcomes) {
                if let Some(packs) = &mut packs {
                    write_packs(packs, set, ratio, self.tier, outcomes)?;
                }
                if let Some(same) = &mut same {
                    same.compare(set, ratio, outcomes)?;
                }
                report.rows.push(row(set, Some(ratio), outcomes));
            }
        }
        if let Some(mut packs) = packs {
            packs.flush()?;
        }
        if let Some(same) = same {
            print!("{same}");
        }
        if arguments.auto {
            report.auto = Some(self.compare(sets, arguments.floor, auto)?);
        }
        if let Some(count) = arguments.asks {
            report.together = Some(self.ask_together(sets, count, &arguments.ratios)?);
        }
        Ok(report)
    }

    /// Scores the packs of every item of a set: for each budget, in the order of the items. An item's budgets come
    /// one after the other, so that what the encoder has read is remembered. `asks_of` says what is asked about an
    /// item's document.
    fn measure(
        &self,
        set: &Set,
        budgets: &[Budget],
        asks_of: &(dyn Fn(&Item) -> anyhow::Result<Asks> + Sync),
    ) -> anyhow::Result<Vec<Vec<Outcome>>> {
        let next = AtomicUsize::new(0);
        let work = |extractor: &Mutex<Extractor>| -> anyhow::Result<Done> {
            let Ok(mut extractor) = extractor.lock() else {
                bail!("another thread failed")
            };
            let mut done = Vec::new();
            while let Some(item) = set.items.get(next.fetch_add(1, Ordering::Relaxed)) {
                let asks = asks_of(item)?;
                let of_budget = |&budget: &Budget| self.measure_item(&mut extractor, item, &asks, budget);
                let outcomes: anyhow::Result<Vec<Outcome>> = budgets.iter().map(of_budget).collect();
                done.push((item.index, outcomes?));
            }
            Ok(done)
        };
        let results: Vec<anyhow::Result<Done>> = std::thread::scope(|scope| {
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
        let mut items = Vec::with_capacity(set.items.len());
        for result in results {
            items.extend(result?);
        }
        items.sort_by_key(|(index, _)| *index);
        let mut columns: Vec<Vec<Outcome>> = budgets.iter().map(|_| Vec::new()).collect();
        for (_, outcomes) in items {
            for (column, outcome) in columns.iter_mut().zip(outcomes) {
                column.push(outcome);
            }
        }
        Ok(columns)
    }

    fn measure_item(
        &self,
        extractor: &mut Extractor,
        item: &Item,
        asks: &Asks,
        budget: Budget,
    ) -> anyhow::Result<Outcome> {
        let texts = self.passages.map(|bytes| passages(&item.document, bytes));
        let texts = texts.transpose()?.unwrap_or_default();
        let extraction = extractor
            .extract(&Request {
                document: &item.document,
                texts: &texts,
                asks,
                budget,
                tier: TierChoice::as_asked(self.tier),
                deadline: None,
                cancelled: &|| false,
            })
            .with_context(|| format!("cannot extract {}", item.id))?;
        if extraction.tier != self.tier && !MEANT.contains(&extraction.tier_reason) {
            bail!(
                "{}: ran {} ({})",
                item.id,
                extraction.tier.name(),
                extraction.tier_reason.explanation()
            );
        }
        let pack = join_pack(&item.document, &extraction);
        let score = metric::score(&item.answers, &item.evidence, &pack);
        let document_words = item.document.split_whitespace().count();
        if let Budget::Ratio(ratio) = budget
            && score.words > ratio.words_of(document_words)
        {
            bail!(
                "{}: the pack of {} words exceeds its budget at ratio {}",
                item.id,
                score.words,
                ratio.get()
            );
        }
        let cell = Cell {
            half: item.half,
            score,
            document_words,
            estimated: extraction.estimated_recall,
            passed: extraction.below_floor,
        };
        let spans = extraction
            .spans
            .iter()
            .map(|span| [span.start, span.end])
            .collect();
        Ok(Outcome { cell, spans, pack })
    }

    /// Several questions in one request, at each ratio.
    fn ask_together(&self, sets: &[Set], count: usize, ratios: &[f64]) -> anyhow::Result<Together> {
        let budgets = ratios.iter().map(|&ratio| Budget::ratio(ratio));
        let budgets = budgets.collect::<Result<Vec<Budget>, _>>()?;
        let mut rows = Vec::new();
        for set in sets {
            let outcomes = self.measure(set, &budgets, &|item| together::asks(set, item, count))?;
            let rows_of = ratios.iter().zip(&outcomes);
            rows.extend(rows_of.map(|(&ratio, outcomes)| row(set, Some(ratio), outcomes)));
        }
        Ok(Together { asks: count, rows })
    }

    /// Automatic budgets against the one fixed ratio that keeps as many words.
    fn compare(&self, sets: &[Set], floor: f64, auto: Vec<Row>) -> anyhow::Result<report::Auto> {
        let share = auto.iter().map(|row| row.kept_share).sum::<f64>() / auto.len().max(1) as f64;
        let fixed_ratio = (1.0 / share).max(1.0);
        let mut fixed = Vec::new();
        let alone = |item: &Item| Ok(Asks::from_question(item.question.as_str()));
        for set in sets {
            let outcomes = self.measure(set, &[Budget::ratio(fixed_ratio)?], &alone)?;
            fixed.extend(outcomes.iter().map(|outcomes| row(set, None, outcomes)));
        }
        Ok(report::Auto {
            floor,
            fixed_ratio,
            auto,
            fixed,
        })
    }
}

/// Returns what is kept of a document: its spans, or all of it if no pack holds enough.
fn join_pack(document: &str, extraction: &Extraction) -> String {
    if extraction.below_floor {
        return document.to_owned();
    }
    let spans = extraction.spans.iter();
    let kept = spans.filter_map(|span| document.get(span.start..span.end));
    kept.collect::<Vec<&str>>().join("\n")
}

/// Cuts a document into passages of at most `bytes` bytes, or one character, that are kept whole.
fn passages(document: &str, bytes: usize) -> anyhow::Result<Texts> {
    let mut texts = Vec::new();
    let mut rest = document;
    while let Some(first) = rest.chars().next() {
        let end = rest.floor_char_boundary(bytes).max(first.len_utf8());
        texts.push(Text {
            bytes: end as u64,
            whole: true,
        });
        rest = &rest[end..];
    }
    Ok(Texts::new(document, texts)?)
}

fn row(set: &Set, ratio: Option<f64>, outcomes: &[Outcome]) -> Row {
    Row::new(&set.name, ratio, outcomes.iter().map(|outcome| &outcome.cell))
}

/// Loads what the tier needs.
fn load(arguments: &Arguments) -> anyhow::Result<Option<Models>> {
    let Arguments {
        model,
        ranker,
        device,
        ..
    } = arguments;
    let models = match arguments.tier {
        Tier::Lexical => return Ok(None),
        Tier::Static | Tier::Encoder => Models::load(model, *device),
        Tier::Ranker => Models::load_with_ranker(model, ranker, *device),
        Tier::Decoder => bail!("--tier decoder: measured by `liquid-bench facts`"),
    };
    let remedy =
        "cannot load the models; `cargo xtask model` fetches them, --model and --ranker name other folders";
    models.context(remedy).map(Some)
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
        let line = serde_json::json!({"id": item.id, "ratio": ratio, "tier": tier.name(), "spans": outcome.spans,
                "pack": outcome.pack});
        writeln!(to, "{line}")?;
    }
    Ok(())
}
