//! The repetitions of a gate in the order in which they were run: a machine that drifts shows, and
//! so does one process that was slow.

use std::fmt::Write;

use crate::ab::history::{Outcome, Repetition, Side};
use crate::ab::text::time;

use super::escape::Text;
use super::figures::{median, place};

/// Of the drawing, in pixels.
const HEIGHT: f64 = 168.0;
const MARGIN: f64 = 16.0;

/// A repetition that was timed.
struct Point {
    side: Side,
    order: u32,
    block: u32,
    own_ns: f64,
    exact: bool,
}

fn points(repetitions: &[&Repetition]) -> Vec<Point> {
    let point = |repetition: &&Repetition| match repetition.result {
        Outcome::Times { own_ns, exact, .. } if own_ns.is_finite() => Some(Point {
            side: repetition.side,
            order: repetition.order,
            block: repetition.block,
            own_ns,
            exact,
        }),
        _ => None,
    };
    let mut points: Vec<Point> = repetitions.iter().filter_map(point).collect();
    points.sort_by_key(|point| point.order);
    points
}

pub(super) fn side(side: Side) -> &'static str {
    match side {
        Side::Baseline => "baseline",
        Side::Candidate => "candidate",
        Side::Control => "control",
    }
}

/// The drawing; nothing of a gate that was not timed.
pub(super) fn plot(gate: &str, repetitions: &[&Repetition]) -> String {
    let points = points(repetitions);
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return String::new();
    };
    let values = points.iter().map(|point| point.own_ns);
    let least = values.clone().fold(f64::INFINITY, f64::min);
    let most = values.fold(0.0, f64::max);
    // A gate that does not vary at all has its points in the middle.
    let pad = ((most - least) * 0.08).max(most * 0.005);
    let (bottom, top) = (least - pad, most + pad);
    let x = |order: u32| {
        // Within the margins, so that the first and the last are whole.
        2.0 + place(order.into(), first.order.into(), last.order.into()) * 0.96
    };
    let y = |ns: f64| HEIGHT - MARGIN - place(ns, bottom, top) / 100.0 * (HEIGHT - 2.0 * MARGIN);
    let of_side = |wanted: Side| -> Vec<f64> {
        let of_it = points.iter().filter(|point| point.side == wanted);
        of_it.map(|point| point.own_ns).collect()
    };
    let medians = [Side::Baseline, Side::Candidate]
        .map(|side| (side, median(&of_side(side))))
        .into_iter()
        .filter_map(|(side, median)| Some((side, median?)));
    let medians: Vec<(Side, f64)> = medians.collect();

    let mut html = String::new();
    let said: Vec<String> = medians
        .iter()
        .map(|(of, median)| format!("{} has a median of {}", side(*of), time(*median)))
        .collect();
    _ = writeln!(
        html,
        "<figure><svg class=\"series\" role=\"img\" width=\"100%\" height=\"{HEIGHT}\">\
         <title>{}: {} processes in the order in which they were run</title>\
         <desc>From {} to {}; the {}.</desc>",
        Text(gate),
        points.len(),
        time(least),
        time(most),
        said.join(", the "),
    );
    for ns in [least, most] {
        _ = write!(
            html,
            "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
            y = y(ns)
        );
    }
    for (of, median) in &medians {
        _ = write!(
            html,
            "<line class=\"median {}\" x1=\"0\" x2=\"100%\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
            side(*of),
            y = y(*median)
        );
    }
    html.push('\n');
    for point in &points {
        html.push_str(&shape(point, x(point.order), y(point.own_ns)));
    }
    // Above the points, where they can be read.
    for (ns, dy) in [(least, 13.0), (most, -5.0)] {
        _ = write!(
            html,
            "<text x=\"2\" y=\"{:.1}\">{}</text>",
            y(ns) + dy,
            time(ns)
        );
    }
    html.push_str("</svg>\n<figcaption>");
    html.push_str(&legend(&points));
    html.push_str("</figcaption></figure>\n");
    html
}

fn shape(point: &Point, x: f64, y: f64) -> String {
    let class = side(point.side);
    let inexact = if point.exact { "" } else { " inexact" };
    let mut html = String::new();
    _ = write!(
        html,
        "<svg x=\"{x:.2}%\" y=\"{y:.1}\" overflow=\"visible\" class=\"{class}{inexact}\">\
         <title>{class}, block {}: {}{}</title>{}</svg>",
        point.block + 1,
        time(point.own_ns),
        if point.exact { "" } else { " at most" },
        drawn(point.side),
    );
    html.push('\n');
    html
}

fn drawn(side: Side) -> &'static str {
    match side {
        Side::Baseline => "<circle r=\"4\"/>",
        Side::Candidate => "<rect x=\"-4\" y=\"-4\" width=\"8\" height=\"8\"/>",
        Side::Control => "<path d=\"M-3.5-3.5 3.5 3.5M-3.5 3.5 3.5-3.5\"/>",
    }
}

fn legend(points: &[Point]) -> String {
    let mut html = String::from("<ul class=\"legend\">");
    for (of, text) in [
        (Side::Baseline, "baseline"),
        (Side::Candidate, "candidate"),
        (Side::Control, "baseline again, as a control"),
    ] {
        if points.iter().any(|point| point.side == of) {
            _ = write!(
                html,
                "<li><svg width=\"16\" height=\"16\" aria-hidden=\"true\">\
                 <svg x=\"8\" y=\"8\" overflow=\"visible\" class=\"{}\">{}</svg></svg>{text}</li>",
                side(of),
                drawn(of),
            );
        }
    }
    let inexact = points.iter().filter(|point| !point.exact).count();
    if inexact > 0 {
        _ = write!(
            html,
            "<li><svg width=\"16\" height=\"16\" aria-hidden=\"true\">\
             <svg x=\"8\" y=\"8\" overflow=\"visible\" class=\"candidate inexact\">{}</svg></svg>\
             pale: at most this; others may have delayed it ({inexact})</li>",
            drawn(Side::Candidate),
        );
    }
    html.push_str("</ul>");
    html
}

/// Every repetition as a row.
pub(super) fn table(repetitions: &[&Repetition]) -> String {
    let mut sorted = repetitions.to_vec();
    sorted.sort_by_key(|repetition| repetition.order);
    let mut html = String::from(
        "<div class=\"scroll\" tabindex=\"0\"><table class=\"list of-processes\"><thead><tr>\
         <th scope=\"col\">process</th><th scope=\"col\">block</th><th scope=\"col\">side</th>\
         <th scope=\"col\">came to</th><th scope=\"col\">wall</th></tr></thead><tbody>\n",
    );
    for repetition in sorted {
        let (came_to, wall) = match &repetition.result {
            Outcome::Times {
                own_ns,
                exact,
                wall_ns,
                ..
            } => {
                let at_most = if *exact { "" } else { "≤ " };
                (format!("{at_most}{}", time(*own_ns)), time(*wall_ns))
            }
            Outcome::Counts { counts } => {
                let counts = counts.iter().map(|(key, n)| format!("{n} {key}"));
                let counts: Vec<String> = counts.collect();
                let text = if counts.is_empty() {
                    "nothing".to_owned()
                } else {
                    counts.join(", ")
                };
                (text, String::new())
            }
            Outcome::Failed { why } => (format!("failed: {}", first_line(why)), String::new()),
            Outcome::NotMeasured { why } => {
                (format!("not measured: {}", first_line(why)), String::new())
            }
        };
        _ = writeln!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{wall}</td></tr>",
            repetition.order + 1,
            repetition.block + 1,
            side(repetition.side),
            Text(came_to),
        );
    }
    html.push_str("</tbody></table></div>\n");
    html
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
