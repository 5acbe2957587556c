//! What a map looks up by name, made once when the map is built.

use foldhash::HashMap;

use super::field::Field;
use super::place::Place;

/// The entries of a map by the names of the record and of the model. Entries are named by their
/// position.
#[derive(Clone, Debug, PartialEq)]
pub struct MapIndex {
    /// By the member of the record that the entry's place is, or is in.
    by_member: HashMap<String, Vec<usize>>,
    fields: FieldGroup,
}

/// The names of a model's fields at one level.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct FieldGroup(HashMap<String, FieldNode>);

/// What a name of a model is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FieldNode {
    /// The field of this entry.
    Kept(usize),
    /// A field that the system does not keep.
    Missing,
    /// An object of fields.
    Group(FieldGroup),
}

impl MapIndex {
    /// The index of a map with entries of these fields and places, which does not keep the fields
    /// `missing`.
    #[must_use]
    pub fn new<'e>(entries: impl IntoIterator<Item = (&'e Field, &'e Place)>, missing: &[Field]) -> Self {
        let mut by_member: HashMap<String, Vec<usize>> = HashMap::default();
        let mut fields = FieldGroup::default();
        for (index, (field, place)) in entries.into_iter().enumerate() {
            by_member.entry(place.member().to_owned()).or_default().push(index);
            fields.add(&field.path, FieldNode::Kept(index));
        }
        for field in missing {
            fields.add(&field.path, FieldNode::Missing);
        }
        Self { by_member, fields }
    }

    /// The entries whose place is this member of the record, or in it.
    pub(super) fn entries_in(&self, member: &str) -> &[usize] {
        self.by_member.get(member).map(Vec::as_slice).unwrap_or_default()
    }

    /// The model's fields.
    pub(super) fn fields(&self) -> &FieldGroup {
        &self.fields
    }
}

impl FieldGroup {
    /// What a name is; `None` if no field has it.
    pub(super) fn get(&self, name: &str) -> Option<&FieldNode> {
        self.0.get(name)
    }

    fn add(&mut self, path: &[String], node: FieldNode) {
        let Some((name, below)) = path.split_first() else { return };
        if below.is_empty() {
            self.0.insert(name.clone(), node);
            return;
        }
        let group = self.0.entry(name.clone()).or_insert_with(|| FieldNode::Group(Self::default()));
        if let FieldNode::Group(group) = group {
            group.add(below, node);
        }
    }
}
