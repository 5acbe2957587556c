//! The calls that describe Data Definitions.

use super::column_cache::lacks_description;
use super::protocol::{class_list_request, schema_list_request, schema_request};
use super::schema::{parse_class_names, parse_schema};
use crate::record::{RecordId, VendorError};
use crate::transport::Transport;
use crate::vendors::common::{load_within_limit, unparseable_response};
use crate::vendors::schema::{CollectionInfo, CollectionList, RecordSchema};

/// The Data Definitions that the server names. No page of the vendor documents the call, so a
/// server without it, or one that does not answer it in time, names none, and the list is never
/// complete.
pub(super) async fn load_collections(transport: &dyn Transport) -> Result<CollectionList, VendorError> {
    let names = match load_within_limit(transport.send(class_list_request())).await {
        Ok(response) => parse_class_names(&response.body).unwrap_or_default(),
        Err(fault) if lacks_description(&fault) => Vec::new(),
        Err(fault) => return Err(fault),
    };
    let to_info = |name: String| CollectionInfo { title: name.clone(), collection: name, records: None };
    Ok(CollectionList { items: names.into_iter().map(to_info).collect(), complete: false })
}

/// The attributes of a Data Definition. A list may describe only the columns that it shows, which
/// are the ids; then the first fragment is described.
pub(super) async fn load_schema(transport: &dyn Transport, definition: &str) -> Result<RecordSchema, VendorError> {
    let response = transport.send(schema_list_request(definition)).await?;
    let (schema, first) = parse_schema(definition, &response.body)?;
    if !schema.fields.is_empty() {
        return Ok(schema);
    }
    let first = first.ok_or_else(|| unparseable_response("a description without attributes"))?;
    let response = transport.send(schema_request(&RecordId::new(definition, &first))).await?;
    let (schema, _) = parse_schema(definition, &response.body)?;
    if schema.fields.is_empty() {
        return Err(unparseable_response("a description without attributes"));
    }
    Ok(schema)
}
