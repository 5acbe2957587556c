//! Codecs: how a system writes a field's value. The set is closed, and each codec has one pair of
//! functions, [`Codec::decode`] and [`Codec::encode`], that requests and the laws call.

use std::borrow::Cow;

use jiff::civil;
use jiff::tz::TimeZone;
use serde_json::{Number, Value};

use super::decimal;
use super::field::ScalarType;
use super::time::{Instant, Pattern, parse_instant, to_instant};
use crate::record::values_equal;

/// How a system writes a value.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(test, allow(unpredictable_function_pointer_comparisons, reason = "no test compares them"))]
pub enum Codec {
    /// As the model does.
    Same,
    /// As one of these words. The first word of a value is the one that is written.
    Enum(Vec<EnumWord>),
    /// As one of these values. The first of each is the one that is written.
    Boolean {
        /// What means `true`.
        yes: Vec<Value>,
        /// What means `false`.
        no: Vec<Value>,
    },
    /// A number as a text.
    NumberText,
    /// A number times ten to the power of this.
    Scale(i32),
    /// A date in another form.
    Date(Pattern),
    /// An instant as a local time.
    DateTime(DateTimeForm),
    /// An array as one text with a separator.
    List {
        /// What stands between two elements; never empty.
        separator: String,
        /// The type of the elements.
        items: ScalarType,
    },
    /// A codec with a wrong inverse.
    #[cfg(test)]
    Planted(fn(&Value) -> Option<Value>, fn(&Value) -> Value),
}

/// A vendor's word and the value that it means.
#[derive(Clone, Debug, PartialEq)]
pub struct EnumWord {
    /// The vendor's value in its plain form: the text, or a number or a flag as text.
    pub word: String,
    /// The model's value.
    pub means: Value,
}

/// The form of a vendor's local times.
#[derive(Clone, Debug, PartialEq)]
pub struct DateTimeForm {
    /// The pattern; `None` for ISO 8601.
    pub pattern: Option<Pattern>,
    /// The zone of texts without an offset.
    pub zone: TimeZone,
    /// Whether an ISO 8601 text is written without an offset.
    pub is_local: bool,
}

impl Codec {
    /// The model's value of a vendor's value; `None` if the codec cannot read it.
    pub(super) fn decode<'v>(&self, vendor: Cow<'v, Value>) -> Option<Cow<'v, Value>> {
        let value = match self {
            Self::Same => return Some(vendor),
            Self::Enum(words) => {
                let plain = plain_form(&vendor)?;
                words.iter().find(|one| one.word == plain).map(|one| one.means.clone())
            }
            Self::Boolean { yes, no } => {
                let is_in = |values: &[Value]| values.iter().any(|one| values_equal(one, &vendor));
                if is_in(yes) { Some(true.into()) } else { is_in(no).then(|| false.into()) }
            }
            Self::NumberText => number(vendor.as_str()?),
            Self::Scale(places) => number(&decimal::shift(vendor.as_number()?.as_str(), -places)?),
            Self::Date(pattern) => Some(pattern.read(vendor.as_str()?)?.date().to_string().into()),
            Self::DateTime(form) => Some(form.read(vendor.as_str()?)?.to_string().into()),
            Self::List { separator, items } => split(vendor.as_str()?, separator, *items),
            #[cfg(test)]
            Self::Planted(decode, _) => decode(&vendor),
        };
        value.map(Cow::Owned)
    }

    /// The vendor's value of a model's value of the field's type. The caller of this function
    /// decodes the result again: it may not hold everything.
    ///
    /// # Errors
    /// What would be right.
    pub(super) fn encode<'v>(&self, value: &'v Value) -> Result<Cow<'v, Value>, String> {
        let encoded = match self {
            Self::Same => return Ok(Cow::Borrowed(value)),
            Self::Enum(words) => encode_word(words, value),
            Self::Boolean { yes, no } => {
                let values = if *value == Value::Bool(true) { yes } else { no };
                values.first().cloned().ok_or_else(|| "the system has no value for it".to_owned())
            }
            Self::NumberText => match value {
                Value::Number(number) => Ok(number.as_str().into()),
                _ => Err("must be a number".to_owned()),
            },
            Self::Scale(places) => {
                let shifted = value.as_number().and_then(|number| decimal::shift(number.as_str(), *places));
                shifted
                    .and_then(|text| number(&text))
                    .ok_or_else(|| "must be a number of at most 300 digits".to_owned())
            }
            Self::Date(pattern) => {
                let date = value.as_str().and_then(|text| text.parse::<civil::Date>().ok());
                let date = date.ok_or_else(|| "must be a date such as \"2019-12-09\"".to_owned())?;
                Ok(pattern.write(date.to_datetime(civil::Time::midnight())).into())
            }
            Self::DateTime(form) => {
                let instant = value.as_str().and_then(parse_instant);
                let instant = instant.ok_or_else(|| "must be a time such as \"2019-12-09T10:00:00Z\"".to_owned())?;
                let written =
                    form.write(instant).ok_or_else(|| "must be a time that the system's zone has".to_owned())?;
                Ok(written.into())
            }
            Self::List { separator, .. } => join(value, separator),
            #[cfg(test)]
            Self::Planted(_, encode) => Ok(encode(value)),
        };
        encoded.map(Cow::Owned)
    }

    /// Whether two of the model's values are one. A number that is scaled counts by its value, and
    /// an instant in any offset is the same; all others must be the same to the last byte.
    pub(super) fn means_same(&self, one: &Value, other: &Value) -> bool {
        match self {
            Self::Scale(_) => values_equal(one, other),
            Self::DateTime(_) => match (one.as_str().and_then(parse_instant), other.as_str().and_then(parse_instant)) {
                (Some(one), Some(other)) => one == other,
                _ => one == other,
            },
            _ => one == other,
        }
    }

    /// Whether the codec claims to write this value: not a local time that occurs twice.
    pub(super) fn claims(&self, value: &Value) -> bool {
        match (self, value.as_str().and_then(parse_instant)) {
            (Self::DateTime(form), Some(instant)) => {
                instant.to_local(&form.zone).and_then(|local| to_instant(local, &form.zone)).is_some()
            }
            _ => true,
        }
    }

    /// Whether only one vendor's value means this value, so that it can be written without knowing
    /// how the record spells it.
    pub(super) fn has_one_spelling(&self, value: &Value) -> bool {
        match self {
            Self::Same | Self::NumberText | Self::Date(_) | Self::List { .. } => true,
            Self::Enum(words) => {
                let of_value = words.iter().filter(|one| one.means == *value);
                // A word such as `1` may be a number or a text.
                of_value.clone().count() == 1 && of_value.clone().all(|one| json_scalar(&one.word).is_none())
            }
            Self::Boolean { yes, no } => {
                let values = if *value == Value::Bool(true) { yes } else { no };
                matches!(values.as_slice(), [only] if !only.is_number())
            }
            Self::Scale(_) => false,
            Self::DateTime(form) => form.pattern.is_some(),
            #[cfg(test)]
            Self::Planted(..) => true,
        }
    }
}

/// A scalar without quotes; `None` for null, arrays and objects.
pub(super) fn plain_form(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.as_str().to_owned()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The number or the flag that a word is the plain form of.
fn json_scalar(word: &str) -> Option<Value> {
    match word {
        "true" => Some(true.into()),
        "false" => Some(false.into()),
        word => number(word),
    }
}

fn number(text: &str) -> Option<Value> {
    // Parsing a number keeps its form, but for the exponent.
    let parsed: Number = serde_json::from_str(text).ok().filter(|_| decimal::is_json_number(text))?;
    Some(if parsed.as_str() == text {
        parsed.into()
    } else {
        Value::Number(Number::from_string_unchecked(text.to_owned()))
    })
}

/// The first word of a value. Words that are all numbers, or all flags, are written as such.
fn encode_word(words: &[EnumWord], value: &Value) -> Result<Value, String> {
    let Some(found) = words.iter().find(|one| one.means == *value) else {
        let mut known: Vec<String> = words.iter().map(|one| one.means.to_string()).collect();
        known.dedup();
        return Err(format!("must be one of {}", known.join(", ")));
    };
    let scalars: Option<Vec<Value>> = words.iter().map(|one| json_scalar(&one.word)).collect();
    let is_typed = scalars.is_some_and(|all| all.iter().all(Value::is_number) || all.iter().all(Value::is_boolean));
    Ok(json_scalar(&found.word).filter(|_| is_typed).unwrap_or_else(|| found.word.as_str().into()))
}

fn split(text: &str, separator: &str, items: ScalarType) -> Option<Value> {
    if text.is_empty() {
        return Some(Value::Array(Vec::new()));
    }
    let element = |part: &str| match items {
        ScalarType::String => Some(part.into()),
        ScalarType::Integer | ScalarType::Number | ScalarType::Boolean => json_scalar(part),
    };
    text.split(separator).map(element).collect()
}

fn join(value: &Value, separator: &str) -> Result<Value, String> {
    let elements = value.as_array().ok_or("must be an array")?;
    let texts: Option<Vec<String>> = elements.iter().map(plain_form).collect();
    let texts = texts.ok_or("must be an array of texts, numbers or flags")?;
    if texts.iter().any(|text| text.contains(separator)) {
        return Err(format!("an element holds {separator:?}, which stands between elements at this system"));
    }
    Ok(texts.join(separator).into())
}

impl DateTimeForm {
    fn read(&self, text: &str) -> Option<Instant> {
        match &self.pattern {
            Some(pattern) => to_instant(pattern.read(text)?, &self.zone),
            None => parse_instant(text).or_else(|| to_instant(parse_local(text)?, &self.zone)),
        }
    }

    fn write(&self, instant: Instant) -> Option<String> {
        let local = || instant.to_local(&self.zone);
        match &self.pattern {
            Some(pattern) => local().map(|local| pattern.write(local)),
            None if self.is_local => local().map(|local| local.to_string()),
            None => Some(instant.to_string()),
        }
    }
}

/// A local time in ISO 8601, such as `2024-05-01T00:00:00`.
fn parse_local(text: &str) -> Option<civil::DateTime> {
    let has_form = text.len() >= 19 && text.as_bytes().get(10) == Some(&b'T') && !text.contains('[');
    let local: civil::DateTime = text.parse().ok().filter(|_| has_form)?;
    // The parser would ignore an offset.
    parse_instant(&format!("{text}Z")).map(|_| local)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::models::time::parse_zone;

    fn enum_codec(words: &[(&str, &str)]) -> Codec {
        Codec::Enum(
            words.iter().map(|(word, means)| EnumWord { word: (*word).to_owned(), means: json!(means) }).collect(),
        )
    }

    fn datetime(pattern: Option<&str>, zone: &str, is_local: bool) -> Codec {
        let pattern = pattern.map(|text| Pattern::parse_datetime(text).expect("a pattern"));
        Codec::DateTime(DateTimeForm { pattern, zone: parse_zone(zone).expect("a zone"), is_local })
    }

    fn parse(text: &str) -> Value {
        crate::record::parse_strict(text.as_bytes()).expect("JSON")
    }

    #[test]
    fn each_codec_reads_and_writes_the_form_of_its_vendor() {
        let tier = enum_codec(&[("Standard", "basic"), ("Premium", "gold"), ("VIP", "gold")]);
        let coded = enum_codec(&[("1", "basic"), ("2", "gold")]);
        let flag = Codec::Boolean { yes: vec![json!(true), json!(1)], no: vec![json!(false), json!(0)] };
        let list = Codec::List { separator: ";".to_owned(), items: ScalarType::String };
        let counts = Codec::List { separator: ",".to_owned(), items: ScalarType::Integer };
        let date = Codec::Date(Pattern::parse_date("MM/dd/yyyy").expect("a pattern"));
        for (codec, vendor, model, written) in [
            (&tier, r#""VIP""#, r#""gold""#, r#""Premium""#),
            (&coded, "2", r#""gold""#, "2"),
            (&coded, r#""2""#, r#""gold""#, "2"),
            (&flag, "1", "true", "true"),
            (&flag, "false", "false", "false"),
            (&Codec::NumberText, r#""1.10""#, "1.10", r#""1.10""#),
            (&Codec::NumberText, r#""1E5""#, "1E5", r#""1E5""#),
            (&Codec::Scale(2), "110.0", "1.1", "110"),
            (&Codec::Scale(-3), "5", "5000", "5"),
            (&list, r#""a; b""#, r#"["a"," b"]"#, r#""a; b""#),
            (&list, r#""""#, "[]", r#""""#),
            (&counts, r#""1,2""#, "[1,2]", r#""1,2""#),
            (&date, r#""12/09/2019""#, r#""2019-12-09""#, r#""12/09/2019""#),
            (
                &datetime(Some("dd.MM.yyyy HH:mm"), "Europe/Berlin", true),
                r#""01.07.2024 12:00""#,
                r#""2024-07-01T10:00:00Z""#,
                r#""01.07.2024 12:00""#,
            ),
            (
                &datetime(None, "UTC", false),
                r#""2024-07-01T12:00:00.500""#,
                r#""2024-07-01T12:00:00.5Z""#,
                r#""2024-07-01T12:00:00.5Z""#,
            ),
            (
                &datetime(None, "UTC", false),
                r#""9999-12-31T23:59:59.997Z""#,
                r#""9999-12-31T23:59:59.997Z""#,
                r#""9999-12-31T23:59:59.997Z""#,
            ),
            (
                &datetime(None, "+02:00", true),
                r#""2024-07-01T12:00:00""#,
                r#""2024-07-01T10:00:00Z""#,
                r#""2024-07-01T12:00:00""#,
            ),
        ] {
            let decoded = codec.decode(Cow::Owned(parse(vendor))).expect("readable");
            assert_eq!(decoded.to_string(), model, "{codec:?}");
            assert_eq!(codec.encode(&decoded).expect("writable").to_string(), written, "{codec:?}");
        }
    }

    #[test]
    fn a_codec_does_not_guess_what_it_cannot_read() {
        let flag = Codec::Boolean { yes: vec![json!(1)], no: vec![json!(0)] };
        for (codec, vendor) in [
            (&enum_codec(&[("A", "a")]), r#""a""#),
            (&flag, r#""1""#),
            (&flag, "true"),
            (&Codec::NumberText, r#"" 1""#),
            (&Codec::NumberText, r#""1,5""#),
            (&Codec::NumberText, "1"),
            (&Codec::Scale(2), r#""1""#),
            (&Codec::Date(Pattern::parse_date("MM/dd/yyyy").expect("a pattern")), r#""2019-12-09""#),
            (&datetime(None, "UTC", false), r#""2024-07-01""#),
            (&datetime(None, "Europe/Berlin", true), r#""2024-10-27T02:30:00""#),
            (&Codec::List { separator: ",".to_owned(), items: ScalarType::Integer }, r#""1, 2""#),
        ] {
            assert_eq!(codec.decode(Cow::Owned(parse(vendor))), None, "{codec:?} {vendor}");
        }
    }

    #[test]
    fn an_element_that_holds_the_separator_is_refused() {
        let list = Codec::List { separator: ";".to_owned(), items: ScalarType::String };
        assert!(list.encode(&json!(["a;b"])).is_err());
    }
}
