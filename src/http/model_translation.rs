//! What responses say of a record, in the words of a model; and the tags of requests, in those of
//! the record.

use actix_web::http::header::{HeaderMap, IF_MATCH};

use super::headers;
use super::model_document;
use crate::models::{SystemMap, model_etag};
use crate::problem::{Problem, ProblemKind};
use crate::record::{EntityTag, Precondition, RecordId};
use crate::writes::Preview;

/// Translates a preview of a record, which has no id before it is made.
pub(super) fn translate_preview(map: &SystemMap, id: Option<&RecordId>, preview: &mut Preview) {
    let to_model = |etag: &str| model_etag(map, id?, etag);
    preview.based_on = preview.based_on.as_deref().and_then(to_model);
    for change in &mut preview.changes {
        model_document::translate_change(map, change);
    }
    for warning in &mut preview.warnings {
        translate_pointer(map, &mut warning.pointer);
        warning.onto = warning.onto.as_deref().and_then(to_model);
        for pointer in &mut warning.moved {
            translate_pointer(map, pointer);
        }
    }
}

fn translate_pointer(map: &SystemMap, pointer: &mut String) {
    if let Some((translated, _)) = map.translate(pointer) {
        *pointer = translated;
    }
}

/// Translates what a problem says of the record; its errors are translated apart.
pub(super) fn translate_problem(map: &SystemMap, problem: &mut Problem, id: Option<&RecordId>, headers: &HeaderMap) {
    for pointer in problem.changed.iter_mut().chain(&mut problem.overlap) {
        translate_pointer(map, pointer);
    }
    problem.current_etag = problem.current_etag.as_deref().and_then(|etag| model_etag(map, id?, etag));
    if problem.kind == ProblemKind::PreconditionFailed
        && let Ok(Some(Precondition::AnyOf(tags))) = headers::parse_precondition(headers, &IF_MATCH)
        && let Some(detail) = foreign_tag_detail(map, &tags)
    {
        problem.detail = detail;
        problem.changed.clear();
        problem.is_foreign_tag = true;
    }
}

/// The precondition in tags of records. A tag of another representation becomes one that no record
/// has.
pub(super) fn to_record_tags(map: &SystemMap, given: Precondition) -> Precondition {
    let Precondition::AnyOf(tags) = &given else { return given };
    let part = map.fingerprint.tag_part();
    let to_record = |tag: &EntityTag| match tag.split_mapped() {
        Some((record, of_map)) if of_map == part => record,
        _ => EntityTag::from_header(false, "of-no-record"),
    };
    Precondition::AnyOf(tags.iter().map(to_record).collect())
}

/// Why none of these tags can match, where that is so because of the model.
fn foreign_tag_detail(map: &SystemMap, tags: &[EntityTag]) -> Option<String> {
    let part = map.fingerprint.tag_part();
    let is_own = |tag: &EntityTag| tag.split_mapped().is_some_and(|(_, of_map)| of_map == part);
    if tags.iter().any(|tag| is_own(tag) || tag.to_header().starts_with("W/")) {
        return None;
    }
    let whose = if tags.iter().any(|tag| tag.split_mapped().is_some()) {
        "another model, or of a map that has changed since"
    } else {
        "no document of this model; a tag of /records is one of the record alone"
    };
    Some(format!(
        "This is the tag of {whose}. Send the ETag of a GET of this record at /models/{}/{}.",
        map.model, map.system
    ))
}
