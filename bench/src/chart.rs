//! Draws lines into an SVG; the picture of every benchmark.

use std::path::Path;

use anyhow::{Context, anyhow};
use plotters::prelude::*;

/// A line of the chart.
pub(crate) struct Series {
    /// Its name in the legend.
    pub(crate) name: String,
    /// Its points, in order.
    pub(crate) points: Vec<(f64, f64)>,
}

/// What the axes say.
pub(crate) struct Labels<'a> {
    pub(crate) title: &'a str,
    pub(crate) x: &'a str,
    pub(crate) y: &'a str,
    pub(crate) scale: Scale,
}

/// How the y axis is divided. The x axis is always logarithmic: with both, a straight line at 45 degrees is linear
/// in length.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From 0.
    Linear,
    /// By powers of ten.
    Logarithmic,
}

impl Scale {
    /// The place of a value on the axis.
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Logarithmic => value.max(1e-9).log10(),
        }
    }

    /// The value at a place, as the axis shows it.
    fn label(self, place: f64) -> String {
        match self {
            Self::Linear => format!("{place}"),
            Self::Logarithmic => format!("{:.3}", 10_f64.powf(place))
                .trim_end_matches('0')
                .trim_end_matches('.')
                .to_owned(),
        }
    }
}

/// Writes a line chart.
pub(crate) fn lines(path: &Path, labels: &Labels<'_>, series: &[Series]) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    draw(path, labels, series).map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))
}

fn draw(path: &Path, labels: &Labels<'_>, series: &[Series]) -> Result<(), Box<dyn std::error::Error>> {
    let placed = |&(x, y): &(f64, f64)| (x, labels.scale.place(y));
    let points = || series.iter().flat_map(|series| &series.points).map(placed);
    let least = |of: fn((f64, f64)) -> f64| points().map(of).fold(f64::MAX, f64::min);
    let most = |of: fn((f64, f64)) -> f64| points().map(of).fold(f64::MIN, f64::max);
    if points().next().is_none() {
        return Ok(());
    }
    let (left, right) = (least(|p| p.0).max(1e-9), most(|p| p.0).max(2e-9));
    let (bottom, top) = match labels.scale {
        Scale::Linear => (least(|p| p.1).min(0.0), most(|p| p.1) * 1.05),
        Scale::Logarithmic => (least(|p| p.1) - 0.2, most(|p| p.1) + 0.2),
    };
    let area = SVGBackend::new(path, (860, 520)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(labels.title, ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d((left * 0.95..right * 1.05).log_scale(), bottom..top)?;
    chart
        .configure_mesh()
        .x_desc(labels.x)
        .y_desc(labels.y)
        .y_label_formatter(&|place| labels.scale.label(*place))
        .draw()?;
    for (index, line) in series.iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        chart
            .draw_series(
                LineSeries::new(line.points.iter().map(placed), colour.stroke_width(2)).point_size(3),
            )?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.4))
        .position(match labels.scale {
            Scale::Linear => SeriesLabelPosition::LowerLeft,
            Scale::Logarithmic => SeriesLabelPosition::UpperLeft,
        })
        .draw()?;
    area.present()?;
    Ok(())
}
