//! Equality of JSON values (RFC 6902 §4.6).

use serde_json::Value;

/// Whether two values are equal: numbers by value (`1`, `1.0` and `10e-1` are equal), objects in
/// any order of members.
#[must_use]
pub fn values_equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => numbers_equal(left.as_str(), right.as_str()),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| values_equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(name, left)| right.get(name).is_some_and(|right| values_equal(left, right)))
        }
        _ => left == right,
    }
}

/// Whether a number is a whole one, in whatever spelling (`1`, `1.0` and `10e-1` are).
#[must_use]
pub fn is_whole_number(number: &str) -> bool {
    Decimal::parse(number).is_none_or(|decimal| decimal.digits.is_empty() || decimal.exponent >= 0)
}

/// Whether two number texts stand for the same value, at any precision and without expanding an
/// exponent.
fn numbers_equal(left: &str, right: &str) -> bool {
    match (Decimal::parse(left), Decimal::parse(right)) {
        (Some(left), Some(right)) => left == right,
        // The exponent has more than 64 bits: only the form may differ, `5E+9…` from `5e9…`.
        _ => normalize_exponent_text(left).eq(normalize_exponent_text(right)),
    }
}

/// The text of a number without an optional `+` and without upper case.
fn normalize_exponent_text(number: &str) -> impl Iterator<Item = u8> {
    number.bytes().filter(|byte| *byte != b'+').map(|byte| byte.to_ascii_lowercase())
}

/// A number as sign, significant digits without zeros at either end, and the exponent of the last
/// digit.
#[derive(PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i128,
}

impl Decimal {
    fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let significant = all.trim_start_matches('0');
        let digits = significant.trim_end_matches('0');
        if digits.is_empty() {
            return Some(Self { negative: false, digits: String::new(), exponent: 0 });
        }
        let dropped = i128::try_from(significant.len() - digits.len()).ok()?;
        let scale = i128::try_from(fraction.len()).ok()?;
        Some(Self { negative, digits: digits.to_owned(), exponent: i128::from(exponent) - scale + dropped })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_by_value() {
        for (left, right) in [
            ("1", "1.0"),
            ("10e-1", "1"),
            ("-0", "0.000"),
            ("1.10", "1.1"),
            ("1e400", "10E+399"),
            ("-5E+66666666666666666666", "-5e66666666666666666666"),
        ] {
            assert!(numbers_equal(left, right), "{left} {right}");
        }
        for (left, right) in [("1", "-1"), ("12345678901234567890", "12345678901234567891"), ("1e5", "1e6")] {
            assert!(!numbers_equal(left, right), "{left} {right}");
        }
    }
}
