//! Which records the items of a batch name.

use crate::http::item_request::{PathParams, segment};
use crate::http::representation::Representation;
use crate::http::request_state::RequestState;
use crate::http::request_target::percent_decode;
use crate::record::RecordId;

use super::request::BatchItem;

/// The path of a route with its segments.
pub(super) fn fill(pattern: &str, params: &PathParams) -> String {
    let named = |part: &str| segment(params, part.strip_prefix('{')?.strip_suffix('}')?).map(str::to_owned);
    pattern.split('/').map(|part| named(part).unwrap_or_else(|| part.to_owned())).collect::<Vec<_>>().join("/")
}

/// The record of an item, however its id is spelled.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum RecordKey {
    Known(String, RecordId),
    /// The record that this item creates.
    CreatedBy(usize),
}

pub(super) fn record_keys(state: &RequestState, items: &[BatchItem]) -> Vec<Option<RecordKey>> {
    let mut keys: Vec<Option<RecordKey>> = Vec::with_capacity(items.len());
    for item in items {
        let of = |name: &str| segment(&item.params, name);
        let key = match (item.record_of, of("id")) {
            (Some(earlier), _) => keys.get(earlier).cloned().flatten().or(Some(RecordKey::CreatedBy(earlier))),
            (None, Some(id)) => of("system").and_then(|system| known_record(state, system, of("model"), id)),
            (None, None) => None,
        };
        keys.push(key);
    }
    keys
}

/// Whether two ids name one record of the system, and of the model, in these segments of a path.
pub(super) fn is_same_record(state: &RequestState, params: &PathParams, one: &str, other: &str) -> bool {
    let system = segment(params, "system").unwrap_or_default();
    let known = |id| known_record(state, system, segment(params, "model"), id);
    one == other || known(one).is_some_and(|one| known(other) == Some(one))
}

/// `None` for an id that no record has: such an item fails whatever runs beside it.
fn known_record(state: &RequestState, system: &str, model: Option<&str>, id: &str) -> Option<RecordKey> {
    let system = state.api.find_system(&percent_decode(system, "path").ok()?).ok()?;
    let model = percent_decode(model.unwrap_or_default(), "path").ok()?;
    let representation = Representation::of_model(&state.api, &model, system).ok()?;
    let id = representation.record_id(system, &percent_decode(id, "path").ok()?).ok()?;
    Some(RecordKey::Known(system.name.as_str().to_owned(), id))
}
