//! Draws milliseconds over tokens, both on logarithmic scales: a straight line at 45 degrees is linear in length.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::Row;

const SIZE: (u32, u32) = (800, 520);

/// One line a tier; the encoder's second line is the same question again.
pub(super) fn draw(rows: &[Row]) -> Result<String> {
    let mut svg = String::new();
    draw_into(rows, SVGBackend::with_string(&mut svg, SIZE)).map_err(|error| anyhow!("drawing: {error}"))?;
    Ok(svg)
}

type Line = (String, Vec<(f64, f64)>);

fn lines(rows: &[Row]) -> Vec<Line> {
    let mut tiers: Vec<&str> = rows.iter().map(|row| row.tier.as_str()).collect();
    tiers.dedup();
    let of = |tier: &str, time: fn(&Row) -> f64| -> Vec<(f64, f64)> {
        rows.iter()
            .filter(|row| row.tier == tier)
            .map(|row| (row.tokens as f64, time(row).max(0.01)))
            .collect()
    };
    let mut lines: Vec<Line> = tiers
        .iter()
        .map(|tier| ((*tier).to_owned(), of(tier, |row| row.cold_ms)))
        .collect();
    if tiers.contains(&"encoder") {
        lines.push(("encoder, again".to_owned(), of("encoder", |row| row.warm_ms)));
    }
    lines
}

fn draw_into(rows: &[Row], backend: SVGBackend<'_>) -> Result<(), Box<dyn std::error::Error>> {
    let area = backend.into_drawing_area();
    area.fill(&WHITE)?;
    let all = || lines(rows).into_iter().flat_map(|(_, points)| points);
    let range = |pick: fn((f64, f64)) -> f64| {
        let least = all().map(pick).fold(f64::INFINITY, f64::min);
        let most = all().map(pick).fold(f64::MIN, f64::max);
        (least / 1.5..most * 1.5).log_scale()
    };
    let mut chart = ChartBuilder::on(&area)
        .caption("Extraction by document length", ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(range(|point| point.0), range(|point| point.1))?;
    chart
        .configure_mesh()
        .x_desc("tokens of the document")
        .y_desc("milliseconds")
        .draw()?;
    for (index, (name, points)) in lines(rows).into_iter().enumerate() {
        let color = Palette99::pick(index).to_rgba();
        let marks = points.clone();
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        chart.draw_series(
            marks
                .into_iter()
                .map(|point| Circle::new(point, 3, color.filled())),
        )?;
    }
    chart
        .configure_series_labels()
        .background_style(WHITE)
        .border_style(BLACK)
        .position(SeriesLabelPosition::UpperLeft)
        .draw()?;
    area.present()?;
    Ok(())
}
