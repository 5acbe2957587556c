//! Members that hold one of a closed list of words. The words are those of the types that the code
//! uses; the document lists them.

use serde_json::{Map, Value, json};

use crate::http::change_event;
use crate::http::model_document;
use crate::journal::Durability;
use crate::metrics::{ChangeType, QuotaPolicy};
use crate::problem::ProblemKind;
use crate::record::{Action, OperationState, VendorRequestKind, WarningCode};
use crate::system::Validation;
use crate::transport::CircuitState;
use crate::vendors::{SchemaSource, UpdateStyle, VENDORS};

type Words = Vec<Value>;
/// A schema, a member, and its words.
type ClosedMember = (&'static str, &'static str, fn() -> Words);

const MEMBERS: [ClosedMember; 15] = [
    ("CallMade", "call", || {
        words(VendorRequestKind::ALL.iter().filter(|kind| kind.is_logged()).map(|kind| kind.as_str()))
    }),
    ("ChangeEvent", "type", || ChangeType::ALL.iter().map(|kind| change_event::type_name(*kind).into()).collect()),
    ("Collection", "schema_source", || words(SchemaSource::ALL.map(SchemaSource::as_str))),
    ("ExpectedResponse", "problem", problems),
    ("GatewayStatus", "durability", || words(Durability::ALL.map(Durability::as_str))),
    ("LedgerEntry", "problem", problems),
    ("LedgerEntry", "state", || words(OperationState::ALL.map(OperationState::as_str))),
    ("ModelWarning", "code", || {
        let of_records = WarningCode::ALL.iter().filter_map(|code| serde_json::to_value(code).ok());
        of_records.chain([model_document::UNMAPPED_VALUE.into()]).collect()
    }),
    ("Operation", "action", || words(Action::WRITES.map(Action::as_str))),
    ("PreviewCall", "call", || {
        words(VendorRequestKind::ALL.iter().filter(|kind| !kind.is_safe()).map(|kind| kind.as_str()))
    }),
    ("Problem", "violated_policies", || words(QuotaPolicy::ALL.iter().map(|policy| policy.as_str()))),
    ("System", "update", || words(UpdateStyle::ALL.map(UpdateStyle::as_str))),
    ("System", "validation", || words(Validation::ALL.map(Validation::as_str))),
    ("System", "vendor", || words(VENDORS.iter().map(|factory| factory.vendor))),
    ("SystemHealth", "circuit", || words(CircuitState::ALL.map(CircuitState::as_str))),
];

fn words(of: impl IntoIterator<Item = &'static str>) -> Words {
    of.into_iter().map(Value::from).collect()
}

fn problems() -> Words {
    words(ProblemKind::ALL.iter().map(|problem| problem.as_str()))
}

/// Lists the words of every such member.
pub(super) fn close_words(document: &mut Value) {
    for (schema, member, words) in MEMBERS {
        let pointer = format!("/components/schemas/{schema}/properties/{member}");
        if let Some(Value::Object(place)) = document.pointer_mut(&pointer) {
            close(place, words());
        }
    }
}

fn close(place: &mut Map<String, Value>, mut words: Words) {
    if let Some(Value::Object(items)) = place.get_mut("items") {
        return close(items, words);
    }
    let is_nullable = place.get("type").and_then(Value::as_array).is_some_and(|types| types.contains(&json!("null")));
    if is_nullable {
        words.push(Value::Null);
    }
    place.insert("enum".to_owned(), words.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_closed_word_is_listed() {
        let document: Value = serde_json::from_str(&crate::http::openapi::openapi_json()).expect("JSON");
        for (schema, member, words) in MEMBERS {
            let place = &document["components"]["schemas"][schema]["properties"][member];
            let listed = place.get("enum").or_else(|| place["items"].get("enum")).and_then(Value::as_array);
            let listed = listed.unwrap_or_else(|| panic!("{schema}.{member}"));
            assert!(!words().is_empty() && words().iter().all(|word| listed.contains(word)), "{schema}.{member}");
        }
    }
}
