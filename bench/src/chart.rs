//! Draws lines into a PNG; the picture of every benchmark.

use std::path::Path;

use anyhow::{Context, anyhow};
use epaint_default_fonts::UBUNTU_LIGHT;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};

use crate::results;

/// Width and height in pixels: twice what is comfortable on a plain screen, for those that are finer.
const SIZE: (u32, u32) = (2200, 1040);
/// Width of the column of names, right of the lines, which it would hide.
const NAMES: u32 = 580;
/// Height of a name's line there.
const NAME: i32 = 52;
/// The name under which plotters finds the font; a machine's own fonts are not asked for.
const FONT: &str = "sans-serif";
/// Height of the title's letters, and of all others.
const TITLE: u32 = 40;
const TEXT: u32 = 26;
/// Colours that colour-blind readers tell apart (Okabe and Ito, "Color Universal Design", 2008), without the yellow, which
/// white paper swallows, and with a grey and a dark brown.
const COLOURS: [RGBColor; 9] = [
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
    RGBColor(127, 127, 127),
    RGBColor(110, 60, 20),
];

/// A line of the chart.
pub(crate) struct Series {
    /// Name in the legend.
    pub(crate) name: String,
    /// Points in the order in which the line goes through them.
    pub(crate) points: Vec<(f64, f64)>,
}

/// Texts of title and axes.
pub(crate) struct Labels<'a> {
    pub(crate) title: &'a str,
    pub(crate) x: &'a str,
    pub(crate) y: &'a str,
    pub(crate) scale: Scale,
}

/// Division of the y axis. The x axis always doubles from mark to mark: where y is logarithmic too, a straight line
/// is a power of the length.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Even steps from 0.
    Linear,
    /// Powers of ten.
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
            Self::Logarithmic => short(10_f64.powf(place)),
        }
    }

    /// Marks of the y axis, at most so many: powers of ten and nothing between them.
    fn marks(self) -> usize {
        match self {
            Self::Linear => 10,
            Self::Logarithmic => 6,
        }
    }
}

/// A number in as few digits as tell it from its neighbours.
fn short(value: f64) -> String {
    if value >= 10.0 {
        return format!("{value:.0}");
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Writes a line chart. Without a point there is nothing to draw, and no file.
pub(crate) fn lines(path: &Path, labels: &Labels<'_>, series: &[Series]) -> anyhow::Result<()> {
    if series.iter().all(|series| series.points.is_empty()) {
        return Ok(());
    }
    let (width, height) = SIZE;
    let mut pixels = vec![0; 3 * (width * height) as usize];
    draw(&mut pixels, labels, series).map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))?;
    let mut image = Vec::new();
    let mut encoder = png::Encoder::new(&mut image, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(&pixels))
        .with_context(|| format!("cannot encode {}", path.display()))?;
    results::write(path, &image)
}

fn draw(pixels: &mut [u8], labels: &Labels<'_>, series: &[Series]) -> Result<(), Box<dyn std::error::Error>> {
    register_font(FONT, FontStyle::Normal, UBUNTU_LIGHT).map_err(|_| "the font cannot be read")?;
    let placed = |&(x, y): &(f64, f64)| (x.max(1e-9).log2(), labels.scale.place(y));
    let points = || series.iter().flat_map(|series| &series.points).map(placed);
    let least = |of: fn((f64, f64)) -> f64| points().map(of).fold(f64::MAX, f64::min);
    let most = |of: fn((f64, f64)) -> f64| points().map(of).fold(f64::MIN, f64::max);
    let (left, right) = (least(|p| p.0), most(|p| p.0));
    let (bottom, top) = match labels.scale {
        Scale::Linear => (least(|p| p.1).min(0.0), most(|p| p.1) * 1.05),
        Scale::Logarithmic => (least(|p| p.1) - 0.2, most(|p| p.1) + 0.2),
    };
    let area = BitMapBackend::with_buffer(pixels, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (area, names) = area.split_horizontally(SIZE.0 - NAMES);
    let mut chart = ChartBuilder::on(&area)
        .caption(labels.title, (FONT, TITLE))
        .margin(32)
        .x_label_area_size(84)
        .y_label_area_size(120)
        .build_cartesian_2d(left - 0.1..right + 0.1, bottom..top)?;
    chart
        .configure_mesh()
        .label_style((FONT, TEXT))
        .axis_desc_style((FONT, TEXT))
        .x_desc(labels.x)
        .y_desc(labels.y)
        .x_label_formatter(&|place| short(place.exp2()))
        .x_labels(8)
        .y_labels(labels.scale.marks())
        .y_label_formatter(&|place| labels.scale.label(*place))
        .draw()?;
    for (index, line) in series.iter().enumerate() {
        let stroke = COLOURS[index % COLOURS.len()].stroke_width(4).filled();
        let points = line.points.iter().map(placed);
        chart.draw_series(LineSeries::new(points, stroke).point_size(6))?;
        let y = TITLE as i32 + NAME * (1 + index as i32);
        names.draw(&PathElement::new([(0, y), (36, y)], stroke))?;
        let text = TextStyle::from((FONT, TEXT).into_font()).pos(Pos::new(HPos::Left, VPos::Center));
        names.draw(&Text::new(line.name.as_str(), (52, y), text))?;
    }
    area.present()?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_chart_is_a_png_with_lines_and_letters() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/chart.png");
        let labels = Labels {
            title: "Title",
            x: "tokens",
            y: "milliseconds",
            scale: Scale::Logarithmic,
        };
        let series = Series {
            name: "a subject".to_owned(),
            points: vec![(512.0, 1.0), (4096.0, 9.0)],
        };
        lines(&path, &labels, &[series]).expect("a chart");
        let file = std::io::BufReader::new(std::fs::File::open(&path).expect("the file"));
        let mut reader = png::Decoder::new(file).read_info().expect("a PNG");
        let mut pixels = vec![0; reader.output_buffer_size().expect("its size")];
        let info = reader.next_frame(&mut pixels).expect("its pixels");
        assert_eq!((info.width, info.height), SIZE);
        // The title's letters are the only dark pixels of the first rows.
        let top = &pixels[..3 * (SIZE.0 * 72) as usize];
        assert!(top.iter().filter(|&&value| value < 100).count() > 300);
        let coloured = pixels
            .chunks_exact(3)
            .filter(|p| p[0].abs_diff(p[2]) > 60)
            .count();
        assert!(coloured > 2_000, "{coloured}");
    }

    #[test]
    fn nothing_measured_is_no_file() {
        let path = Path::new("no-such-folder/chart.png");
        let labels = Labels {
            title: "",
            x: "",
            y: "",
            scale: Scale::Linear,
        };
        lines(path, &labels, &[]).expect("nothing to do");
        assert!(!path.exists());
    }
}
