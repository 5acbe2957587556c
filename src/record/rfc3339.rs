//! Times as texts (RFC 3339).

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A time as all documents of the gateway show it: in UTC, to the millisecond.
#[must_use]
pub fn format_time(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// Parses a time of a vendor; one without a zone is in UTC.
#[must_use]
pub fn parse_vendor_time(text: &str) -> Option<Timestamp> {
    let in_utc = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    text.parse().ok().or_else(in_utc)
}

/// Parses a time with a zone. The last hours of the year 9999, which stand for "for ever", are
/// beyond the range of timestamps and become the last one.
#[must_use]
pub fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| is_end_of_range(text).then_some(Timestamp::MAX))
}

fn is_end_of_range(text: &str) -> bool {
    let Some((clock, zone)) = text.split_at_checked("9999-12-31T23:59:59".len()) else { return false };
    let zone = zone.trim_start_matches(|digit: char| digit == '.' || digit.is_ascii_digit());
    clock.starts_with("9999-12-3") && clock.parse::<DateTime>().is_ok() && zone.eq_ignore_ascii_case("z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_year_9999_is_a_time() {
        for last in ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59.997Z", "9999-12-30T22:00:01z"] {
            assert_eq!(parse_time(last), Some(Timestamp::MAX), "{last}");
        }
        assert_eq!(parse_time("2026-11-30T00:00:00+01:00"), "2026-11-29T23:00:00Z".parse().ok());
        for wrong in ["9999-12-31T23:59:59", "9999-12-32T00:00:00Z", "9999-12-31T25:00:00Z", "2026-11-30", ""] {
            assert_eq!(parse_time(wrong), None, "{wrong}");
        }
    }
}
