//! What a vendor can do, as data.

use super::schema::SchemaSource;
use crate::record::Action;

/// What an update does to the members that it does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateStyle {
    /// It keeps them. This holds for the members of `fields`; nested values are replaced.
    Partial,
    /// It removes them.
    Replace,
}

impl UpdateStyle {
    /// Every style.
    pub const ALL: [Self; 2] = [Self::Partial, Self::Replace];

    /// The word in `GET /systems/{system}`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Partial => "partial",
            Self::Replace => "replace",
        }
    }
}

/// When a read shows the effect of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// As soon as the vendor has responded.
    Now,
    /// Some time after the vendor has responded.
    Queued,
}

/// Data that a vendor is documented to destroy although the caller did not touch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DataLoss {
    /// The name in `Accept-Loss`, problems, warnings, the ledger and metrics.
    pub name: &'static str,
    /// What is destroyed, as a phrase for the caller.
    pub detail: &'static str,
    /// The actions that may destroy it.
    pub actions: &'static [Action],
    /// Whether only the caller may accept the loss, whatever `on_lossy_write` is set to.
    pub caller_must_accept: bool,
}

/// The members that a list can be filtered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filterable {
    /// Every member of the collection's schema.
    Any,
    /// These.
    Only(&'static [&'static str]),
}

impl Filterable {
    /// The members, or `*` for all.
    #[must_use]
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Any => &["*"],
            Self::Only(names) => names,
        }
    }

    /// Whether a list can be filtered by a member of the schema.
    #[must_use]
    pub fn allows(self, member: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(names) => names.contains(&member),
        }
    }
}

/// What a vendor can do. `GET /systems/{system}` shows it, but for `version_is_sequence`,
/// `ids_are_timestamped`, `ignores_case` and `schema_source`, which only the gateway needs.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that a vendor does or does not")]
pub struct Capabilities {
    /// The vendor's name in `vendor = "…"`.
    pub vendor: &'static str,
    /// The form of a record id, for people: `{collection}:{key}` and what each part is.
    pub id_form: &'static str,
    /// An id of that form.
    pub id_example: &'static str,
    /// The actions before which the vendor compares versions: compare-and-swap. Before all others
    /// the gateway compares under a lease. A collection may be an exception; see
    /// [`Adapter::compares`](super::Adapter::compares).
    pub compares: &'static [Action],
    /// Whether the vendor calls its versions weak: some values that it shows may change without
    /// them.
    pub has_weak_versions: bool,
    /// What an update does to the members that it does not name.
    pub update_style: UpdateStyle,
    /// The actions that the vendor has.
    pub actions: &'static [Action],
    /// Everything that a write may destroy although the caller did not touch it.
    pub losses: &'static [DataLoss],
    /// Whether each change increments the version by one, so that the next version is known.
    pub version_is_sequence: bool,
    /// Whether an id contains the time of the record's creation; see
    /// [`Adapter::created_at`](super::Adapter::created_at).
    pub ids_are_timestamped: bool,
    /// Whether list items are complete records with the tag that a GET returns.
    pub list_is_complete: bool,
    /// The members that a list can be filtered by.
    pub filters: Filterable,
    /// Whether the vendor reads the names of members in any case.
    pub ignores_case: bool,
    /// Where the fields of records are described.
    pub schema_source: SchemaSource,
}
