//! Settings that lie within bounds: functions for serde's `deserialize_with`, so that each bound is
//! written where its field is.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::{Deserializer, Error, Unexpected, Visitor};

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A duration such as `"250ms"`, `"10s"`, `"5m"`, `"24h"` or `"90d"`, from `MIN` to `MAX`
/// milliseconds.
pub(crate) fn duration<'de, const MIN: u64, const MAX: u64, D>(deserializer: D) -> Result<Duration, D::Error>
where
    D: Deserializer<'de>,
{
    deserializer.deserialize_str(DurationVisitor { min: Duration::from_millis(MIN), max: Duration::from_millis(MAX) })
}

/// A whole number from `MIN` to `MAX`.
pub(crate) fn integer<'de, const MIN: u32, const MAX: u32, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: TryFrom<u32>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_u32(IntegerVisitor::<T> { min: MIN, max: MAX, target: PhantomData })
}

struct DurationVisitor {
    min: Duration,
    max: Duration,
}

impl Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, max) = (format_duration(self.min), format_duration(self.max));
        write!(formatter, "a duration from \"{min}\" to \"{max}\", with one of the units ms, s, m, h, d")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        parse_duration(text)
            .filter(|duration| (self.min..=self.max).contains(duration))
            .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

struct IntegerVisitor<T> {
    min: u32,
    max: u32,
    target: PhantomData<T>,
}

impl<T: TryFrom<u32>> Visitor<'_> for IntegerVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a whole number from {} to {}", self.min, self.max)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        let in_range = u32::try_from(number).ok().filter(|number| (self.min..=self.max).contains(number));
        in_range
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
    }
}

/// Digits and one unit, with nothing before, between or after.
fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, milliseconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Some(Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(*milliseconds)?))
}

/// A duration as the configuration writes it, in the largest unit that divides it.
pub(crate) fn format_duration(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let divides = |(_, unit): &&(&str, u64)| milliseconds > 0 && milliseconds.is_multiple_of(*unit);
    match UNITS.iter().rev().find(divides) {
        Some((name, unit)) => format!("{}{name}", milliseconds / unit),
        None => "0s".to_owned(),
    }
}
