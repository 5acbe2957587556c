//! Entity tags of a model's documents: the record's version with the map's fingerprint.

use super::system_map::SystemMap;
use crate::record::{EntityTag, RecordId};

/// The tag of the document whose record has this tag (both as header values); `None` if it is no
/// tag of this record.
#[must_use]
pub fn model_etag(map: &SystemMap, id: &RecordId, record_etag: &str) -> Option<String> {
    let opaque = record_etag.strip_prefix('"')?.strip_suffix('"')?;
    let tag = EntityTag::from_header(false, opaque);
    tag.version_for(&map.system, id)?;
    Some(tag.mapped(&map.tag_part()).to_header())
}
