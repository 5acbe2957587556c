//! Durations: `"250ms"`, `"10s"`, `"5m"`, `"24h"`, `"90d"`.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Takes digits and one unit, with nothing before, between or after.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, milliseconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Some(Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(*milliseconds)?))
}

/// The other way round, in the longest unit that fits.
pub(super) fn show(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let fits = |(_, unit): &&(&str, u64)| milliseconds > 0 && milliseconds.is_multiple_of(*unit);
    match UNITS.iter().rev().find(fits) {
        Some((name, unit)) => format!("{}{name}", milliseconds / unit),
        None => "0s".to_owned(),
    }
}
