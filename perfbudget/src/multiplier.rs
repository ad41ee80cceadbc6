//! The multiplier: one number that widens every limit on a machine slower than the one on which
//! the bases were observed.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::auto;
use crate::budget::Class;

/// The variable that sets the multiplier for a run: a number, or `auto`.
pub const MULTIPLIER_ENV: &str = "PERF_BUDGET_MULTIPLIER";

/// Above this a multiplier is warned about: gates then let large regressions through.
const UNSUSPICIOUS_MAX: f64 = 4.0;

/// The value that asks for the multiplier to be worked out.
const AUTO: &str = "auto";

/// A positive, finite number that every limit of a run is multiplied by.
///
/// ```
/// use perfbudget::Multiplier;
///
/// assert_eq!("2.0".parse::<Multiplier>().unwrap().get(), 2.0);
/// assert!("1.0x".parse::<Multiplier>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Multiplier(f64);

impl Multiplier {
    /// Limits as they are.
    pub const ONE: Self = Self(1.0);

    /// The number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }

    /// The multiplier that [`MULTIPLIER_ENV`] asks for, and what there is to say against it.
    ///
    /// Unset or empty means 1.0. What is not a positive finite number means 1.0 too, with a
    /// warning: a mistyped variable must not widen a gate, nor pass unseen. Above 4 there is a
    /// warning as well. The warnings belong in the record, where a summary shows them; what a
    /// passing test prints is read by nobody.
    ///
    /// `auto` is what the reference work of [`machine`](crate::machine) takes here over what
    /// [`perfbudget.toml`](crate::config) says that it took where the bases were observed, from 1
    /// to 8. A gate uses the ratio of its class, which is not known here: this is the larger of
    /// both. The first call then does that work, some 40 ms. Where it can't be worked out, in a
    /// debug build for one, it is 1.0 with a warning.
    #[must_use]
    pub fn from_env() -> (Self, Vec<String>) {
        let chosen = Chosen::from_env(auto::for_any_class);
        (chosen.multiplier, chosen.warnings)
    }

    /// The same for a gate: of `auto`, the ratio of its class.
    pub(crate) fn for_class(class: Class) -> Chosen {
        Chosen::from_env(|| auto::for_class(class))
    }

    /// A number that is known to be positive and finite.
    pub(crate) const fn of(number: f64) -> Self {
        Self(number)
    }

    /// What there is to say against a multiplier so large; `is` is between it and the variable.
    pub(crate) fn suspicion(self, is: &str) -> Option<String> {
        (self.0 > UNSUSPICIOUS_MAX).then(|| {
            format!(
                "{MULTIPLIER_ENV}{is} {self}: above {UNSUSPICIOUS_MAX} the gates let large \
                 regressions through"
            )
        })
    }

    /// The product, to the nanosecond; `Duration::MAX` where it is too large.
    pub(crate) fn scale(self, duration: Duration) -> Duration {
        if self == Self::ONE {
            return duration;
        }
        let seconds = duration.as_secs_f64() * self.0;
        // Rounds to the nearest nanosecond; fails only on what is too large.
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

/// A multiplier, and how it came about.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Chosen {
    pub(crate) multiplier: Multiplier,
    /// Where it comes from, when it was worked out.
    pub(crate) source: Option<String>,
    pub(crate) warnings: Vec<String>,
}

impl Chosen {
    fn from_env(auto: impl FnOnce() -> Self) -> Self {
        Self::from_value(env::var_os(MULTIPLIER_ENV).as_deref(), auto)
    }

    fn from_value(value: Option<&OsStr>, auto: impl FnOnce() -> Self) -> Self {
        let text = value.unwrap_or_default().to_string_lossy();
        if text.is_empty() {
            return Self::default();
        }
        if text.trim() == AUTO {
            return auto();
        }
        match text.trim().parse::<Multiplier>() {
            Ok(multiplier) => Self {
                multiplier,
                source: None,
                warnings: multiplier.suspicion(" is").into_iter().collect(),
            },
            Err(error) => Self {
                warnings: vec![format!("{MULTIPLIER_ENV} is ignored, 1.0 holds: {error}")],
                ..Self::default()
            },
        }
    }
}

impl Default for Multiplier {
    fn default() -> Self {
        Self::ONE
    }
}

/// With at least one digit behind the point, so that it reads as a multiplier.
impl fmt::Display for Multiplier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl FromStr for Multiplier {
    type Err = MultiplierError;

    fn from_str(text: &str) -> Result<Self, MultiplierError> {
        let number: f64 = text
            .parse()
            .map_err(|_| MultiplierError::NotANumber(text.to_owned()))?;
        if number.is_nan() {
            Err(MultiplierError::NotANumber(text.to_owned()))
        } else if number.is_infinite() {
            Err(MultiplierError::NotFinite(text.to_owned()))
        } else if number <= 0.0 {
            Err(MultiplierError::NotPositive(text.to_owned()))
        } else {
            Ok(Self(number))
        }
    }
}

/// Why a text is no [`Multiplier`]; each holds the text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MultiplierError {
    /// Not a number at all.
    NotANumber(String),
    /// Infinite, or too large to be held.
    NotFinite(String),
    /// Zero, negative, or too small to be held.
    NotPositive(String),
}

impl fmt::Display for MultiplierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotANumber(text) => write!(f, "{text:?} is not a number"),
            Self::NotFinite(text) => write!(f, "{text:?} is not finite"),
            Self::NotPositive(text) => write!(f, "{text:?} is not positive"),
        }
    }
}

impl std::error::Error for MultiplierError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_positive_finite_numbers_are_multipliers() {
        for (text, number) in [("1", 1.0), ("2.0", 2.0), (".5", 0.5), ("1e2", 100.0)] {
            assert_eq!(text.parse(), Ok(Multiplier(number)), "{text}");
        }
        let error = |text: &str| text.parse::<Multiplier>().expect_err(text);
        for text in ["garbage", "NaN", "1.0x", "auto", "", " 2", "2,0", "0x2"] {
            assert_eq!(error(text), MultiplierError::NotANumber(text.into()));
        }
        for text in ["inf", "-inf", "infinity", "1e999"] {
            assert_eq!(error(text), MultiplierError::NotFinite(text.into()));
        }
        for text in ["0", "-1", "-0.0", "1e-999"] {
            assert_eq!(error(text), MultiplierError::NotPositive(text.into()));
        }
    }

    /// The multiplier of a value, where `auto` is 3.0.
    fn of_value(value: &str) -> (Multiplier, Vec<String>) {
        let auto = || Chosen {
            multiplier: Multiplier(3.0),
            source: Some("auto: of a test".into()),
            warnings: vec!["of a test".into()],
        };
        let chosen = Chosen::from_value(Some(OsStr::new(value)), auto);
        assert_eq!(
            chosen.source.is_some(),
            chosen.multiplier == Multiplier(3.0)
        );
        (chosen.multiplier, chosen.warnings)
    }

    #[test]
    fn an_unusable_value_is_one_and_says_so() {
        let unset = Chosen::from_value(None, || unreachable!("not asked for"));
        assert_eq!(unset, Chosen::default());
        assert_eq!(of_value(""), (Multiplier::ONE, vec![]));
        assert_eq!(of_value("2"), (Multiplier(2.0), vec![]));
        assert_eq!(of_value(" 2\n"), (Multiplier(2.0), vec![]));
        let (multiplier, warnings) = of_value("1.0x");
        assert_eq!(multiplier, Multiplier::ONE);
        assert_eq!(
            warnings,
            ["PERF_BUDGET_MULTIPLIER is ignored, 1.0 holds: \"1.0x\" is not a number"]
        );
    }

    #[test]
    fn auto_is_worked_out_and_nothing_like_it_is() {
        for value in ["auto", " auto\n"] {
            assert_eq!(of_value(value), (Multiplier(3.0), vec!["of a test".into()]));
        }
        for value in ["Auto", "auto2", "automatic"] {
            let (multiplier, warnings) = of_value(value);
            assert_eq!(multiplier, Multiplier::ONE);
            assert!(warnings[0].ends_with("is not a number"), "{warnings:?}");
        }
    }

    #[test]
    fn a_large_value_holds_and_is_warned_about() {
        let (multiplier, warnings) = of_value("4");
        assert_eq!((multiplier.get(), warnings.len()), (4.0, 0));
        let (multiplier, warnings) = of_value("4.5");
        assert_eq!((multiplier.get(), warnings.len()), (4.5, 1));
        assert!(
            warnings[0].starts_with("PERF_BUDGET_MULTIPLIER is 4.5: above 4"),
            "{warnings:?}"
        );
    }

    #[test]
    fn one_changes_nothing_and_others_round_to_the_nanosecond() {
        let long = Duration::new(u64::from(u32::MAX), 999_999_999);
        assert_eq!(Multiplier::ONE.scale(long), long);
        let third = Duration::from_nanos(333_333);
        assert_eq!(Multiplier(1.5).scale(third), Duration::from_nanos(500_000));
    }
}
