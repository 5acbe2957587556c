//! The fragments in Matrix42's responses, as pure functions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::protocol::{is_column, is_reserved};
use crate::record::{RawJson, RawObject, VendorError, VendorRecord, Version};
use crate::vendors::common::{parse_guid, parse_object, text_member, unparseable_response, utf8};

/// A fragment in a response.
pub(super) struct Fragment {
    /// `ID`, in lower case.
    pub(super) id: Option<String>,
    /// The other members; without a version if the response holds no `TimeStamp`.
    pub(super) record: VendorRecord,
}

/// Parses the fragment of a response.
pub(super) fn parse_fragment(body: &Bytes) -> Result<Fragment, VendorError> {
    read_fragment(parse_object(body)?, None)
}

/// Parses a page: an array of fragments. Of each fragment only `columns` are kept, because lists
/// add members of their own.
pub(super) fn parse_page(body: &Bytes, columns: Option<&[String]>) -> Result<Vec<Fragment>, VendorError> {
    let rows = RawObject::parse_array(body).map_err(unparseable_response);
    let read = rows.and_then(|rows| rows.into_iter().map(|row| read_fragment(row, columns)).collect());
    read.or_else(|fault| parse_page_by_row(body, columns, fault))
}

/// Parses a page row by row, because one of them cannot be read.
fn parse_page_by_row(
    body: &Bytes,
    columns: Option<&[String]>,
    fault: VendorError,
) -> Result<Vec<Fragment>, VendorError> {
    let text = utf8(body)?;
    let Ok(rows) = serde_json::from_str::<Vec<&RawValue>>(&text) else { return Err(fault) };
    let read_row = |row: &RawValue| {
        let row = RawJson::slice_of(&text, row);
        let read = row.to_object().map_err(unparseable_response).and_then(|members| read_fragment(members, columns));
        read.or_else(|fault| {
            let id = text_member(&row, |name| name.eq_ignore_ascii_case("ID")).and_then(|text| parse_guid(&text));
            let record = VendorRecord::unreadable(&fault);
            id.map(|id| Fragment { id: Some(id), record }).ok_or(fault)
        })
    };
    rows.into_iter().map(read_row).collect()
}

fn read_fragment(mut members: RawObject, columns: Option<&[String]>) -> Result<Fragment, VendorError> {
    let (mut id, mut version) = (None, None);
    for (name, value) in members.iter() {
        if name.eq_ignore_ascii_case("ID") {
            set_once(&mut id, parse_id(value)?)?;
        } else if name.eq_ignore_ascii_case("TimeStamp") && value.as_str() != "null" {
            set_once(&mut version, Version::RowVersion(parse_row_version(value)?))?;
        }
    }
    members
        .retain(|name| !is_reserved(name) && columns.is_none_or(|columns| columns.iter().any(|column| column == name)));
    Ok(Fragment { id, record: VendorRecord { fields: members, version, warnings: Vec::new() } })
}

fn set_once<T>(slot: &mut Option<T>, value: T) -> Result<(), VendorError> {
    if slot.replace(value).is_some() {
        return Err(unparseable_response("ID or TimeStamp occurs twice in one fragment"));
    }
    Ok(())
}

fn parse_id(value: &RawJson) -> Result<String, VendorError> {
    let id = value.to_text().and_then(|text| parse_guid(&text));
    id.ok_or_else(|| unparseable_response("an ID that is not a GUID"))
}

/// `TimeStamp`: a row version of SQL Server, 8 opaque bytes in base64.
fn parse_row_version(value: &RawJson) -> Result<[u8; 8], VendorError> {
    let bytes = value.to_text().and_then(|text| BASE64.decode(text).ok()).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| unparseable_response("a TimeStamp that is not 8 bytes in base64"))
}

/// The members that a GET of a fragment shows, from a response of `schema-info` (`{Result: {…},
/// Schema: […]}`) or of the GET itself. `None` if lists cannot request one of them as a column.
pub(super) fn parse_column_names(body: &Bytes) -> Result<Option<Vec<String>>, VendorError> {
    let members = parse_object(body)?;
    let names: Vec<String> = match (members.get("Result"), members.get("Schema")) {
        (Some(result), Some(_)) if result.is_object() => {
            result.to_object().map_err(unparseable_response)?.names().map(str::to_owned).collect()
        }
        (Some(_), Some(schema)) => {
            let columns: Vec<Map<String, Value>> =
                serde_json::from_str(schema.as_str()).map_err(unparseable_response)?;
            columns.iter().filter_map(|column| column.get("ColumnName")?.as_str().map(str::to_owned)).collect()
        }
        _ => members.names().map(str::to_owned).collect(),
    };
    let names: Vec<String> = names.into_iter().filter(|name| !is_reserved(name)).collect();
    Ok((names.iter().all(|name| is_column(name)) && !names.is_empty()).then_some(names))
}
