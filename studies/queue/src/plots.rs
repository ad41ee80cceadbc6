//! The plots: SVG on a white ground, readable on a light page and on a dark one.

use std::ops::Range;
use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use shared::drawing::{
    Axis, BLUE, Drawn, GREY, INK, LINES, ORANGE, SKY, VERMILION, font, label, legend,
};
use shared::statistics::median;

use crate::diary::{self, Step};
use crate::goals::{drained, targets};
use crate::report::Grouped;
use crate::results::{QueueRun, Results, Store};
use crate::study::{HUGE, LARGE, MIDDLE, SMALL};

const fn colour(store: Store) -> RGBColor {
    match store {
        Store::Sqlite => BLUE,
        Store::Postgres => ORANGE,
    }
}

/// The numbers of instances.
fn instances() -> Axis {
    let places = [SMALL, MIDDLE, LARGE, HUGE].map(|n| n as f64);
    Axis::logarithmic_at(600.0..900_000.0, places.to_vec())
}

/// `500k`.
fn thousands(value: f64) -> String {
    if value >= 1_000.0 {
        format!("{:.0}k", value / 1_000.0)
    } else {
        format!("{value:.0}")
    }
}

/// Of each number of instances that was drained: it, and the values of its runs.
fn by_instances(
    results: &Results,
    store: Store,
    value: fn(&QueueRun) -> Option<f64>,
) -> Vec<(f64, Vec<f64>)> {
    results
        .sizes()
        .into_iter()
        .map(|instances| {
            let runs = drained(results, store, instances);
            let values: Vec<f64> = runs.into_iter().filter_map(value).collect();
            (instances as f64, values)
        })
        .filter(|(_, values)| !values.is_empty())
        .collect()
}

fn ends(values: impl Iterator<Item = f64>, at_least: Range<f64>) -> Range<f64> {
    values.fold(at_least, |range, value| {
        range.start.min(value)..range.end.max(value)
    })
}

/// Lines: actions per second by number of instances, beside the diary's, on logarithmic axes.
pub(crate) fn rates(path: &Path, results: &Results) -> Drawn {
    let root = SVGBackend::new(path, (960, 520)).into_drawing_area();
    root.fill(&WHITE)?;
    legend(
        &root,
        &[
            ("SQLite", colour(Store::Sqlite)),
            ("Postgres", colour(Store::Postgres)),
            ("the diary's end result", VERMILION),
            ("the diary's beginning", GREY),
        ],
    )?;
    let (_, below) = root.split_vertically(36);
    let measured = Store::ALL.map(|store| {
        let rate = |run: &QueueRun| Some(run.bench.actions_per_second);
        (store, by_instances(results, store, rate))
    });
    let all = measured
        .iter()
        .flat_map(|(_, sizes)| sizes.iter().flat_map(|(_, rates)| rates.iter().copied()));
    let range = ends(all, 50.0..10_000.0);
    let mut chart = ChartBuilder::on(&below)
        .caption("Actions per second, by number of instances", font(19))
        .margin(8)
        .x_label_area_size(44)
        .y_label_area_size(80)
        .build_cartesian_2d(
            instances(),
            Axis::logarithmic(range.start * 0.8..range.end * 1.8, &[1.0, 2.0, 5.0]),
        )?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(LINES)
        .axis_style(INK)
        .label_style(font(16))
        .x_desc("instances")
        .x_label_formatter(&|n| thousands(*n))
        .y_label_formatter(&|rate| Grouped(*rate).to_string())
        .draw()?;
    let above = font(14).pos(Pos::new(HPos::Center, VPos::Bottom));
    for (store, sizes) in &measured {
        let colour = colour(*store);
        let middles: Vec<(f64, f64)> = sizes.iter().map(|(n, rates)| (*n, median(rates))).collect();
        chart.draw_series([PathElement::new(middles.clone(), colour.stroke_width(2))])?;
        chart.draw_series(sizes.iter().flat_map(|(n, rates)| {
            rates
                .iter()
                .map(|rate| Circle::new((*n, *rate), 3, colour.mix(0.6).filled()))
        }))?;
        chart.draw_series(
            middles
                .iter()
                .map(|(n, rate)| Text::new(thousands(*rate), (*n, *rate * 1.12), above.clone())),
        )?;
    }
    let of = |step: &Step| -> Vec<(f64, f64)> {
        step.rates
            .iter()
            .map(|(n, rate)| (*n as f64, *rate))
            .collect()
    };
    for (step, colour) in [(diary::end(), VERMILION), (diary::before(), GREY)] {
        chart.draw_series([PathElement::new(of(step), colour.stroke_width(2))])?;
        chart.draw_series(
            of(step)
                .into_iter()
                .map(|place| Circle::new(place, 3, colour.filled())),
        )?;
        chart.draw_series(of(step).into_iter().map(|(n, rate)| {
            let text = Grouped(rate).to_string();
            Text::new(text, (n, rate * 1.12), above.clone())
        }))?;
    }
    root.present()?;
    Ok(())
}

/// Bars: the queue's rate beside that of the same rows without a queue.
pub(crate) fn raw_limit(path: &Path, results: &Results) -> Drawn {
    let root = SVGBackend::new(path, (960, 620)).into_drawing_area();
    root.fill(&WHITE)?;
    legend(
        &root,
        &[
            ("the queue", BLUE),
            ("the same rows without a queue: the raw limit", SKY),
        ],
    )?;
    let (_, below) = root.split_vertically(36);
    for (area, store) in below.split_evenly((2, 1)).iter().zip(Store::ALL) {
        let sizes = by_instances(results, store, |run| Some(run.bench.actions_per_second));
        let raw = by_instances(results, store, |run| run.bench.raw_limit_actions_per_second);
        let names: Vec<String> = sizes.iter().map(|(n, _)| thousands(*n)).collect();
        let medians = |of: &[(f64, Vec<f64>)]| -> Vec<(f64, f64)> {
            of.iter().map(|(n, values)| (*n, median(values))).collect()
        };
        let (queue, raw) = (medians(&sizes), medians(&raw));
        let most = ends(queue.iter().chain(&raw).map(|(_, rate)| *rate), 0.0..0.0).end;
        let mut chart = ChartBuilder::on(area)
            .caption(
                format!("{store}: actions per second, by number of instances"),
                font(19),
            )
            .margin(8)
            .x_label_area_size(26)
            .y_label_area_size(80)
            .build_cartesian_2d(Axis::categories(names.len().max(1)), Axis::linear(most))?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(LINES)
            .axis_style(INK)
            .label_style(font(16))
            .x_label_formatter(&|place| label(&names, *place))
            .y_label_formatter(&|rate| Grouped(*rate).to_string())
            .draw()?;
        if names.is_empty() {
            let style = font(16).pos(Pos::new(HPos::Center, VPos::Bottom));
            chart.draw_series([Text::new("not measured", (0.0, 0.4), style)])?;
        }
        for (group, (n, rate)) in queue.iter().enumerate() {
            let limit = raw.iter().find(|(other, _)| other.total_cmp(n).is_eq());
            let bars = [
                (-0.32, Some(*rate), BLUE),
                (0.02, limit.map(|(_, rate)| *rate), SKY),
            ];
            for (left, rate, colour) in bars {
                let Some(rate) = rate else { continue };
                let left = group as f64 + left;
                chart.draw_series([Rectangle::new(
                    [(left, 0.0), (left + 0.3, rate)],
                    colour.filled(),
                )])?;
                let style = font(14).pos(Pos::new(HPos::Center, VPos::Bottom));
                chart.draw_series([Text::new(thousands(rate), (left + 0.15, rate), style)])?;
            }
        }
    }
    root.present()?;
    Ok(())
}

/// Lines: what an action waits, by number of instances, and the goals.
pub(crate) fn latency(path: &Path, results: &Results) -> Drawn {
    let root = SVGBackend::new(path, (960, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    legend(
        &root,
        &[
            ("SQLite", colour(Store::Sqlite)),
            ("Postgres", colour(Store::Postgres)),
            ("thin: the goals at 10,000 instances", GREY),
        ],
    )?;
    let (_, below) = root.split_vertically(36);
    let measured = Store::ALL.map(|store| {
        let p95 = |run: &QueueRun| Some(run.bench.action_p95_ms);
        (store, by_instances(results, store, p95))
    });
    let all = measured
        .iter()
        .flat_map(|(_, sizes)| sizes.iter().flat_map(|(_, times)| times.iter().copied()));
    let range = ends(all, 5.0..35.0);
    let mut chart = ChartBuilder::on(&below)
        .caption(
            "From ready to completed, 95 of 100 actions, by number of instances",
            font(19),
        )
        .margin(8)
        .x_label_area_size(44)
        .y_label_area_size(80)
        .build_cartesian_2d(
            instances(),
            Axis::logarithmic(
                range.start.max(0.02) * 0.8..range.end * 1.4,
                &[1.0, 2.0, 5.0],
            ),
        )?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(LINES)
        .axis_style(INK)
        .label_style(font(16))
        .x_desc("instances")
        .x_label_formatter(&|n| thousands(*n))
        .y_label_formatter(&|ms| format!("{ms} ms"))
        .draw()?;
    for (store, sizes) in &measured {
        let colour = colour(*store);
        let goal = targets(*store).p95_ms;
        let ends = instances().range();
        chart.draw_series([PathElement::new(
            vec![(ends.start, goal), (ends.end, goal)],
            colour.mix(0.6).stroke_width(1),
        )])?;
        let middles: Vec<(f64, f64)> = sizes.iter().map(|(n, times)| (*n, median(times))).collect();
        chart.draw_series([PathElement::new(middles.clone(), colour.stroke_width(2))])?;
        chart.draw_series(sizes.iter().flat_map(|(n, times)| {
            times
                .iter()
                .map(|time| Circle::new((*n, *time), 3, colour.mix(0.6).filled()))
        }))?;
        let above = font(14).pos(Pos::new(HPos::Center, VPos::Bottom));
        chart.draw_series(
            middles.iter().map(|(n, time)| {
                Text::new(format!("{time:.1}"), (*n, *time * 1.08), above.clone())
            }),
        )?;
    }
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_short() {
        for (value, text) in [(56.0, "56"), (2_553.0, "3k"), (152_341.0, "152k")] {
            assert_eq!(thousands(value), text);
        }
    }
}
