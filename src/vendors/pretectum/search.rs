//! The search of the vendor: full text over all datasets, whose hits carry no version.

use std::borrow::Cow;

use actix_web::http::Method;
use actix_web::http::header::ACCEPT;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::protocol::{is_id, is_reserved};
use crate::record::{RawJson, RecordId, VendorError, VendorRecord, percent_encode};
use crate::transport::{JSON, VendorRequest, VendorRequestKind};
use crate::vendors::adapter::{ListItem, ListPage};
use crate::vendors::common::{unparseable_response, utf8};
use crate::vendors::filter::{FieldFilter, all_match};

/// Words of the query language.
const OPERATORS: [&str; 3] = ["AND", "OR", "NOT"];

/// A query that every record with these values matches, as words in quotes; `None` if the values
/// hold no word. The words alone cannot be read as anything else, whatever a value holds. A number
/// is no word: a record may spell it in another way.
pub(super) fn query_of(filters: &[FieldFilter]) -> Option<String> {
    let texts = filters.iter().filter_map(|filter| match &filter.value {
        Value::String(text) => Some(Cow::from(text.as_str())),
        Value::Number(_) => None,
        other => Some(other.to_string().into()),
    });
    let mut words: Vec<String> = Vec::new();
    for text in texts {
        let found = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        let plain = found.filter(|word| OPERATORS.iter().all(|operator| !operator.eq_ignore_ascii_case(word)));
        words.extend(plain.map(|word| format!("\"{word}\"")));
    }
    (!words.is_empty()).then(|| words.join(" "))
}

/// Searches every dataset. The vendor limits a search by names, which need not be unique.
pub(super) fn search_request(query: &str) -> VendorRequest {
    let path = format!("/dataobjects/search?query={}", percent_encode(query));
    VendorRequest::new(VendorRequestKind::List, Method::GET, path).header(ACCEPT, JSON)
}

/// A hit: its key and what it shows of the record.
pub(super) type Hit = (String, VendorRecord);

/// The hits of one dataset, and whether these are all: the paging of a search is not documented.
pub(super) fn parse_hits(body: &Bytes, collection: &str) -> Result<(Vec<Hit>, bool), VendorError> {
    #[derive(Deserialize)]
    struct Page<'r> {
        #[serde(borrow)]
        hits: Vec<&'r RawValue>,
        total: Option<usize>,
    }
    let text = utf8(body)?;
    let page: Page<'_> = serde_json::from_str(&text).map_err(unparseable_response)?;
    let is_complete = page.total.is_none_or(|total| total <= page.hits.len());
    let mut hits = Vec::new();
    for hit in page.hits {
        let mut members = RawJson::slice_of(&text, hit).to_object().map_err(unparseable_response)?;
        let member = |name: &str| members.get(name).and_then(RawJson::to_text).unwrap_or_default();
        let place = format!("{}:{}:{}", member("_businessAreaId"), member("_schemaId"), member("_dataSetId"));
        if place == collection {
            let key = member("_dataObjectId");
            members.retain(|name| !is_reserved(name));
            hits.push((key, VendorRecord { fields: members, version: None, warnings: Vec::new() }));
        }
    }
    Ok((hits, is_complete))
}

/// The beginning of a position in the hits of a search.
const CURSOR: &str = "search.";

/// The position in the hits; `None` if the cursor is one of a list.
pub(super) fn parse_cursor(cursor: Option<&str>) -> Option<usize> {
    cursor.map_or(Some(0), |text| text.strip_prefix(CURSOR)?.parse().ok())
}

/// A page of hits. They have no version, so none is a whole record.
pub(super) fn hit_page(
    collection: &str,
    filters: &[FieldFilter],
    hits: Vec<Hit>,
    offset: usize,
    limit: usize,
) -> Result<ListPage, VendorError> {
    let matching = hits.into_iter().filter(|(_, record)| all_match(filters, &record.fields.to_map()));
    let mut rest = matching.skip(offset);
    let to_item = |(key, record): Hit| {
        let is_id = is_id(&key);
        let item = is_id.then(|| ListItem { id: RecordId::new(collection, &key), record, partial: true });
        item.ok_or_else(|| unparseable_response("a hit without a record's id"))
    };
    let items = rest.by_ref().take(limit).map(to_item).collect::<Result<_, VendorError>>()?;
    let next = rest.next().map(|_| format!("{CURSOR}{}", offset.saturating_add(limit)));
    Ok(ListPage { items, next })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::vendors::filter::ValueForm;

    fn query(values: &[Value]) -> Option<String> {
        let form = ValueForm::Plain;
        let filter = |value: &Value| FieldFilter { field: "x".to_owned(), value: value.clone(), form };
        query_of(&values.iter().map(filter).collect::<Vec<_>>())
    }

    #[test]
    fn a_query_holds_quoted_words_and_nothing_else() {
        assert_eq!(query(&[json!("Ada Lovelace"), json!(1.5)]).as_deref(), Some("\"Ada\" \"Lovelace\""));
        assert_eq!(query(&[json!(1.5)]), None);
        let hostile = json!("x\" OR email:* NOT (a) \\\" AND *");
        assert_eq!(query(&[hostile]).as_deref(), Some("\"x\" \"email\" \"a\""));
        assert_eq!(query(&[json!("*:\"")]), None);
    }
}
