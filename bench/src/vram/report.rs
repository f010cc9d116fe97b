//! Table and picture.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::chart::{self, Labels, Scale, Series};

/// Memory of a forward pass.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Point {
    pub(super) tokens: usize,
    /// Bytes that weights, buffers, keys and values took at most.
    pub(super) allocated: u64,
    /// Bytes of the GPU that were in use behind the pass: with libraries, and with what an allocator keeps.
    pub(super) device: u64,
    pub(super) seconds: f64,
}

/// What was measured by length.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) points: Vec<Point>,
}

impl Subject {
    /// The figures at a length.
    fn at(&self, tokens: usize) -> Option<&Point> {
        self.points.iter().find(|point| point.tokens == tokens)
    }
}

/// Everything that was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) device: String,
    pub(super) model: String,
    pub(super) versions: String,
    pub(super) tokens: usize,
    pub(super) pack_tokens: usize,
    pub(super) subjects: Vec<Subject>,
}

fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

impl Report {
    pub(super) fn print(&self) {
        println!("{}; {}; {}", self.device, self.model, self.versions);
        println!(
            "a document of {} tokens, its pack of {}; GB allocated at most, GB of the device in use, seconds of the pass\n",
            self.tokens, self.pack_tokens
        );
        println!("| | document | pack | saved |\n|---|---|---|---|");
        for subject in &self.subjects {
            let (Some(document), Some(pack)) = (subject.at(self.tokens), subject.at(self.pack_tokens)) else {
                continue;
            };
            let cell = |point: &Point| {
                format!(
                    "{:.2} GB, {:.2}; {:.2} s",
                    gigabytes(point.allocated),
                    gigabytes(point.device),
                    point.seconds
                )
            };
            println!(
                "| {} | {} | {} | {:.0} % |",
                subject.name,
                cell(document),
                cell(pack),
                100.0 * (1.0 - pack.allocated as f64 / document.allocated as f64)
            );
        }
    }

    pub(super) fn draw(&self, path: &Path) -> Result<()> {
        let labels = Labels {
            title: "Memory of one forward pass",
            x: "tokens; the first length is the pack's, the last the document's",
            y: "GB",
            scale: Scale::Linear,
        };
        let series = self.subjects.iter().map(|subject| Series {
            name: subject.name.clone(),
            points: subject
                .points
                .iter()
                .map(|point| (point.tokens as f64, gigabytes(point.allocated)))
                .collect(),
        });
        chart::lines(path, &labels, &series.collect::<Vec<_>>())
    }
}
