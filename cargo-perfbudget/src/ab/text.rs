//! Figures as they are written for people.

use perfbudget::record::Nanoseconds;

use super::decision::{Change, GateDecision, Pace};

/// With its sign: `+2.92 %`.
pub(crate) fn percent(percent: f64) -> String {
    let sign = if percent < 0.0 { '-' } else { '+' };
    format!("{sign}{} %", three_digits(percent.abs()))
}

/// `-1.20 … +0.80 %`.
pub(crate) fn interval(low: f64, high: f64) -> String {
    let low = percent(low);
    let low = low.strip_suffix(" %").unwrap_or(&low);
    format!("{low} … {}", percent(high))
}

/// `2.92`, `18.5`, `151`.
pub(crate) fn three_digits(number: f64) -> String {
    match number.abs() {
        size if size < 9.995 => format!("{number:.2}"),
        size if size < 99.95 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

/// `0.529`, `0.0432`, `0.000325`, `7.4e-7`, `< 1e-9`.
pub(crate) fn p(p: f64) -> String {
    if p < 1e-9 {
        return "< 1e-9".to_owned();
    }
    if p < 1e-4 {
        return format!("{p:.1e}");
    }
    // Three digits that count, whatever zeros are before them.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to 4 zeros"
    )]
    let zeros = (-p.log10()).floor().clamp(0.0, 4.0) as usize;
    let decimals = zeros + 3;
    format!("{p:.decimals$}")
}

/// A time of one operation.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a time, which is positive, and saturates after 584 years"
)]
pub(crate) fn time(nanoseconds: f64) -> String {
    if nanoseconds < 100.0 {
        return format!("{} ns", three_digits(nanoseconds));
    }
    Nanoseconds(nanoseconds.round() as u64).to_string()
}

/// What the pace of the core had in a gate's times.
pub(crate) fn levelled(gate: &GateDecision, pace: &Pace) -> String {
    const NONE: &str = "—";
    let cv = |cv: Option<f64>| cv.map_or(NONE.to_owned(), |cv| format!("{} %", three_digits(cv)));
    let change = |change: Option<&Change>| {
        change.map_or(NONE.to_owned(), |c| {
            format!(
                "{} ({})",
                percent(c.percent),
                interval(c.low_percent, c.high_percent)
            )
        })
    };
    let work = format!(
        "The core went now faster, now slower, as fixed work beside the samples shows: for each per \
         cent that the work took longer, the code took {} % longer.",
        three_digits(pace.slope),
    );
    if let Some(differs) = pace.differs_percent {
        return format!(
            "{work} That is not taken out here, as beside the candidate the work took {} % of the \
             time that it took beside the baseline.",
            three_digits(100.0 + differs)
        );
    }
    format!(
        "{work} As measured: variation {}, change {}. At one pace: {}, {}.",
        cv(pace.max_cv_percent),
        change(pace.change.as_ref()),
        cv(gate.max_cv_percent),
        change(gate.change.as_ref()),
    )
}

/// `1 gate`, `3 gates`.
pub(crate) fn counted(n: usize, one: &str, several: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { several })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        assert_eq!(percent(2.921), "+2.92 %");
        assert_eq!(percent(-18.46), "-18.5 %");
        assert_eq!(percent(151.4), "+151 %");
        assert_eq!(percent(0.0), "+0.00 %");
        assert_eq!(interval(-1.2, 0.8), "-1.20 … +0.80 %");
        assert_eq!(three_digits(9.996), "10.0");
        assert_eq!(three_digits(99.96), "100");
    }

    #[test]
    fn small_probabilities_keep_their_digits() {
        assert_eq!(p(0.529), "0.529");
        assert_eq!(p(0.0432), "0.0432");
        assert_eq!(p(0.000_325), "0.000325");
        assert_eq!(p(7.396e-7), "7.4e-7");
        assert_eq!(p(1.0), "1.000");
        assert_eq!(p(0.0), "< 1e-9");
    }

    #[test]
    fn times_have_their_units() {
        assert_eq!(time(3.25), "3.25 ns");
        assert_eq!(time(380e6), "380 ms");
        assert_eq!(counted(1, "gate", "gates"), "1 gate");
    }
}
