//! The plots: SVG on a white ground, readable on a light page and on a dark one.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use shared::drawing::{
    Axis, BLUE, Drawn, GREEN, GREY, INK, LINES, ORANGE, SKY, VERMILION, font, label, legend,
};
use shared::statistics::median;

use crate::loads::Load;
use crate::ops::Op;
use crate::report::{FalseFailures, Way};
use crate::results::{Cell, Results, Variant};
use crate::summary::Tally;

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
    legend(&root, &entries)?;
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
    legend(&root, &entries)?;
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
            Axis::logarithmic(least * 0.8..most * 1.25, &[1.0, 2.0, 5.0]),
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

/// Stacked bars: what became of code that is 1.5 × over its limit, by operation.
pub(crate) fn slow_code(path: &Path, results: &Results) -> Drawn {
    let root = SVGBackend::new(path, (960, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let colours = [GREEN, ORANGE, VERMILION];
    let names = ["caught", "undecided", "passed: an error"];
    let entries: Vec<_> = names.into_iter().zip(colours).collect();
    legend(&root, &entries)?;
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
