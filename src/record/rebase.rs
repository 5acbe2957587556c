//! Whether a change that was made for one state of a record may be applied to a later state of it
//! (contract 4.2). This is a pure comparison of places; `writes/plan` applies the patch.
//!
//! A place is a JSON Pointer into the record. The entries of a map are places of their own; an
//! array, and a value whose type has changed, is one place.

use std::collections::BTreeSet;
use std::ops::Bound;

use serde_json::{Map, Value};

use super::diff::diff;
use super::json_pointer::{json_pointer, pointer_is_within};

#[cfg(test)]
mod tests;

/// How a change of one state of a record meets a later state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebase {
    /// The places where the later state differs.
    pub moved: Vec<String>,
    /// Those of them that the change touches, and the tag if the change relies on it. The change
    /// may be applied to the later state if there are none.
    pub overlap: Vec<String>,
}

/// Compares the places that a change touches with those that have moved between `base` and `now`,
/// two states of `fields`. `together` are groups of members of `fields`: who touches one of a group
/// touches all of it.
///
/// A touched place overlaps a moved one that is equal to it, above it or below it.
#[must_use]
pub fn rebase(
    base: &Map<String, Value>,
    now: &Map<String, Value>,
    touched: impl IntoIterator<Item = String>,
    together: &[Vec<String>],
) -> Rebase {
    let mut moved: Vec<String> = diff(base, now).into_iter().map(|change| change.pointer).collect();
    moved.sort_unstable();
    moved.dedup();
    // The tag of a state that is no longer current has moved.
    let places: BTreeSet<&str> = moved.iter().map(String::as_str).chain(["/etag"]).collect();
    let mut overlap = BTreeSet::new();
    for place in touched {
        let group = together.iter().filter(|group| group.iter().any(|name| is_at_or_below(&place, name)));
        for name in group.flatten() {
            collect_overlap(&places, &json_pointer("/fields", &[name]), &mut overlap);
        }
        collect_overlap(&places, &place, &mut overlap);
    }
    let overlap = overlap.into_iter().map(str::to_owned).collect();
    Rebase { moved, overlap }
}

/// Whether a place is this member of `fields` or lies below it.
fn is_at_or_below(place: &str, member: &str) -> bool {
    pointer_is_within(place, &json_pointer("/fields", &[member]))
}

/// Adds those of `places` that are equal to `touched`, above it or below it.
fn collect_overlap<'p>(places: &BTreeSet<&'p str>, touched: &str, overlap: &mut BTreeSet<&'p str>) {
    let above = touched.match_indices('/').filter_map(|(end, _)| touched.get(..end));
    overlap.extend(above.chain([touched]).filter_map(|place| places.get(place)));
    let below = [touched, "/"].concat();
    let from_below = (Bound::Included(below.as_str()), Bound::Unbounded);
    overlap.extend(places.range::<str, _>(from_below).take_while(|place| place.starts_with(&below)));
}
