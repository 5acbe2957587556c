//! Decimal numbers as text: moving the decimal point without rounding.

/// The largest power of ten that a number may have: its plain form stays short.
const MAX_EXPONENT: i64 = 300;

/// The number times ten to the power of `places`, in its shortest plain form: no exponent, no zeros
/// at the end of a fraction, no sign of zero. `None` if it is no JSON number, or one whose plain
/// form is very long.
pub(super) fn shift(number: &str, places: i32) -> Option<String> {
    if !is_json_number(number) {
        return None;
    }
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (number, 0),
    };
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some("0".to_owned());
    }
    let fraction_len = i64::try_from(fraction.len()).ok()?;
    let exponent = exponent.checked_add(i64::from(places))?.checked_sub(fraction_len)?;
    if exponent.abs() > MAX_EXPONENT {
        return None;
    }
    Some([sign, &plain(digits, exponent)].concat())
}

/// Digits times ten to the power of `exponent`.
fn plain(digits: &str, exponent: i64) -> String {
    let Ok(places) = usize::try_from(exponent.unsigned_abs()) else { return digits.to_owned() };
    if exponent >= 0 {
        return [digits, &"0".repeat(places)].concat();
    }
    let padded = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = padded.split_at(padded.len() - places);
    match fraction.trim_end_matches('0') {
        "" => whole.to_owned(),
        fraction => [whole, ".", fraction].concat(),
    }
}

/// Whether a text is a number of JSON (RFC 8259 §6).
pub(super) fn is_json_number(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    is_digits(whole)
        && (whole.len() == 1 || !whole.starts_with('0'))
        && fraction.is_none_or(is_digits)
        && exponent.is_none_or(|text| is_digits(text.strip_prefix(['+', '-']).unwrap_or(text)))
}

/// Whether the value of a JSON number is a whole number.
pub(super) fn is_whole(number: &str) -> bool {
    is_digits(number.strip_prefix('-').unwrap_or(number)) || shift(number, 0).is_some_and(|plain| !plain.contains('.'))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_point_moves_without_rounding() {
        for (number, places, expected) in [
            ("110", -2, Some("1.1")),
            ("1.1", 2, Some("110")),
            ("1.10", 2, Some("110")),
            ("1.105", 2, Some("110.5")),
            ("5", -2, Some("0.05")),
            ("-5", -2, Some("-0.05")),
            ("-0.00", 2, Some("0")),
            ("100", -2, Some("1")),
            ("12345678901234567890.123", -2, Some("123456789012345678.90123")),
            ("1e3", 0, Some("1000")),
            ("1E-3", 1, Some("0.01")),
            ("1e400", 0, None),
            ("01", 0, None),
            ("+1", 0, None),
            ("x", 0, None),
        ] {
            assert_eq!(shift(number, places).as_deref(), expected, "{number} {places}");
        }
    }

    #[test]
    fn a_whole_number_is_one_by_value() {
        for (number, expected) in [("5", true), ("5.0", true), ("5e1", true), ("5.5", false), ("5e-1", false)] {
            assert_eq!(is_whole(number), expected, "{number}");
        }
    }
}
