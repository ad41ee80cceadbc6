//! The plots: SVG on a white ground, readable on a light page and on a dark one.

use std::ops::Range;
use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use shared::drawing::{
    Area, BLUE, Drawn, GREEN, INK, LIGHT_GREY, LINES, ORANGE, SKY, VERMILION, font, legend,
};
use shared::statistics::median;

use crate::cells::Way;
use crate::loads::Load;
use crate::report::{Tally, cell, percents};
use crate::results::Results;

/// Rows of a plot: who compared beside what, from the top.
fn rows(results: &Results, slower: u64) -> Vec<(Load, Way)> {
    let all = Load::ALL
        .into_iter()
        .flat_map(|load| Way::ALL.map(|way| (load, way)));
    all.filter(|(load, way)| !results.all(|c| c == cell(*way, slower, *load)).is_empty())
        .collect()
}

fn row_name((load, way): (Load, Way)) -> String {
    let load = match load {
        Load::Quiet => "quiet",
        Load::OneBusy => "one busy",
        Load::TwoBusy => "two busy",
    };
    format!("{}, {load}", way.title())
}

/// From the top to the bottom, half a row beyond at both ends.
fn downwards(rows: usize) -> Range<f64> {
    rows as f64 - 0.5..-0.5
}

/// Stacked bars: what was said of the same code and of code that is 5 % slower.
pub(crate) fn said(path: &Path, results: &Results) -> Drawn {
    let root = SVGBackend::new(path, (1100, 560)).into_drawing_area();
    root.fill(&WHITE)?;
    let entries = [
        ("right", GREEN),
        ("no difference, or not known", LIGHT_GREY),
        ("inconclusive", SKY),
        ("wrong", VERMILION),
    ];
    legend(&root, &entries)?;
    let (_, below) = root.split_vertically(36);
    for (area, slower) in below.split_evenly((1, 2)).iter().zip([0, 5]) {
        let rows = rows(results, slower);
        let names: Vec<String> = rows.iter().map(|row| row_name(*row)).collect();
        let title = if slower == 0 {
            "The same code".to_owned()
        } else {
            format!("{slower} % slower")
        };
        let mut chart = ChartBuilder::on(area)
            .caption(title, font(19))
            .margin(8)
            .margin_right(24)
            .x_label_area_size(26)
            .y_label_area_size(210)
            .build_cartesian_2d(0.0..100.0, downwards(rows.len()))?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(LINES)
            .axis_style(INK)
            .y_labels(0)
            .x_labels(5)
            .label_style(font(15))
            .x_label_formatter(&|share| format!("{share:.0} %"))
            .draw()?;
        for (row, ((load, way), name)) in rows.iter().zip(&names).enumerate() {
            let tally = Tally::of(results.all(|c| c == cell(*way, slower, *load)));
            let parts = if slower == 0 {
                [
                    (tally.no_difference, GREEN),
                    (0, LIGHT_GREY),
                    (tally.unknown, SKY),
                    (tally.false_alarms(), VERMILION),
                ]
            } else {
                [
                    (tally.slower, GREEN),
                    (tally.no_difference, LIGHT_GREY),
                    (tally.unknown, SKY),
                    (tally.faster + tally.failed, VERMILION),
                ]
            };
            let row = row as f64;
            let mut left = 0.0;
            for (count, colour) in parts.into_iter().filter(|(count, _)| *count > 0) {
                let right = left + 100.0 * count as f64 / tally.n as f64;
                chart.draw_series([Rectangle::new(
                    [(left, row - 0.34), (right, row + 0.34)],
                    colour.filled(),
                )])?;
                left = right;
            }
            let style = font(13).pos(Pos::new(HPos::Left, VPos::Center));
            chart.draw_series([Text::new(format!("n = {}", tally.n), (2.0, row), style)])?;
            row_label(area, chart.backend_coord(&(0.0, row)), name)?;
        }
    }
    root.present()?;
    Ok(())
}

/// Left of the axis: labels of plotters stand at places of its own choosing.
fn row_label(area: &Area<'_>, (x, y): (i32, i32), name: &str) -> Drawn {
    let (left, top) = area.get_base_pixel();
    let style = font(15).pos(Pos::new(HPos::Right, VPos::Center));
    area.draw(&Text::new(name.to_owned(), (x - left - 8, y - top), style))?;
    Ok(())
}

/// Points: the estimate of each comparison of the same code, and of code that is 5 % slower.
pub(crate) fn estimates(path: &Path, results: &Results) -> Drawn {
    /// Beyond, a point stands at the edge.
    const EDGE: f64 = 15.0;
    let root = SVGBackend::new(path, (1100, 560)).into_drawing_area();
    root.fill(&WHITE)?;
    let kinds = [(0, BLUE), (5, ORANGE)];
    legend(&root, &[("the same code", BLUE), ("5 % slower", ORANGE)])?;
    let (_, below) = root.split_vertically(36);
    let rows = rows(results, 5);
    let mut chart = ChartBuilder::on(&below)
        .caption(
            "Estimated changes (those beyond 15 % stand at the edge)",
            font(19),
        )
        .margin(8)
        .margin_right(24)
        .x_label_area_size(26)
        .y_label_area_size(230)
        .build_cartesian_2d(-EDGE..EDGE, downwards(rows.len()))?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(LINES)
        .axis_style(INK)
        .y_labels(0)
        .x_labels(13)
        .label_style(font(15))
        .x_label_formatter(&|percent| format!("{percent:+.1} %"))
        .draw()?;
    for (row, (load, way)) in rows.iter().enumerate() {
        let row = row as f64;
        for ((slower, colour), middle) in kinds.into_iter().zip([-0.18, 0.18]) {
            let found = percents(results, cell(*way, slower, *load));
            // More points than these can't be told apart.
            let every = found.len().div_ceil(200).max(1);
            let points = found.iter().step_by(every).enumerate();
            chart.draw_series(points.map(|(number, percent)| {
                let aside = 0.13 * (((number * 37) % 101) as f64 / 50.0 - 1.0);
                let place = (percent.clamp(-EDGE, EDGE), row + middle + aside);
                Circle::new(place, 2, colour.mix(0.5).filled())
            }))?;
            let centre = median(&found);
            if centre.is_finite() {
                let centre = centre.clamp(-EDGE, EDGE);
                chart.draw_series([PathElement::new(
                    vec![(centre, row + middle - 0.16), (centre, row + middle + 0.16)],
                    INK.stroke_width(2),
                )])?;
            }
        }
        let name = row_name((*load, *way));
        row_label(&below, chart.backend_coord(&(-EDGE, row)), &name)?;
    }
    root.present()?;
    Ok(())
}
