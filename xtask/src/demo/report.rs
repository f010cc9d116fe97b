//! What the demo shows: the question, the evidence with its offsets, the sizes, a snippet to paste.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::case::Case;
use crate::console::{bold, dim, green, say, thousands, wrap};
use crate::http::Answer;
use crate::stack::Ports;

/// How many spans are shown, the best first; all of them are checked.
const SHOWN: usize = 4;
const WIDTH: usize = 100;

pub(super) fn question(case: &Case) {
    say(format!("{}  {}", bold("Document"), case.source));
    let (bytes, words) = (
        case.document.len() as u64,
        case.document.split_whitespace().count() as u64,
    );
    say(format!(
        "          {} bytes, {} words",
        thousands(bytes),
        thousands(words)
    ));
    for (number, line) in wrap(&case.question, WIDTH).iter().enumerate() {
        let label = if number == 0 {
            bold("Question")
        } else {
            "        ".into()
        };
        say(format!("{label}  {line}"));
    }
}

pub(super) struct Span<'a> {
    start: usize,
    end: usize,
    score: f64,
    kind: &'a str,
    text: &'a str,
}

/// Shows the best spans, and proves that the pack holds every one of them as the source does.
pub(super) fn evidence(case: &Case, manifest: &Value, dry_run: &Value) -> Result<()> {
    let spans = spans(case, manifest)?;
    check(&spans, dry_run)?;
    let mut best = spans.iter().collect::<Vec<_>>();
    best.sort_by(|a, b| b.score.total_cmp(&a.score));
    say(format!(
        "\n{}",
        bold(&format!(
            "Evidence: the best {} of {} spans",
            SHOWN.min(best.len()),
            spans.len()
        ))
    ));
    for span in best.into_iter().take(SHOWN) {
        say(dim(&format!(
            "bytes {}..{}  {}  score {:.2}",
            span.start, span.end, span.kind, span.score
        )));
        for line in wrap(span.text, WIDTH) {
            say(format!("  {line}"));
        }
    }
    let bytes = spans.iter().map(|span| span.text.len() as u64).sum::<u64>();
    say(green(&format!(
        "✓ all {} spans ({} bytes) stand in the pack exactly as in the source at their offsets, byte by byte",
        spans.len(),
        thousands(bytes)
    )));
    Ok(())
}

fn spans<'a>(case: &'a Case, manifest: &'a Value) -> Result<Vec<Span<'a>>> {
    let kept = manifest
        .pointer("/packs/0/kept")
        .and_then(Value::as_array)
        .context("the manifest's first pack has no 'kept'")?;
    kept.iter()
        .map(|span| {
            let number = |name: &str| {
                span.get(name)
                    .and_then(Value::as_u64)
                    .and_then(|n| usize::try_from(n).ok())
            };
            let (start, end) = number("start")
                .zip(number("end"))
                .context("a kept span has no range")?;
            let text = case.document.get(start..end);
            let text = text.with_context(|| format!("bytes {start}..{end} are no text of the source"))?;
            let score = span.get("score").and_then(Value::as_f64).unwrap_or_default();
            let kind = span.get("kind").and_then(Value::as_str).unwrap_or_default();
            Ok(Span {
                start,
                end,
                score,
                kind,
                text,
            })
        })
        .collect()
}

/// Walks through the pack: each span's bytes follow the one before it.
fn check(spans: &[Span<'_>], dry_run: &Value) -> Result<()> {
    let pack = dry_run
        .pointer("/evidence/packs/0/text")
        .and_then(Value::as_str)
        .context("the dry run shows no pack")?;
    let mut rest = pack;
    for span in spans {
        let found = rest.find(span.text);
        ensure!(
            found.is_some(),
            "bytes {}..{} of the source are not in the pack",
            span.start,
            span.end
        );
        rest = rest
            .get(found.unwrap_or_default() + span.text.len()..)
            .unwrap_or_default();
    }
    Ok(())
}

pub(super) fn sizes(answer: &Answer, manifest: &Value) {
    let number = |name: &str| answer.number(name).unwrap_or_default();
    let (before, after) = (number("x-liquid-tokens-before"), number("x-liquid-tokens-after"));
    let text = |path: &str| manifest.pointer(path).and_then(Value::as_str).unwrap_or_default();
    say(format!("\n{}", bold("Size and time")));
    say(format!(
        "  tokens    {before:.0} before, {after:.0} after: {:.1} times smaller",
        before / after.max(1.0)
    ));
    say(format!(
        "  time      {:.1} ms in the sidecar, extraction included; {:.1} ms from request to answer",
        number("x-liquid-overhead-ms"),
        answer.took.as_secs_f64() * 1000.0
    ));
    say(format!(
        "  tier      {} ({})",
        text("/packs/0/tier"),
        text("/packs/0/tier_reason")
    ));
    say(format!("  pack      {}", text("/id")));
}

/// The sidecar decided not to compress: its reason is what there is to show.
pub(super) fn untouched(answer: &Answer) {
    let reason = answer.header("x-liquid-reason").unwrap_or("not given");
    say(format!(
        "\nThe document went out whole; the sidecar's reason: {}",
        bold(reason)
    ));
}

pub(super) fn snippet(ports: Ports) {
    say(format!(
        "\n{}",
        bold("Your turn: paste this into a file and run it (pip install openai)")
    ));
    println!(
        r#"
    from openai import OpenAI

    client = OpenAI(base_url="{}", api_key="unused")
    document = open("YOUR-LONG-DOCUMENT.txt").read()
    answer = client.chat.completions.with_raw_response.create(
        model="gpt-5.6",
        messages=[
            {{"role": "user", "content": document}},
            {{"role": "user", "content": "YOUR QUESTION"}},
        ],
    )
    print(answer.parse().choices[0].message.content)
    print({{name: value for name, value in answer.headers.items() if name.startswith("x-liquid")}})
"#,
        ports.base_url()
    );
    say(format!(
        "or set {}, and leave your application as it is",
        bold(&format!("OPENAI_BASE_URL={}", ports.base_url()))
    ));
    say(format!(
        "metrics: http://127.0.0.1:{}/metrics   totals: http://127.0.0.1:{}/liquid/stats",
        ports.sidecar_admin, ports.sidecar
    ));
}
