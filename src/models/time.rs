//! Dates and times in a vendor's own form: a pattern of `yyyy MM dd HH mm ss`.

use std::fmt::{self, Write as _};

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    Literal(char),
}

/// The form of a date or of a local time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Part>);

const DATE_PARTS: [Part; 3] = [Part::Year, Part::Month, Part::Day];
const TIME_PARTS: [Part; 3] = [Part::Hour, Part::Minute, Part::Second];

impl Pattern {
    /// Reads the pattern of a date.
    ///
    /// # Errors
    /// What is wrong.
    pub fn parse_date(text: &str) -> Result<Self, &'static str> {
        let pattern = Self::parse(text)?;
        if TIME_PARTS.iter().any(|part| pattern.0.contains(part)) {
            return Err("has a time of day, which a date does not hold; use datetime");
        }
        Ok(pattern)
    }

    /// Reads the pattern of a date with a time of day.
    ///
    /// # Errors
    /// What is wrong.
    pub fn parse_datetime(text: &str) -> Result<Self, &'static str> {
        let pattern = Self::parse(text)?;
        let has = |part: &Part| pattern.0.contains(part);
        if !has(&Part::Hour) || !has(&Part::Minute) {
            return Err("must have HH and mm");
        }
        Ok(pattern)
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        const TOKENS: [(&str, Part); 6] = [
            ("yyyy", Part::Year),
            ("MM", Part::Month),
            ("dd", Part::Day),
            ("HH", Part::Hour),
            ("mm", Part::Minute),
            ("ss", Part::Second),
        ];
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some((token, part)) = TOKENS.iter().find(|(token, _)| rest.starts_with(token)) {
                if parts.contains(part) {
                    return Err("has a part twice");
                }
                parts.push(part.clone());
                rest = rest.get(token.len()..).unwrap_or_default();
            } else if first.is_ascii_alphabetic() && first != 'T' && first != 'Z' || first.is_ascii_digit() {
                return Err("has a letter or digit that is no part of yyyy MM dd HH mm ss");
            } else {
                parts.push(Part::Literal(first));
                rest = rest.get(first.len_utf8()..).unwrap_or_default();
            }
        }
        if DATE_PARTS.iter().all(|part| parts.contains(part)) {
            Ok(Self(parts))
        } else {
            Err("must have yyyy, MM and dd")
        }
    }

    /// Reads a text in exactly this form.
    pub(super) fn read(&self, text: &str) -> Option<DateTime> {
        let mut values = [0_i16, 0, 0, 0, 0, 0];
        let mut rest = text;
        for part in &self.0 {
            let (slot, width) = match part {
                Part::Literal(literal) => {
                    rest = rest.strip_prefix(*literal)?;
                    continue;
                }
                Part::Year => (0, 4),
                Part::Month => (1, 2),
                Part::Day => (2, 2),
                Part::Hour => (3, 2),
                Part::Minute => (4, 2),
                Part::Second => (5, 2),
            };
            let (digits, after) = rest.split_at_checked(width)?;
            if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            *values.get_mut(slot)? = digits.parse().ok()?;
            rest = after;
        }
        let [year, month, day, hour, minute, second] = values;
        let narrow = |value: i16| i8::try_from(value).ok();
        let date = Date::new(year, narrow(month)?, narrow(day)?).ok()?;
        let time = Time::new(narrow(hour)?, narrow(minute)?, narrow(second)?, 0).ok()?;
        rest.is_empty().then(|| date.to_datetime(time))
    }

    /// Writes a local time; what the pattern has no part for is lost.
    pub(super) fn write(&self, time: DateTime) -> String {
        let mut text = String::new();
        for part in &self.0 {
            // Writing to a text cannot fail.
            let _ = match part {
                Part::Year => write!(text, "{:04}", time.year()),
                Part::Month => write!(text, "{:02}", time.month()),
                Part::Day => write!(text, "{:02}", time.day()),
                Part::Hour => write!(text, "{:02}", time.hour()),
                Part::Minute => write!(text, "{:02}", time.minute()),
                Part::Second => write!(text, "{:02}", time.second()),
                Part::Literal(literal) => text.write_char(*literal),
            };
        }
        text
    }
}

/// The time zone of an IANA name or an offset such as `+02:00`.
#[must_use]
pub fn parse_zone(text: &str) -> Option<TimeZone> {
    if let Some(offset) = parse_offset(text) {
        return Some(TimeZone::fixed(offset));
    }
    TimeZone::get(text).ok()
}

fn parse_offset(text: &str) -> Option<Offset> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = digits.split_once(':')?;
    let number = |text: &str, max: i32| {
        let is_pair = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i32>().ok().filter(|value| is_pair && *value <= max)
    };
    Offset::from_seconds(sign * (number(hours, 23)? * 3600 + number(minutes, 59)? * 60)).ok()
}

/// An instant, as the date and time in UTC: unlike a timestamp it reaches to the end of 9999, which
/// systems write for "for ever".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instant(DateTime);

impl fmt::Display for Instant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}Z", self.0)
    }
}

impl From<Timestamp> for Instant {
    fn from(timestamp: Timestamp) -> Self {
        Self(Offset::UTC.to_datetime(timestamp))
    }
}

impl Instant {
    fn from_local(local: DateTime, offset: Offset) -> Option<Self> {
        local.checked_sub(SignedDuration::from_secs(offset.seconds().into())).ok().map(Self)
    }

    /// The local time in a zone; `None` beyond what the zone's clock shows.
    pub(super) fn to_local(self, zone: &TimeZone) -> Option<DateTime> {
        match zone.to_fixed_offset() {
            Ok(offset) => self.0.checked_add(SignedDuration::from_secs(offset.seconds().into())).ok(),
            Err(_) => Some(Offset::UTC.to_timestamp(self.0).ok()?.to_zoned(zone.clone()).datetime()),
        }
    }
}

/// The instant of a local time; `None` where the clocks leave it out or show it twice.
pub(super) fn to_instant(local: DateTime, zone: &TimeZone) -> Option<Instant> {
    match zone.to_fixed_offset() {
        Ok(offset) => Instant::from_local(local, offset),
        Err(_) => zone.to_ambiguous_zoned(local).unambiguous().ok().map(|zoned| zoned.timestamp().into()),
    }
}

/// Reads an RFC 3339 `date-time`.
pub(super) fn parse_instant(text: &str) -> Option<Instant> {
    let (date, time) = text.split_at_checked(10)?;
    let is_separated = time.starts_with(['T', 't']) && date.bytes().filter(|byte| *byte == b'-').count() == 2;
    let offset_at = time.rfind(['Z', 'z', '+', '-'])?;
    let (clock, offset) = time.split_at_checked(offset_at)?;
    let has_form = clock.get(1..9).is_some_and(|clock| clock.bytes().filter(|byte| *byte == b':').count() == 2)
        && (offset.eq_ignore_ascii_case("z") || offset.len() == 6 && offset.as_bytes().get(3) == Some(&b':'));
    // No clock of a computer holds a leap second: it would be read as the second before.
    let is_leap_second = clock.get(7..9) == Some("60");
    if !is_separated || !has_form || is_leap_second || clock.ends_with('.') {
        return None;
    }
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Some(timestamp.into());
    }
    // The last hours of the year 9999 are beyond the range of timestamps.
    let offset = if offset.eq_ignore_ascii_case("z") { Some(Offset::UTC) } else { parse_offset(offset) };
    let local = [date, clock].concat().parse::<DateTime>().ok()?;
    Instant::from_local(local, offset?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_reads_exactly_what_it_writes() {
        let pattern = Pattern::parse_datetime("dd.MM.yyyy HH:mm:ss").expect("a pattern");
        let time = pattern.read("09.12.2019 10:11:12").expect("a time");
        assert_eq!(pattern.write(time), "09.12.2019 10:11:12");
        for wrong in ["9.12.2019 10:11:12", "09.12.2019 10:11:12 ", "31.02.2019 10:11:12", "09.12.2019 24:00:00", "ä"]
        {
            assert_eq!(pattern.read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_pattern_that_cannot_hold_its_value_is_refused() {
        for wrong in ["", "yyyy-MM", "yyyy-MM-dd-MM", "YYYY-MM-dd", "yyyy-MM-dd HH:mm"] {
            assert!(Pattern::parse_date(wrong).is_err(), "{wrong}");
        }
        for wrong in ["yyyy-MM-dd", "yyyy-MM-dd HH", "yyyy-MM-dd hh:mm"] {
            assert!(Pattern::parse_datetime(wrong).is_err(), "{wrong}");
        }
        assert!(Pattern::parse_date("yyyyMMdd").is_ok());
    }

    #[test]
    fn a_zone_is_a_name_or_an_offset() {
        for zone in ["Europe/Berlin", "UTC", "+02:00", "-09:30"] {
            assert!(parse_zone(zone).is_some(), "{zone}");
        }
        for wrong in ["", "Nowhere/City", "+2", "02:00", "+99:00"] {
            assert!(parse_zone(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_local_time_that_occurs_twice_or_never_is_no_instant() {
        let berlin = parse_zone("Europe/Berlin").expect("a zone");
        let instant = |text: &str| to_instant(text.parse().expect("a time"), &berlin).map(|time| time.to_string());
        assert_eq!(instant("2024-07-01T12:00:00").as_deref(), Some("2024-07-01T10:00:00Z"));
        assert_eq!(instant("2024-10-27T02:30:00"), None);
        assert_eq!(instant("2024-03-31T02:30:00"), None);
    }

    #[test]
    fn only_an_rfc_3339_text_is_an_instant() {
        for right in ["2024-05-01T00:00:00Z", "2024-05-01T02:00:00+02:00", "2024-05-01T00:00:00.125Z"] {
            assert!(parse_instant(right).is_some(), "{right}");
        }
        for last in ["9999-12-31T23:59:59.997Z", "9999-12-31T23:59:59+00:00", "9999-12-31T12:00:00-02:00"] {
            assert!(parse_instant(last).is_some_and(|one| one.to_string().starts_with("9999-12-31T")), "{last}");
        }
        assert_eq!(parse_instant("9999-12-31T23:59:59-02:00"), None);
        for wrong in [
            "2024-05-01",
            "2024-05-01T00:00:00",
            "9999-12-32T00:00:00Z",
            "9999-12-31T25:00:00Z",
            "2016-12-31T23:59:60Z",
            "2016-12-31T23:59:60.5+01:00",
            "2024-05-01 00:00:00Z",
            "20240501T000000Z",
            "",
            "ä",
        ] {
            assert!(parse_instant(wrong).is_none(), "{wrong}");
        }
    }
}
