//! A batch as text, to store it item by item.

use bytes::Bytes;

use super::request::{item_members, parse_members};
use crate::http::body::malformed_json;
use crate::problem::Problem;
use crate::record::{JsonObjectWriter, RawJson, RawObject};

/// The members of a batch that was parsed before.
pub(in crate::http) struct RawBatch {
    options: RawObject,
    items: Vec<RawObject>,
}

impl RawBatch {
    /// # Errors
    /// 400 for what is no batch.
    pub(in crate::http) fn parse(body: &Bytes) -> Result<Self, Problem> {
        let mut options = parse_members(body).map_err(malformed_json)?;
        let items =
            options.get("items").map(RawJson::elements).transpose().map_err(malformed_json)?.unwrap_or_default();
        let items = items.iter().map(item_members).collect::<Result<_, _>>().map_err(malformed_json)?;
        options.retain(|name| name != "items");
        Ok(Self { options, items })
    }

    /// The body without its items.
    pub(in crate::http) fn options(&self) -> RawJson {
        RawJson::from(&self.options)
    }

    /// How many items it has.
    pub(in crate::http) fn len(&self) -> usize {
        self.items.len()
    }

    /// Each item as text, with its id.
    pub(super) fn items(&self) -> impl Iterator<Item = String> {
        self.items.iter().enumerate().map(|(index, item)| {
            let writer = JsonObjectWriter::new();
            let writer = if item.get("id").is_none() { writer.string("id", &index.to_string()) } else { writer };
            writer.raw_members(item.iter()).finish()
        })
    }

    /// The body again, of what was stored.
    pub(super) fn join(options: &RawJson, items: &[String]) -> String {
        let members = options.to_object().unwrap_or_default();
        JsonObjectWriter::new().raw_members(members.iter()).raw_array("items", items).finish()
    }

    /// An item without its body.
    pub(super) fn without_body(item: &str) -> String {
        let object = serde_json::from_str::<RawJson>(item).ok().and_then(|item| item_members(&item).ok());
        let mut object = object.unwrap_or_default();
        object.retain(|name| name != "body");
        object.to_json()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_stored_whole_however_deep_its_body_nests() {
        let body = format!("{}1{}", "[".repeat(64), "]".repeat(64));
        let item = format!(r#"{{"id":"a","method":"PATCH","body":{body}}}"#);
        let text = format!(r#"{{"concurrency":1,"items":[{item}]}}"#);
        let batch = RawBatch::parse(&Bytes::from(text.clone())).expect("a batch");
        let items: Vec<String> = batch.items().collect();
        assert_eq!((items.as_slice(), RawBatch::join(&batch.options(), &items)), (&[item.clone()][..], text));
        assert_eq!(RawBatch::without_body(&item), r#"{"id":"a","method":"PATCH"}"#);
    }
}
