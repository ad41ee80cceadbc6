//! The plots: SVG on a white ground, readable on a light page and on a dark one.

use std::error::Error;
use std::ops::Range;
use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::loads::Load;
use crate::ops::Op;
use crate::report::{FalseFailures, Way};
use crate::results::{Cell, Results, Variant};
use crate::statistics::median;
use crate::summary::Tally;

/// Okabe and Ito's colours, which differ for everybody: <https://jfly.uni-koeln.de/color/>.
const ORANGE: RGBColor = RGBColor(230, 159, 0);
const SKY: RGBColor = RGBColor(86, 180, 233);
const GREEN: RGBColor = RGBColor(0, 158, 115);
const BLUE: RGBColor = RGBColor(0, 114, 178);
const VERMILION: RGBColor = RGBColor(213, 94, 0);
const GREY: RGBColor = RGBColor(150, 150, 150);
const INK: RGBColor = RGBColor(34, 34, 34);
const LINES: RGBColor = RGBColor(221, 221, 221);

type Drawn = Result<(), Box<dyn Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn font(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

/// A row of coloured squares and their meanings.
fn legend(area: &Area<'_>, top: i32, entries: &[(&str, RGBColor)]) -> Drawn {
    let mut left = 60;
    for (text, colour) in entries {
        area.draw(&Rectangle::new(
            [(left, top), (left + 12, top + 12)],
            colour.filled(),
        ))?;
        area.draw(&Text::new((*text).to_owned(), (left + 18, top), font(16)))?;
        left += 46 + 8 * i32::try_from(text.chars().count())?;
    }
    Ok(())
}

/// An axis with labels at given places.
struct Axis {
    range: Range<f64>,
    places: Vec<f64>,
    logarithmic: bool,
}

impl Axis {
    /// A category at each whole number, half of one beyond at both ends.
    fn categories(n: usize) -> Self {
        Self {
            range: -0.5..n as f64 - 0.5,
            places: (0..n).map(|index| index as f64).collect(),
            logarithmic: false,
        }
    }

    /// The same from the top to the bottom.
    fn categories_downwards(n: usize) -> Self {
        let upwards = Self::categories(n);
        Self {
            range: upwards.range.end..upwards.range.start,
            ..upwards
        }
    }

    fn per_cent(end: f64) -> Self {
        Self {
            range: 0.0..end,
            places: vec![0.0, 25.0, 50.0, 75.0, 100.0],
            logarithmic: false,
        }
    }

    fn logarithmic(range: Range<f64>) -> Self {
        Self {
            places: log_places(range.start, range.end),
            range,
            logarithmic: true,
        }
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let scale = |value: f64| if self.logarithmic { value.ln() } else { value };
        let (start, end) = (scale(self.range.start), scale(self.range.end));
        let share = (scale(*value) - start) / (end - start);
        from + (f64::from(to - from) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.places.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

/// The place of a category on an axis, as its label wants it.
fn label(names: &[&str], place: f64) -> String {
    let index = place.round();
    if index < 0.0 || (place - index).abs() > 1e-6 {
        return String::new();
    }
    names.get(index as usize).unwrap_or(&"").to_string()
}

const LOADS: [&str; 6] = [
    "idle",
    "1 × cores",
    "2 × cores",
    "4 × cores",
    "memory",
    "disk",
];

/// Bars: how often unchanged code fails, by load and by way to decide.
pub(crate) fn false_failures(path: &Path, panels: &[(&str, Vec<(Load, FalseFailures)>)]) -> Drawn {
    let root = SVGBackend::new(path, (960, 620)).into_drawing_area();
    root.fill(&WHITE)?;
    let colours = [GREY, ORANGE, SKY, VERMILION, GREEN];
    let entries: Vec<_> = Way::ALL.map(Way::name).into_iter().zip(colours).collect();
    legend(&root, 12, &entries)?;
    let (_, below) = root.split_vertically(36);
    for (area, (title, loads)) in below.split_evenly((panels.len(), 1)).iter().zip(panels) {
        let mut chart = ChartBuilder::on(area)
            .caption(*title, font(19))
            .margin(8)
            .x_label_area_size(26)
            .y_label_area_size(52)
            .build_cartesian_2d(Axis::categories(loads.len()), Axis::per_cent(112.0))?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(LINES)
            .axis_style(INK)
            .label_style(font(16))
            .x_label_formatter(&|place| label(&LOADS, *place))
            .y_label_formatter(&|share| format!("{share:.0} %"))
            .draw()?;
        for (group, (_, shares)) in loads.iter().enumerate() {
            for ((bar, way), colour) in Way::ALL.into_iter().enumerate().zip(colours) {
                let left = group as f64 - 0.42 + 0.168 * bar as f64;
                let Some(share) = shares.percent(way) else {
                    continue;
                };
                chart.draw_series([Rectangle::new(
                    [(left, 0.0), (left + 0.15, share.max(0.6))],
                    colour.filled(),
                )])?;
                let text = match share {
                    s if s <= 0.0 || s >= 9.95 => format!("{s:.0}"),
                    s => format!("{s:.1}"),
                };
                let style = font(13).pos(Pos::new(HPos::Center, VPos::Bottom));
                chart.draw_series([Text::new(text, (left + 0.075, share.max(0.6)), style)])?;
            }
        }
    }
    root.present()?;
    Ok(())
}

/// Points: wall and upper bound of each gate run of the computing operation, by load.
pub(crate) fn wall_and_hi(path: &Path, results: &Results) -> Drawn {
    let root = SVGBackend::new(path, (960, 480)).into_drawing_area();
    root.fill(&WHITE)?;
    let entries = [("wall", VERMILION), ("hi, at most the code's own", BLUE)];
    legend(&root, 12, &entries)?;
    let (_, below) = root.split_vertically(36);
    let by_load: Vec<[Vec<f64>; 2]> = Load::ALL
        .iter()
        .map(|load| {
            let tally = Tally::of(results, |cell| {
                is_the_computing_one(cell) && cell.load == *load
            });
            [tally.wall, tally.hi].map(|times| times.iter().map(|time| time / 1e6).collect())
        })
        .collect();
    let all: Vec<f64> = by_load.iter().flatten().flatten().copied().collect();
    let least = all
        .iter()
        .copied()
        .fold(f64::INFINITY, f64::min)
        .clamp(0.1, 1e6);
    let most = all.iter().copied().fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(&below)
        .caption(
            "Trimmed mean of a gate's first round: computing for 5 ms",
            font(19),
        )
        .margin(8)
        .x_label_area_size(26)
        .y_label_area_size(62)
        .build_cartesian_2d(
            Axis::categories(Load::ALL.len()),
            Axis::logarithmic(least * 0.8..most * 1.25),
        )?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(LINES)
        .axis_style(INK)
        .label_style(font(16))
        .x_label_formatter(&|place| label(&LOADS, *place))
        .y_label_formatter(&|ms| format!("{ms} ms"))
        .draw()?;
    for (group, both) in by_load.iter().enumerate() {
        for ((times, colour), middle) in both.iter().zip([VERMILION, BLUE]).zip([-0.2, 0.2]) {
            let middle = group as f64 + middle;
            // More points than these can't be told apart.
            let every = times.len().div_ceil(150).max(1);
            chart.draw_series(
                times
                    .iter()
                    .step_by(every)
                    .enumerate()
                    .map(|(number, time)| {
                        let aside = 0.13 * (((number * 37) % 101) as f64 / 50.0 - 1.0);
                        Circle::new((middle + aside, *time), 2, colour.mix(0.45).filled())
                    }),
            )?;
            let centre = median(times);
            if centre.is_finite() {
                chart.draw_series([PathElement::new(
                    vec![(middle - 0.17, centre), (middle + 0.17, centre)],
                    INK.stroke_width(2),
                )])?;
            }
        }
    }
    root.present()?;
    Ok(())
}

pub(crate) fn is_the_computing_one(cell: Cell) -> bool {
    cell.op == Op::Cpu && cell.ms == 5
}

/// 1, 2 and 5 of each decade.
fn log_places(least: f64, most: f64) -> Vec<f64> {
    (-2..5)
        .flat_map(|decade| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(decade)))
        .filter(|place| (least..most).contains(place))
        .collect()
}

/// Stacked bars: what became of code that is 1.5 × over its limit, by operation.
pub(crate) fn slow_code(path: &Path, results: &Results) -> Drawn {
    let root = SVGBackend::new(path, (960, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let colours = [GREEN, ORANGE, VERMILION];
    let names = ["caught", "undecided", "passed: an error"];
    let entries: Vec<_> = names.into_iter().zip(colours).collect();
    legend(&root, 12, &entries)?;
    let (_, below) = root.split_vertically(36);
    let titles = Op::ALL.map(Op::title);
    for (area, load) in below
        .split_evenly((1, 2))
        .iter()
        .zip([Load::Idle, Load::Busy4])
    {
        let mut chart = ChartBuilder::on(area)
            .caption(load.title(), font(19))
            .margin(8)
            .margin_right(24)
            .x_label_area_size(26)
            .y_label_area_size(160)
            .build_cartesian_2d(
                Axis::per_cent(100.0),
                Axis::categories_downwards(titles.len()),
            )?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(LINES)
            .axis_style(INK)
            .label_style(font(16))
            .x_label_formatter(&|share| format!("{share:.0} %"))
            .y_label_formatter(&|place| label(&titles, *place))
            .draw()?;
        for (row, op) in Op::ALL.into_iter().enumerate() {
            let tally = Tally::of(results, |cell| {
                cell.op == op && cell.load == load && cell.variant == Variant::Slow
            });
            if tally.n == 0 {
                continue;
            }
            let mut left = 0.0;
            for (count, colour) in [tally.over, tally.undecided, tally.passed()]
                .into_iter()
                .zip(colours)
                .filter(|(count, _)| *count > 0)
            {
                let right = left + 100.0 * count as f64 / tally.n as f64;
                let row = row as f64;
                chart.draw_series([Rectangle::new(
                    [(left, row - 0.32), (right, row + 0.32)],
                    colour.filled(),
                )])?;
                left = right;
            }
            let style = font(14).pos(Pos::new(HPos::Left, VPos::Center));
            chart.draw_series([Text::new(
                format!("n = {}", tally.n),
                (2.0, row as f64),
                style,
            )])?;
        }
    }
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_at_whole_places_only() {
        assert_eq!(label(&["a", "b"], 1.0), "b");
        assert_eq!(label(&["a", "b"], 0.5), "");
        assert_eq!(label(&["a", "b"], 2.0), "");
        assert_eq!(label(&["a", "b"], -1.0), "");
    }

    #[test]
    fn an_axis_maps_its_range_to_the_pixels() {
        let up = Axis::categories(3);
        assert_eq!(
            [-0.5, 1.0, 2.5].map(|x| up.map(&x, (100, 400))),
            [100, 250, 400]
        );
        let down = Axis::categories_downwards(3);
        assert_eq!([2.5, -0.5].map(|y| down.map(&y, (400, 100))), [400, 100]);
        let decades = Axis::logarithmic(1.0..100.0);
        assert_eq!(
            [1.0, 10.0, 100.0].map(|y| decades.map(&y, (200, 0))),
            [200, 100, 0]
        );
    }

    #[test]
    fn a_log_axis_has_three_places_a_decade() {
        assert_eq!(log_places(4.0, 60.0), [5.0, 10.0, 20.0, 50.0]);
    }
}
