//! What the plots have in common: SVG on a white ground, readable on a light page and on a dark one.

use std::error::Error;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::*;

/// Okabe and Ito's colours, which differ for everybody: <https://jfly.uni-koeln.de/color/>.
pub const ORANGE: RGBColor = RGBColor(230, 159, 0);
pub const SKY: RGBColor = RGBColor(86, 180, 233);
pub const GREEN: RGBColor = RGBColor(0, 158, 115);
pub const BLUE: RGBColor = RGBColor(0, 114, 178);
pub const VERMILION: RGBColor = RGBColor(213, 94, 0);
/// Of what there is beside them.
pub const GREY: RGBColor = RGBColor(150, 150, 150);
/// Where letters stand on it.
pub const LIGHT_GREY: RGBColor = RGBColor(190, 190, 190);
/// Of letters and axes.
pub const INK: RGBColor = RGBColor(34, 34, 34);
/// Of the lines behind.
pub const LINES: RGBColor = RGBColor(221, 221, 221);

/// Whether it could be drawn.
pub type Drawn = Result<(), Box<dyn Error>>;
/// A part of a plot.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Letters of so many pixels.
#[must_use]
pub fn font(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

/// A row of coloured squares and their meanings, along the top.
///
/// # Errors
/// When it can't be written.
pub fn legend<S: AsRef<str>>(area: &Area<'_>, entries: &[(S, RGBColor)]) -> Drawn {
    const TOP: i32 = 12;
    let mut left = 60;
    for (text, colour) in entries {
        let text = text.as_ref();
        let square = [(left, TOP), (left + 12, TOP + 12)];
        area.draw(&Rectangle::new(square, colour.filled()))?;
        area.draw(&Text::new(text.to_owned(), (left + 18, TOP), font(16)))?;
        left += 46 + 8 * i32::try_from(text.chars().count())?;
    }
    Ok(())
}

/// An axis with labels at given places.
#[derive(Clone, Debug)]
pub struct Axis {
    range: Range<f64>,
    places: Vec<f64>,
    is_logarithmic: bool,
}

impl Axis {
    /// A category at each whole number, half of one beyond at both ends.
    #[must_use]
    pub fn categories(n: usize) -> Self {
        Self {
            range: -0.5..n as f64 - 0.5,
            places: (0..n).map(|index| index as f64).collect(),
            is_logarithmic: false,
        }
    }

    /// The same from the top to the bottom.
    #[must_use]
    pub fn categories_downwards(n: usize) -> Self {
        let upwards = Self::categories(n);
        Self {
            range: upwards.range.end..upwards.range.start,
            ..upwards
        }
    }

    /// From nothing to `end`, which may be beyond a hundred.
    #[must_use]
    pub fn per_cent(end: f64) -> Self {
        Self {
            range: 0.0..end,
            places: vec![0.0, 25.0, 50.0, 75.0, 100.0],
            is_logarithmic: false,
        }
    }

    /// From nothing to a little beyond the largest value.
    #[must_use]
    pub fn linear(most: f64) -> Self {
        let end = if most > 0.0 { 1.15 * most } else { 1.0 };
        let step = step_of(end);
        let places = (0..).map(|n| f64::from(n) * step);
        Self {
            places: places.take_while(|place| *place < end).collect(),
            range: 0.0..end,
            is_logarithmic: false,
        }
    }

    /// With labels at these digits of each decade.
    #[must_use]
    pub fn logarithmic(range: Range<f64>, digits: &[f64]) -> Self {
        let places = log_places(range.start, range.end, digits);
        Self::logarithmic_at(range, places)
    }

    /// With labels at these places.
    #[must_use]
    pub fn logarithmic_at(range: Range<f64>, places: Vec<f64>) -> Self {
        Self {
            range,
            places,
            is_logarithmic: true,
        }
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let scale = |value: f64| {
            if self.is_logarithmic {
                value.ln()
            } else {
                value
            }
        };
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

/// A step of 1, 2 or 5 of a decade, for about five places.
fn step_of(end: f64) -> f64 {
    let decade = 10_f64.powf((end / 5.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|digit| digit * decade)
        .into_iter()
        .find(|step| end / step <= 6.0)
        .unwrap_or(end)
}

/// The digits of each decade.
fn log_places(least: f64, most: f64, digits: &[f64]) -> Vec<f64> {
    (-2..8)
        .flat_map(|decade| digits.iter().map(move |digit| digit * 10_f64.powi(decade)))
        .filter(|place| (least..most).contains(place))
        .collect()
}

/// The name of the category at a place of an axis, as its label wants it.
#[must_use]
pub fn label<S: AsRef<str>>(names: &[S], place: f64) -> String {
    let index = place.round();
    if index < 0.0 || (place - index).abs() > 1e-6 {
        return String::new();
    }
    let name = names.get(index as usize);
    name.map_or(String::new(), |name| name.as_ref().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_at_whole_places_only() {
        for (place, text) in [(1.0, "b"), (0.5, ""), (2.0, ""), (-1.0, "")] {
            assert_eq!(label(&["a", "b"], place), text, "{place}");
        }
    }

    #[test]
    fn an_axis_maps_its_range_to_the_pixels() {
        let up = Axis::categories(3);
        let mapped = [-0.5, 1.0, 2.5].map(|x| up.map(&x, (100, 400)));
        assert_eq!(mapped, [100, 250, 400]);
        let down = Axis::categories_downwards(3);
        assert_eq!([2.5, -0.5].map(|y| down.map(&y, (400, 100))), [400, 100]);
        let decades = Axis::logarithmic(1.0..100.0, &[1.0]);
        let mapped = [1.0, 10.0, 100.0].map(|y| decades.map(&y, (200, 0)));
        assert_eq!(mapped, [200, 100, 0]);
        let linear = Axis::linear(200_000.0);
        assert_eq!(linear.map(&0.0, (0, 100)), 0);
        assert_eq!(linear.map(&230_000.0, (0, 100)), 100);
    }

    #[test]
    fn places_are_round() {
        let places = Axis::linear(200_000.0).places;
        assert_eq!(places, [0.0, 50_000.0, 100_000.0, 150_000.0, 200_000.0]);
        let places = log_places(40.0, 600.0, &[1.0, 2.0, 5.0]);
        assert_eq!(places, [50.0, 100.0, 200.0, 500.0]);
        for (end, step) in [(1.15, 0.2), (230_000.0, 50_000.0), (110.0, 20.0)] {
            let found = step_of(end);
            assert!((found / step - 1.0).abs() < 1e-9, "{end}: {found}");
        }
    }
}
