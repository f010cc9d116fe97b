//! `liquid-worker extract`: one document, one question, the evidence on standard output.

use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

use liquid_process::Invalid;
use serde_json::json;

use super::{BudgetArgs, CliError, ExtractArgs, configuration, facts};
use crate::config::Config;
use crate::engine::{Ask, Asks, AutoBudget, Budget, Extraction, Extractor, Request, Settings, Texts};
use crate::model::Models;
use crate::runtime::verify_signatures;
use crate::tier::{Tier, TierChoice};

/// The ratio when no budget is given.
const DEFAULT_RATIO: f64 = 10.0;

pub(super) fn run(args: ExtractArgs) -> Result<(), CliError> {
    let config = configured(&args)?;
    verify_signatures(&config)?;
    let document = read_document(&args.document)?;
    let budget = parse_budget(&args.budget)?;
    let asks = args
        .question
        .into_iter()
        .filter_map(|text| Ask::new(text, 1.0).ok());
    let asks = Asks::new(asks.collect());
    if args.facts || args.tier == Some(Tier::Decoder) {
        let question = facts::Question {
            document,
            asks,
            budget,
        };
        let (extraction, took) = facts::extract(&config, &question)?;
        return write(&match (args.facts, args.json) {
            (true, true) => format!("{}\n", facts::to_json(&question.document, &extraction)),
            (true, false) => facts::format_for_people(&question.document, &extraction),
            (false, true) => format_as_json(&question.document, &extraction, took),
            (false, false) => {
                format_for_people(&question.document, &extraction, took)
                    + "\n"
                    + &facts::format_for_people(&question.document, &extraction)
            }
        });
    }
    let tier = TierChoice::among(&config.served_tiers(), args.tier);
    let settings = Settings {
        encode_tokens: config.limits.most_encoded(),
        ranker_tokens: config.limits.most_ranked(),
        ..Settings::default()
    };
    let mut extractor = Extractor::new(load_models(&config, tier.tier)?, settings);
    let started = Instant::now();
    let extraction = extractor.extract(&Request {
        document: &document,
        texts: &Texts::default(),
        asks: &asks,
        budget,
        tier,
        deadline: None,
        cancelled: &|| false,
    })?;
    let took = started.elapsed().as_secs_f64() * 1000.0;
    let text = if args.json {
        format_as_json(&document, &extraction, took)
    } else {
        format_for_people(&document, &extraction, took)
    };
    write(&text)
}

/// Returns the configuration with the models that the command line names.
fn configured(args: &ExtractArgs) -> Result<Config, CliError> {
    let mut config = configuration(&args.config)?;
    let named = [
        (&mut config.model.folder, &args.model),
        (&mut config.model.ranker, &args.ranker),
        (&mut config.decoder.folder, &args.decoder),
    ];
    for (folder, named) in named {
        if named.is_some() {
            folder.clone_from(named);
        }
    }
    Ok(config)
}

fn write(text: &str) -> Result<(), CliError> {
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes()).map_err(CliError::Write)
}

fn read_document(path: &Path) -> Result<String, CliError> {
    let standard_input = path == Path::new("-");
    let name = if standard_input {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    };
    let mut bytes = Vec::new();
    let read = if standard_input {
        std::io::stdin().lock().read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes))
    };
    if let Err(source) = read {
        return Err(CliError::Read { name, source });
    }
    String::from_utf8(bytes).map_err(|error| CliError::Encoding {
        name,
        position: error.utf8_error().valid_up_to(),
    })
}

/// Loads the model, unless the tier needs none: loading takes longer than a lexical answer.
fn load_models(config: &Config, tier: Tier) -> Result<Option<Models>, CliError> {
    let Some(folder) = config.model.folder.as_deref() else {
        return Ok(None);
    };
    if !tier.needs_model() {
        return Ok(None);
    }
    let device = config.model.device;
    Ok(Some(match config.model.ranker_folder() {
        Some(ranker) if tier == Tier::Ranker => Models::load_with_ranker(folder, &ranker, device)?,
        _ => Models::load(folder, device)?,
    }))
}

fn parse_budget(args: &BudgetArgs) -> Result<Budget, Invalid> {
    match args {
        BudgetArgs { auto: true, .. } => Ok(Budget::Auto(AutoBudget::default())),
        BudgetArgs {
            max_tokens: Some(tokens),
            ..
        } => Budget::max_tokens(*tokens),
        BudgetArgs { ratio, .. } => Budget::ratio(ratio.unwrap_or(DEFAULT_RATIO)),
    }
}

fn format_for_people(document: &str, extraction: &Extraction, took: f64) -> String {
    let mut text = String::new();
    for span in &extraction.spans {
        let head = format!(
            "[{}..{}] {} {:+.2}\n",
            span.start,
            span.end,
            span.kind.name(),
            span.score
        );
        text.push_str(&head);
        text.push_str(document.get(span.start..span.end).unwrap_or_default().trim_end());
        text.push_str("\n\n");
    }
    let counts = &extraction.counts;
    let share = 100.0 * counts.kept_tokens as f64 / (counts.document_tokens.max(1)) as f64;
    text.push_str(&format!(
        "{} of {} tokens ({share:.1} %), {} of {} units in {} spans; tier {} ({}); {took:.0} ms",
        counts.kept_tokens,
        counts.document_tokens,
        counts.kept_units,
        counts.document_units,
        extraction.spans.len(),
        extraction.tier.name(),
        extraction.tier_reason.explanation(),
    ));
    if let Some(recall) = extraction.estimated_recall {
        text.push_str(&format!(
            "; holds an estimated {:.0} % of the evidence",
            100.0 * recall
        ));
    }
    if extraction.below_floor {
        text.push_str(", less than the floor: the document is better read whole");
    }
    text.push('\n');
    text
}

fn format_as_json(document: &str, extraction: &Extraction, took: f64) -> String {
    let span = |span: &crate::engine::Span| {
        json!({
            "start": span.start,
            "end": span.end,
            "score": span.score,
            "kind": span.kind.name(),
            "text": document.get(span.start..span.end),
        })
    };
    let counts = &extraction.counts;
    let answer = json!({
        "spans": extraction.spans.iter().map(span).collect::<Vec<_>>(),
        "tier": extraction.tier.name(),
        "tier_reason": extraction.tier_reason.name(),
        "estimated_recall": extraction.estimated_recall,
        "below_floor": extraction.below_floor,
        "document": {
            "units": counts.document_units,
            "words": counts.document_words,
            "tokens": counts.document_tokens,
        },
        "kept": {"units": counts.kept_units, "words": counts.kept_words, "tokens": counts.kept_tokens},
        "encoded_tokens": extraction.encoded_tokens,
        "milliseconds": took,
        "facts": extraction.facts.is_some().then(|| facts::to_json(document, extraction)),
    });
    format!("{answer}\n")
}
