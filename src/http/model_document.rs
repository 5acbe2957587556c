//! A record as a document of a model (contract 4.12).

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::metrics::Metrics;
use crate::models::{Decoded, Document, MapEntry, SystemMap, model_etag};
use crate::record::{JsonObjectWriter, RawJson, RecordId, Warning, write_json};
use crate::system::RecordView;
use crate::writes::PreviewChange;

/// The code of a warning that only documents of models have.
pub(super) const UNMAPPED_VALUE: &str = "unmapped-value";

/// How much of the record a document shows in addition to its fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum VendorPart {
    /// The whole record.
    All,
    /// What no field shows.
    #[default]
    Rest,
    /// Nothing.
    None,
}

impl VendorPart {
    pub(super) const WORDS: &'static str = "all, rest, none";

    pub(super) fn parse(word: &str) -> Option<Self> {
        match word {
            "all" => Some(Self::All),
            "rest" => Some(Self::Rest),
            "none" => Some(Self::None),
            _ => None,
        }
    }
}

/// Appends the document of a record whose tag in the model is `etag`.
pub(super) fn write(
    text: String,
    map: &SystemMap,
    record: &RecordView,
    etag: Option<&str>,
    part: VendorPart,
    metrics: &Metrics,
) -> String {
    let mut object = JsonObjectWriter::append_to(text)
        .string("model", &map.model)
        .string("system", &record.system)
        .string("id", &record.id)
        .serialized("etag", &etag);
    // A caller that may not read the record gets none of its fields, not even unset ones.
    let is_hidden = record.etag.is_none() && record.fields.is_empty() && !record.partial;
    let document = (!is_hidden).then(|| Document::new(map, &record.fields));
    object = object.object("fields", |fields| match &document {
        Some(document) => document.write_fields(fields, record.partial),
        None => fields,
    });
    object = match part {
        VendorPart::All => object.raw_object("vendor", record.fields.iter()),
        VendorPart::Rest => object.object("vendor", |rest| match &document {
            Some(document) => document.write_vendor(rest),
            None => rest,
        }),
        VendorPart::None => object,
    };
    object = object.raw("read_only", &array(read_only(map, record).map(Value::from)));
    let unreadable: Vec<Value> =
        document.iter().flat_map(Document::unreadable).map(|(entry, why)| unmapped_warning(entry, why)).collect();
    metrics.model_unmapped_values(&map.model, unreadable.len());
    let warnings: Vec<Value> =
        record.warnings.iter().map(|warning| translate_warning(map, &record.id, warning)).chain(unreadable).collect();
    if !warnings.is_empty() {
        object = object.raw("warnings", &array(warnings));
    }
    if let Some(operation) = &record.pending_operation {
        object = object.string("pending_operation", operation);
    }
    if record.partial {
        object = object.raw("partial", "true");
    }
    object.finish()
}

/// JSON Pointers of what cannot be patched.
fn read_only<'r>(map: &'r SystemMap, record: &'r RecordView) -> impl Iterator<Item = String> + 'r {
    let of_map = map.entries.iter().filter(|entry| entry.is_read_only).map(MapEntry::pointer);
    let of_record = record.read_only.iter().filter_map(|pointer| match map.translate(pointer)? {
        // The map has reported it already, or shows another value there.
        (_, Some(_)) => None,
        (pointer, None) => Some(pointer),
    });
    of_map.chain(of_record)
}

/// The warning of a value that the map cannot read.
fn unmapped_warning(entry: &MapEntry, why: &str) -> Value {
    let mut warning = Map::new();
    warning.insert("code".to_owned(), UNMAPPED_VALUE.into());
    warning.insert("pointer".to_owned(), entry.pointer().into());
    warning.insert("vendor_pointer".to_owned(), entry.vendor_pointer().into());
    warning.insert("detail".to_owned(), why.into());
    Value::Object(warning)
}

/// A warning in the model's words.
fn translate_warning(map: &SystemMap, id: &str, warning: &Warning) -> Value {
    let Ok(Value::Object(mut members)) = serde_json::to_value(warning) else { return Value::Null };
    let translated = members.get("pointer").and_then(Value::as_str).and_then(|pointer| map.translate(pointer));
    if let Some((pointer, vendor_pointer)) = translated {
        members.insert("pointer".to_owned(), pointer.into());
        if let Some(vendor_pointer) = vendor_pointer {
            members.insert("vendor_pointer".to_owned(), vendor_pointer.into());
        }
    }
    let onto = warning.onto.as_deref().zip(id.rsplit_once(':'));
    let onto = onto.and_then(|(etag, (collection, key))| model_etag(map, &RecordId::new(collection, key), etag));
    if let Some(onto) = onto {
        members.insert("onto".to_owned(), onto.into());
    }
    if let Some(Value::Array(moved)) = members.get_mut("moved") {
        for one in moved {
            if let Some((pointer, _)) = one.as_str().and_then(|pointer| map.translate(pointer)) {
                *one = pointer.into();
            }
        }
    }
    Value::Object(members)
}

fn array(values: impl IntoIterator<Item = Value>) -> String {
    let mut text = String::new();
    write_json(&mut text, &values.into_iter().collect());
    text
}

/// A change of a field's place is one of the field, with the model's values.
pub(super) fn translate_change(map: &SystemMap, change: &mut PreviewChange) {
    let Some((pointer, _)) = map.translate(&change.pointer) else { return };
    if let Some(entry) = map.entries.iter().find(|entry| entry.record_pointer() == change.pointer) {
        let decode =
            |value: &Option<RawJson>| match entry.decode(value.as_ref().and_then(RawJson::value).map(Cow::Owned)) {
                Decoded::Value(value) => Some(RawJson::from(&*value)),
                Decoded::Unset => None,
                Decoded::Unreadable(_) => value.clone(),
            };
        (change.from, change.to) = (decode(&change.from), decode(&change.to));
    }
    change.pointer = pointer;
}
