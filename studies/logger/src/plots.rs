//! The plots: SVG on a white ground, readable on a light page and on a dark one.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use shared::drawing::{BLUE, GREEN, GREY, INK, LINES, ORANGE, SKY, VERMILION, font, legend};

use crate::Result;

/// A group of bars.
pub struct Group {
    /// What it is of.
    pub name: String,
    /// Milliseconds a turn, in the order of the series; none where there is none.
    pub milliseconds: Vec<Option<f64>>,
}

/// Bars by group, on a logarithmic axis of milliseconds a turn.
///
/// # Errors
/// When the file can't be written.
pub fn milliseconds_a_turn(path: &Path, series: &[String], groups: &[Group]) -> Result<()> {
    const LEAST: f64 = 0.001;
    let root = SVGBackend::new(path, (960, 440)).into_drawing_area();
    root.fill(&WHITE)?;
    let colours = [GREY, BLUE, SKY, ORANGE, GREEN];
    let entries: Vec<_> = series.iter().cloned().zip(colours).collect();
    legend(&root, &entries)?;
    let (_, below) = root.split_vertically(36);
    let all = groups
        .iter()
        .flat_map(|group| &group.milliseconds)
        .flatten();
    let most = all.copied().fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(&below)
        .caption(
            "Milliseconds a turn: less is better, each line is ten times the one below",
            font(19),
        )
        .margin(8)
        .x_label_area_size(26)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..groups.len() as f64, (LEAST..most * 2.0).log_scale())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .light_line_style(TRANSPARENT)
        .bold_line_style(LINES)
        .axis_style(INK)
        .label_style(font(16))
        .y_label_formatter(&|ms| format!("{ms} ms"))
        .draw()?;
    let width = 0.84 / series.len() as f64;
    for (number, group) in groups.iter().enumerate() {
        let left = number as f64 + 0.08;
        for (place, (milliseconds, colour)) in group.milliseconds.iter().zip(colours).enumerate() {
            let Some(milliseconds) = *milliseconds else {
                continue;
            };
            let (from, to) = (
                left + width * place as f64,
                left + width * (place as f64 + 0.9),
            );
            chart.draw_series([Rectangle::new(
                [(from, LEAST), (to, milliseconds)],
                colour.filled(),
            )])?;
            let style = font(13).pos(Pos::new(HPos::Center, VPos::Bottom));
            let text = format!("{milliseconds:.3}");
            chart.draw_series([Text::new(
                text,
                (f64::midpoint(from, to), milliseconds),
                style,
            )])?;
        }
        let style = font(16).pos(Pos::new(HPos::Center, VPos::Top));
        let name = Text::new(group.name.clone(), (number as f64 + 0.5, LEAST), style);
        chart.draw_series([name])?;
    }
    root.present()?;
    Ok(())
}

/// A line of throughputs.
pub struct Line {
    /// What it is of.
    pub name: String,
    /// Buffer size and turns a second.
    pub points: Vec<(usize, f64)>,
}

/// Turns a second by buffer size, both axes logarithmic.
///
/// # Errors
/// When the file can't be written.
pub fn turns_by_buffer(path: &Path, lines: &[Line]) -> Result<()> {
    let root = SVGBackend::new(path, (960, 460)).into_drawing_area();
    root.fill(&WHITE)?;
    let colours = [BLUE, GREEN, GREY, VERMILION];
    let entries: Vec<_> = (lines.iter().map(|line| line.name.clone()))
        .zip(colours)
        .collect();
    legend(&root, &entries)?;
    let (_, below) = root.split_vertically(36);
    let all = lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y);
    let least = all.clone().fold(f64::INFINITY, f64::min).clamp(1.0, 1e9);
    let most = all.fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(&below)
        .caption("Turns a second by buffer size", font(19))
        .margin(8)
        .margin_right(24)
        .x_label_area_size(26)
        .y_label_area_size(80)
        .build_cartesian_2d(
            (0.8..130.0).log_scale(),
            (least * 0.7..most * 1.4).log_scale(),
        )?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(LINES)
        .axis_style(INK)
        .label_style(font(16))
        .x_label_formatter(&|_| String::new())
        .y_label_formatter(&|turns| format!("{turns}"))
        .draw()?;
    for (line, colour) in lines.iter().zip(colours) {
        let points = || {
            line.points
                .iter()
                .map(|(size, turns)| (*size as f64, *turns))
        };
        let path = PathElement::new(points().collect::<Vec<_>>(), colour.stroke_width(2));
        chart.draw_series([path])?;
        chart.draw_series(points().map(|point| Circle::new(point, 4, colour.filled())))?;
    }
    for size in crate::study::BUFFER_SIZES {
        let style = font(16).pos(Pos::new(HPos::Center, VPos::Bottom));
        let place = (size as f64, least * 0.7);
        chart.draw_series([Text::new(size.to_string(), place, style)])?;
    }
    root.present()?;
    Ok(())
}
