//! The rows in Dataverse's responses, as pure functions.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::record::{RawJson, RawObject, VendorError, VendorRecord, Version};
use crate::vendors::common::{parse_guid, parse_object, unparseable_response, utf8};

/// Every annotation has it in its name, and no column has.
const ANNOTATION: char = '@';
const ETAG: &str = "@odata.etag";
/// A longer validator is none.
const MAX_ETAG: usize = 256;

/// A row in a response.
pub(super) struct Row {
    /// The primary key, if the response shows it.
    pub(super) key: Option<String>,
    /// The columns without the primary key; without a version if the response shows none.
    pub(super) record: VendorRecord,
}

/// How the primary key of a table's rows is found.
#[derive(Clone, Copy, Debug)]
pub(super) enum PrimaryKey<'k> {
    /// It is the column of this name.
    Named(&'k str),
    /// The table's description is not available. It is the column that is named after the set, or
    /// else the only one that may be one; with the key of the row, where that is known.
    Guessed { set: &'k str, key: Option<&'k str> },
}

impl PrimaryKey<'_> {
    /// Whether a member has the name that the primary key has, or should have.
    pub(super) fn is_column(&self, name: &str) -> bool {
        match self {
            Self::Named(column) => *column == name,
            Self::Guessed { set, .. } => guess_key_column(set) == name,
        }
    }
}

/// Parses the row of a response.
pub(super) fn parse_row(body: &Bytes, primary: PrimaryKey<'_>) -> Result<Row, VendorError> {
    read_row(parse_object(body)?, primary)
}

/// Reads a row.
pub(super) fn read_row(mut members: RawObject, primary: PrimaryKey<'_>) -> Result<Row, VendorError> {
    let name = find_key_column(&members, primary);
    let key = name.as_deref().and_then(|name| members.get(name)).and_then(RawJson::to_text);
    let key = key.and_then(|text| parse_guid(&text));
    let version = match members.get(ETAG).and_then(RawJson::to_text) {
        None => None,
        Some(etag) if is_etag(&etag) => Some(Version::Text(etag.into())),
        Some(_) => return Err(unparseable_response("an @odata.etag that is not an entity tag")),
    };
    members.retain(|member| !member.contains(ANNOTATION) && name.as_deref() != Some(member));
    Ok(Row { key, record: VendorRecord { fields: members, version, warnings: Vec::new() } })
}

/// The vendor's validators are weak (`W/"12345"`) and compared for equality alone.
fn is_etag(text: &str) -> bool {
    let opaque = text.strip_prefix("W/").unwrap_or(text);
    let is_quoted = opaque.len() >= 2 && opaque.starts_with('"') && opaque.ends_with('"');
    is_quoted && text.len() <= MAX_ETAG && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn find_key_column(members: &RawObject, primary: PrimaryKey<'_>) -> Option<String> {
    let (set, key) = match primary {
        PrimaryKey::Named(name) => return Some(name.to_owned()),
        PrimaryKey::Guessed { set, key } => (set, key),
    };
    let fits = |value: &RawJson| {
        let guid = value.to_text().and_then(|text| parse_guid(&text));
        guid.is_some_and(|guid| key.is_none_or(|key| guid == key))
    };
    let candidates = members.iter().filter(|(name, value)| {
        name.ends_with("id") && !name.starts_with('_') && !name.contains(ANNOTATION) && fits(value)
    });
    let mut names: Vec<&str> = candidates.map(|(name, _)| name).collect();
    let guess = guess_key_column(set);
    // Activities of every kind share a key column (VENDOR).
    names.sort_by_key(|name| (*name != guess, *name != "activityid"));
    names.first().map(|name| (*name).to_owned())
}

/// The key column of a set whose table is not known: `accounts` → `accountid` (INFERRED from the
/// standard tables).
pub(super) fn guess_key_column(set: &str) -> String {
    let singular = match set {
        _ if set.ends_with("ies") => [set.trim_end_matches("ies"), "y"].concat(),
        _ if set.ends_with("sses") || set.ends_with("xes") => set.trim_end_matches("es").to_owned(),
        _ => set.strip_suffix('s').unwrap_or(set).to_owned(),
    };
    singular + "id"
}

/// A page of rows, which are not parsed yet.
pub(super) struct Page {
    pub(super) rows: Vec<RawJson>,
    pub(super) next_link: Option<String>,
}

/// Parses a page: `{"value": […], "@odata.nextLink": "…"}`.
pub(super) fn parse_page(body: &Bytes) -> Result<Page, VendorError> {
    #[derive(Deserialize)]
    struct PageBody<'r> {
        #[serde(borrow)]
        value: Vec<&'r RawValue>,
        #[serde(rename = "@odata.nextLink")]
        next_link: Option<String>,
    }
    let text = utf8(body)?;
    let page: PageBody<'_> = serde_json::from_str(&text).map_err(unparseable_response)?;
    let rows = page.value.into_iter().map(|row| RawJson::slice_of(&text, row)).collect();
    Ok(Page { rows, next_link: page.next_link })
}
