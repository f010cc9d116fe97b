//! The account of a call for a person: the decision, what was read and asked, and each document with what is kept.

use std::io::{self, Write};

use super::paint::{Painter, grouped, shorten, visible};
use crate::compress::{Action, Decision, Evidence, Outcome, SiteRecord, SiteText};
use crate::pack::{Manifest, PackRecord, Stretch, StretchKind, lay_out};
use crate::policy::Further;

/// What is printed about a call, and how.
pub(super) struct Account<'a> {
    pub(super) outcome: &'a Outcome,
    /// Whether the surface was guessed.
    pub(super) is_guessed: bool,
    /// Whether texts are printed whole.
    pub(super) all: bool,
    /// Whether colours are used.
    pub(super) colour: bool,
}

/// An ask is printed up to so many characters.
const ASK_CHARACTERS: usize = 100;

impl Account<'_> {
    /// Prints all of it.
    ///
    /// # Errors
    /// Those of the output.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let decision = self.outcome.decision();
        self.summary(decision, out)?;
        let evidence = match self.outcome {
            Outcome::Forward { evidence, .. } => evidence.as_deref(),
            Outcome::Reject { rejection, .. } => {
                writeln!(
                    out,
                    "  the caller gets {}: {}",
                    rejection.status,
                    visible(&rejection.message)
                )?;
                None
            }
        };
        if let Some(evidence) = evidence {
            self.turns(evidence, out)?;
            self.asks(evidence, out)?;
        }
        self.sites(
            &decision.sites,
            evidence.map(|evidence| evidence.sites.as_slice()),
            out,
        )?;
        self.packs(decision.pack.as_deref(), out)?;
        match evidence {
            Some(evidence) => self.texts(decision, &evidence.sites, out),
            None => Ok(()),
        }
    }

    fn painter(&self) -> Painter {
        Painter {
            colour: self.colour,
            all: self.all,
        }
    }

    fn summary(&self, decision: &Decision, out: &mut impl Write) -> io::Result<()> {
        let title = format!("{}: {}", decision.action.as_str(), decision.reason);
        self.painter().heading(&title, out)?;
        let (before, after) = (grouped(decision.tokens_before), grouped(decision.tokens_after));
        match decision.action {
            Action::Compressed => {
                let ratio = decision.ratio();
                writeln!(
                    out,
                    "  tokens: {before} before, {after} after, {ratio:.1} times fewer"
                )?;
            }
            Action::Passed | Action::Rejected => writeln!(out, "  tokens: {before} before, {after} after")?,
        }
        let guessed = if self.is_guessed {
            " (guessed from the body)"
        } else {
            ""
        };
        let model = decision.model.as_deref().map_or("none", |model| model);
        writeln!(
            out,
            "  surface: {}{guessed}, model: {}",
            decision.surface,
            visible(model)
        )?;
        let stages = &decision.stages;
        let ms = |us: u64| us as f64 / 1_000.0;
        writeln!(
            out,
            "  time: reading {:.1} ms, planning {:.1} ms, workers {:.1} ms, packing {:.1} ms",
            ms(stages.read_us),
            ms(stages.plan_us),
            ms(stages.extract_us),
            ms(stages.pack_us)
        )?;
        match &decision.worker_error {
            Some(error) => writeln!(out, "  worker: {}", visible(error)),
            None => Ok(()),
        }
    }

    fn turns(&self, evidence: &Evidence, out: &mut impl Write) -> io::Result<()> {
        let mut table = Table::new(["turn", "parts", "need", "packs", "further"]);
        for turn in &evidence.turns {
            let last = turn.first_part + turn.parts.saturating_sub(1);
            table.row([
                turn.turn.to_string(),
                format!("{}-{last}", turn.first_part),
                turn.need.as_str().to_owned(),
                turn.reason.map_or("-", |reason| reason.as_str()).to_owned(),
                turn.further.map_or("-", Further::as_str).to_owned(),
            ]);
        }
        self.table("TURNS", &table, out)
    }

    fn asks(&self, evidence: &Evidence, out: &mut impl Write) -> io::Result<()> {
        let mut table = Table::new(["turn", "weight", "source", "need", "text"]);
        for ask in &evidence.asks {
            table.row([
                ask.turn.to_string(),
                format!("{:.2}", ask.weight),
                ask.source.as_str().to_owned(),
                ask.need.as_str().to_owned(),
                self.line(&ask.text),
            ]);
        }
        self.table("ASKS", &table, out)
    }

    /// Makes one line of a text, cut unless all is printed.
    fn line(&self, text: &str) -> String {
        let line = visible(&text.split_whitespace().collect::<Vec<_>>().join(" "));
        match line.char_indices().nth(ASK_CHARACTERS) {
            Some((end, _)) if !self.all => format!("{} ...", line.get(..end).unwrap_or_default()),
            _ => line,
        }
    }

    fn sites(
        &self,
        sites: &[SiteRecord],
        texts: Option<&[SiteText]>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let columns = [
            "site", "turn", "part", "kind", "tool", "before", "after", "decision", "reason",
        ];
        let mut table = Table::new(columns);
        for (number, site) in sites.iter().enumerate() {
            let text = texts.and_then(|texts| texts.get(number));
            let tool = text.and_then(|text| text.tool.as_deref()).unwrap_or("-");
            table.row([
                number.to_string(),
                site.turn.to_string(),
                site.part.to_string(),
                site.kind.as_str().to_owned(),
                visible(tool),
                grouped(site.tokens_before),
                grouped(site.tokens_after),
                site.action.as_str().to_owned(),
                site.reason.as_str().to_owned(),
            ]);
        }
        self.table("SITES", &table, out)
    }

    fn packs(&self, manifest: Option<&Manifest>, out: &mut impl Write) -> io::Result<()> {
        let mut table = Table::new([
            "site",
            "spans",
            "further",
            "kept bytes",
            "of",
            "tier",
            "why",
            "recall",
        ]);
        for pack in manifest.iter().flat_map(|manifest| &manifest.packs) {
            table.row([
                pack.site.to_string(),
                pack.kept.len().to_string(),
                pack.further.len().to_string(),
                grouped(pack.pack.kept_bytes),
                grouped(pack.source.bytes),
                pack.tier.clone(),
                pack.tier_reason.clone(),
                match pack.estimated_recall {
                    none if none <= 0.0 => "-".to_owned(),
                    recall => format!("{recall:.2}"),
                },
            ]);
        }
        self.table("PACKS", &table, out)
    }

    /// Prints a table, unless it has no row.
    fn table<const N: usize>(&self, title: &str, table: &Table<N>, out: &mut impl Write) -> io::Result<()> {
        if table.rows.len() < 2 {
            return Ok(());
        }
        writeln!(out)?;
        self.painter().heading(title, out)?;
        table.write(out)
    }

    fn texts(&self, decision: &Decision, texts: &[SiteText], out: &mut impl Write) -> io::Result<()> {
        let painter = self.painter();
        if decision.pack.is_some() {
            writeln!(out, "\n{}", painter.legend())?;
        }
        let packs = decision.pack.iter().flat_map(|manifest| &manifest.packs);
        let mut packs = packs.peekable();
        for (number, (site, text)) in decision.sites.iter().zip(texts).enumerate() {
            let pack = packs.next_if(|pack| pack.site == number);
            writeln!(out)?;
            let title = format!("SITE {number}: {}, {}", site.action.as_str(), site.reason);
            painter.heading(&title, out)?;
            self.text(text, pack, out)?;
        }
        Ok(())
    }

    /// Prints a site's text. One that stays whole is told by its ends.
    fn text(&self, site: &SiteText, pack: Option<&PackRecord>, out: &mut impl Write) -> io::Result<()> {
        let text = &*site.document;
        if let Some(pack) = pack {
            return self.painter().document(text, &lay_out(text, pack), out);
        }
        let short = if self.all { None } else { shorten(text) };
        let shown = short.as_deref().unwrap_or(text);
        let whole = Stretch {
            kind: StretchKind::Kept,
            range: 0..shown.len(),
        };
        self.painter().document(shown, &[whole], out)
    }
}

/// Rows of cells, printed in columns; the first row is the head.
struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    fn new(head: [&str; N]) -> Self {
        Self {
            rows: vec![head.map(str::to_owned)],
        }
    }

    fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in &self.rows {
            let cells = row
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:<width$}"));
            writeln!(out, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}
