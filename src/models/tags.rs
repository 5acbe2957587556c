//! Entity tags of a model's documents: the record's version with the map's fingerprint.

use super::system_map::SystemMap;
use crate::record::{EntityTag, RecordId};

/// The tag of the document of a record that has this tag; both are header values.
#[must_use]
pub fn document_etag(map: &SystemMap, record_etag: &str) -> Option<String> {
    Some(parse(record_etag)?.mapped(map.fingerprint.tag_part()).to_header())
}

/// As [`document_etag`]; `None` if the tag is not one of this record.
#[must_use]
pub fn model_etag(map: &SystemMap, id: &RecordId, record_etag: &str) -> Option<String> {
    parse(record_etag)?.version_for(&map.system, id)?;
    document_etag(map, record_etag)
}

fn parse(etag: &str) -> Option<EntityTag> {
    let opaque = etag.strip_prefix('"')?.strip_suffix('"')?;
    Some(EntityTag::from_header(false, opaque))
}
