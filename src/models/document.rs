//! A record in the words of a model. What no codec reads stays text.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::place::get_below;
use super::system_map::{Decoded, MapEntry, SystemMap, put, remove};
use crate::record::{JsonObjectWriter, RawJson, RawObject};

/// A record in the words of a model.
#[derive(Debug)]
pub struct Document<'r> {
    map: &'r SystemMap,
    record: &'r RawObject,
    /// What each entry of the map reads; `None` where the record has nothing at its place.
    read: Vec<Option<FieldRead<'r>>>,
    /// What each member of the record leaves to `vendor`.
    rest: Vec<Rest>,
}

/// What an entry of the map reads.
#[derive(Debug)]
enum FieldRead<'r> {
    /// The vendor's text, which is the model's, too.
    Unchanged(&'r RawJson),
    Decoded(Decoded<'r>),
}

/// What the fields leave of a member of the record.
#[derive(Debug)]
enum Rest {
    /// All of it.
    Whole,
    /// A part.
    Part(Value),
    /// Nothing.
    Nothing,
}

/// The two members of a document that can be patched, parsed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct DocumentMembers {
    /// The mapped fields that can be read.
    pub fields: Map<String, Value>,
    /// All that no field shows.
    pub vendor: Map<String, Value>,
}

impl<'r> Document<'r> {
    /// The document of a record's `fields`.
    #[must_use]
    pub fn new(map: &'r SystemMap, record: &'r RawObject) -> Self {
        let mut read: Vec<Option<FieldRead<'r>>> = map.entries.iter().map(|_| None).collect();
        let mut rest = Vec::with_capacity(record.len());
        for (name, value) in record.iter() {
            rest.push(match map.index.entries_in(name) {
                [] => Rest::Whole,
                entries => read_member(map, entries, value, &mut read),
            });
        }
        Self { map, record, read, rest }
    }

    /// Writes the members of `fields`. A field that a partial record does not show may still have a
    /// value, and is left out.
    #[must_use]
    pub fn write_fields(&self, object: JsonObjectWriter, is_partial: bool) -> JsonObjectWriter {
        let mut members = Vec::with_capacity(self.read.len());
        for (entry, read) in self.map.entries.iter().zip(&self.read) {
            let node = match read {
                Some(FieldRead::Unchanged(text)) => OutputNode::Text(text),
                Some(FieldRead::Decoded(Decoded::Unreadable(_))) => continue,
                Some(FieldRead::Decoded(Decoded::Value(value))) => OutputNode::Value(value),
                None if is_partial => OutputNode::Nothing,
                None | Some(FieldRead::Decoded(Decoded::Unset)) => OutputNode::Value(&Value::Null),
            };
            add_node(&mut members, &entry.field.path, node);
        }
        write_nodes(object, &members)
    }

    /// Writes the members of `vendor`, in the order of the record.
    #[must_use]
    pub fn write_vendor(&self, object: JsonObjectWriter) -> JsonObjectWriter {
        self.record.iter().zip(&self.rest).fold(object, |object, ((name, value), rest)| match rest {
            Rest::Whole => object.raw(name, value.normalized().as_str()),
            Rest::Part(left) => object.value(name, left),
            Rest::Nothing => object,
        })
    }

    /// The entries that cannot be read, and why.
    pub fn unreadable(&self) -> impl Iterator<Item = (&'r MapEntry, &str)> {
        self.map.entries.iter().zip(&self.read).filter_map(|(entry, read)| match read {
            Some(FieldRead::Decoded(Decoded::Unreadable(why))) => Some((entry, why.as_str())),
            _ => None,
        })
    }

    /// The members that can be patched, parsed.
    pub(super) fn into_members(self) -> DocumentMembers {
        let mut members = DocumentMembers::default();
        for (entry, read) in self.map.entries.iter().zip(self.read) {
            let value = match read {
                Some(FieldRead::Decoded(Decoded::Unreadable(_))) => continue,
                Some(FieldRead::Unchanged(text)) => text.value().unwrap_or_default(),
                Some(FieldRead::Decoded(Decoded::Value(value))) => value.into_owned(),
                None | Some(FieldRead::Decoded(Decoded::Unset)) => Value::Null,
            };
            put(&mut members.fields, &entry.field.path, value);
        }
        for ((name, value), rest) in self.record.iter().zip(self.rest) {
            let left = match rest {
                Rest::Whole => value.value().unwrap_or_default(),
                Rest::Part(left) => left,
                Rest::Nothing => continue,
            };
            members.vendor.insert(name.to_owned(), left);
        }
        members
    }
}

/// Reads the entries with places in a member, and returns what they leave of it.
fn read_member<'r>(
    map: &'r SystemMap,
    entries: &[usize],
    value: &'r RawJson,
    read: &mut [Option<FieldRead<'r>>],
) -> Rest {
    if let [index] = entries
        && map.entries.get(*index).is_some_and(|entry| entry.is_unchanged(value))
        && let Some(read) = read.get_mut(*index)
    {
        *read = Some(FieldRead::Unchanged(value));
        return Rest::Nothing;
    }
    let mut left = value.value().unwrap_or_default();
    for index in entries {
        let (Some(entry), Some(read)) = (map.entries.get(*index), read.get_mut(*index)) else { continue };
        if entry.place.is_member() {
            let decoded = entry.decode(Some(Cow::Owned(left)));
            let is_unreadable = matches!(decoded, Decoded::Unreadable(_));
            *read = Some(FieldRead::Decoded(decoded));
            return if is_unreadable { Rest::Whole } else { Rest::Nothing };
        }
        // No place is in another one, so that the places removed so far do not matter.
        let decoded = entry.decode_below(&left);
        if matches!(decoded, Some(Decoded::Unset | Decoded::Value(_))) {
            remove_below(&mut left, entry.place.below());
        }
        *read = decoded.map(FieldRead::Decoded);
    }
    Rest::Part(left)
}

impl MapEntry {
    /// Reads the value at the entry's place in a member of the record; `None` if there is none.
    fn decode_below(&self, member: &Value) -> Option<Decoded<'static>> {
        if self.place.is_blocked_in(Some(member)) {
            return Some(Decoded::Unreadable(super::system_map::BLOCKED.to_owned()));
        }
        let value = get_below(member, self.place.below())?;
        Some(self.decode(Some(Cow::Borrowed(value))).into_owned())
    }
}

/// Removes the value at a path below another one, and leaves the objects around it.
fn remove_below(value: &mut Value, path: &[String]) {
    if let Value::Object(members) = value {
        remove(members, path);
    }
}

/// A name of a document's `fields` as it is written.
enum OutputNode<'d> {
    /// A text of the record.
    Text(&'d RawJson),
    Value(&'d Value),
    /// Nothing, in an object that is shown all the same.
    Nothing,
    Group(Vec<(&'d str, OutputNode<'d>)>),
}

/// Adds a node at a path. An object stands where its first member does.
fn add_node<'d>(members: &mut Vec<(&'d str, OutputNode<'d>)>, path: &'d [String], node: OutputNode<'d>) {
    let Some((name, below)) = path.split_first() else { return };
    if below.is_empty() {
        members.push((name, node));
        return;
    }
    let is_group = |(other, node): &(&str, OutputNode<'_>)| *other == name && matches!(node, OutputNode::Group(_));
    let position = members.iter().position(is_group).unwrap_or_else(|| {
        members.push((name, OutputNode::Group(Vec::new())));
        members.len() - 1
    });
    if let Some((_, OutputNode::Group(group))) = members.get_mut(position) {
        add_node(group, below, node);
    }
}

fn write_nodes(object: JsonObjectWriter, members: &[(&str, OutputNode<'_>)]) -> JsonObjectWriter {
    members.iter().fold(object, |object, (name, node)| match node {
        OutputNode::Text(text) => object.raw(name, text.as_str()),
        OutputNode::Value(value) => object.value(name, value),
        OutputNode::Nothing => object,
        OutputNode::Group(group) => object.object(name, |object| write_nodes(object, group)),
    })
}
