//! Places of a record, and what is wrong there, in the words of a model.

use std::borrow::Cow;

use serde_json::Value;

use super::codec::Codec;
use super::system_map::{Decoded, MapEntry, SystemMap, record_path};
use crate::record::{FieldError, SchemaRule, json_pointer};

impl SystemMap {
    /// A pointer into the record in the words of the model, with the vendor's pointer beside it
    /// where a field shows the place. `None` for a pointer that is not below `/fields`.
    #[must_use]
    pub fn translate(&self, pointer: &str) -> Option<(String, Option<String>)> {
        let path = record_path(pointer)?;
        let vendor = vendor_pointer(&path);
        match self.entry_above(&path).or_else(|| self.only_entry_inside(&path)) {
            Some(entry) => Some((entry.pointer(), Some(vendor))),
            None => Some((vendor, None)),
        }
    }

    /// An error of a place of the record in the words of the model: one for each field that it is
    /// about. `given` are the entries of the fields that a new record has; `None` for a patch.
    #[must_use]
    pub fn translate_error(&self, error: FieldError, given: Option<&[usize]>) -> Vec<FieldError> {
        let Some(path) = record_path(&error.pointer).filter(|_| !error.is_in_model) else { return vec![error] };
        let vendor = vendor_pointer(&path);
        let entries: Vec<&MapEntry> = match (self.entry_above(&path), given) {
            (Some(entry), _) => vec![entry],
            (None, None) => self.only_entry_inside(&path).into_iter().collect(),
            (None, Some(given)) => {
                let is_missing = error.rule == Some(SchemaRule::Required);
                let entries = self.entries.iter().enumerate();
                let inside = entries.filter(|(_, entry)| entry.place.names().starts_with(&path));
                inside.filter(|(index, _)| is_missing || given.contains(index)).map(|(_, entry)| entry).collect()
            }
        };
        if entries.is_empty() {
            return vec![FieldError { pointer: vendor, is_in_model: true, ..error }];
        }
        let of_field = |entry: &MapEntry| FieldError {
            pointer: entry.pointer(),
            detail: self.translate_detail(entry, &error),
            vendor_pointer: Some(vendor.clone()),
            is_in_model: true,
            ..error.clone()
        };
        entries.into_iter().map(of_field).collect()
    }

    /// The entry whose place is below this path, if there is only one.
    fn only_entry_inside(&self, path: &[String]) -> Option<&MapEntry> {
        let mut inside = self.entries.iter().filter(|entry| entry.place.names().starts_with(path));
        inside.next().filter(|_| inside.next().is_none())
    }

    /// What is wrong with the value of a field: with the model's values where the map can read the
    /// vendor's, else as a rule of what the system keeps.
    fn translate_detail(&self, entry: &MapEntry, error: &FieldError) -> String {
        let is_of_value = !matches!(error.rule, None | Some(SchemaRule::Unknown | SchemaRule::Required));
        if !is_of_value || entry.codec == Codec::Same {
            return error.detail.clone();
        }
        let in_model = || {
            let limit = error.limit.as_deref()?;
            let values = limit.as_array().map_or(std::slice::from_ref(limit), Vec::as_slice);
            let start = error.detail.strip_suffix(&limit.to_string())?;
            let mut words: Vec<String> = values.iter().filter_map(|value| decoded_text(entry, value)).collect();
            words.dedup();
            (!words.is_empty()).then(|| [start, &words.join(", ")].concat())
        };
        in_model().unwrap_or_else(|| format!("as {} keeps it: {}", self.system, error.detail))
    }
}

/// The model's value of a vendor's as JSON text.
fn decoded_text(entry: &MapEntry, value: &Value) -> Option<String> {
    match entry.decode(Some(Cow::Borrowed(value))) {
        Decoded::Value(value) => Some(value.to_string()),
        Decoded::Unset | Decoded::Unreadable(_) => None,
    }
}

fn vendor_pointer(path: &[String]) -> String {
    json_pointer("/vendor", &path.iter().map(String::as_str).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::models::tests::customer;

    fn translate(pointer: &str, detail: &str, rule: SchemaRule, limit: Option<&Value>) -> (String, String) {
        let error = FieldError::new(pointer, detail).rule(rule).limit(limit);
        let translated = customer().translate_error(error, None);
        let [one] = translated.as_slice() else { panic!("{translated:?}") };
        (one.pointer.clone(), one.detail.clone())
    }

    #[test]
    fn a_rule_of_the_vendor_names_the_models_values() {
        let choices = json!(["Standard", "Premium", "Other"]);
        let detail = format!("must be one of {choices}");
        let tier = translate("/fields/Status", &detail, SchemaRule::Enum, Some(&choices));
        assert_eq!(tier, ("/fields/tier".into(), "must be one of \"basic\", \"gold\"".into()));
        let credit = translate("/fields/Credit Limit", "must be at most 450", SchemaRule::Range, Some(&json!(450)));
        assert_eq!(credit, ("/fields/credit".into(), "must be at most 4.5".into()));
    }

    #[test]
    fn a_rule_that_the_map_cannot_translate_is_one_of_what_the_system_keeps() {
        let since = translate("/fields/Customer Since", "must match ^[0-9]", SchemaRule::Format, None);
        assert_eq!(since, ("/fields/since".into(), "as crm keeps it: must match ^[0-9]".into()));
        let tier = translate("/fields/Status", "must be one of [7]", SchemaRule::Enum, Some(&json!([7])));
        assert_eq!(tier.1, "as crm keeps it: must be one of [7]");
        let required = translate("/fields/Status", "is required", SchemaRule::Required, None);
        assert_eq!(required.1, "is required");
        // Without a codec the values are the same.
        let email = translate("/fields/Email", "must have at most 9 characters", SchemaRule::Length, None);
        assert_eq!(email.1, "must have at most 9 characters");
    }

    #[test]
    fn an_error_above_several_places_is_one_of_each_field_that_is_given() {
        let map = customer();
        let fields = json!({ "cost": 1, "tags": ["a"], "email": "ada@example.com" });
        let record = map.encode_new_record(fields.as_object().expect("fields"), None);
        let pointers = |rule, given: Option<&[usize]>| {
            let error = FieldError::new("/fields/p", "is wrong").rule(rule);
            let errors = map.translate_error(error, given).into_iter();
            errors.map(|error| (error.pointer, error.vendor_pointer)).collect::<Vec<_>>()
        };
        let field = |name: &str| (format!("/fields/{name}"), Some("/vendor/p".to_owned()));
        assert_eq!(pointers(SchemaRule::Unknown, Some(&record.given)), [field("cost"), field("tags")]);
        let all = ["met", "cost", "address/zip", "tags"].map(field);
        assert_eq!(pointers(SchemaRule::Required, Some(&[])), all);
        let of_vendor = [("/vendor/p".to_owned(), None)];
        assert_eq!(pointers(SchemaRule::Unknown, Some(&[])), of_vendor);
        assert_eq!(pointers(SchemaRule::Unknown, None), of_vendor);
    }
}
