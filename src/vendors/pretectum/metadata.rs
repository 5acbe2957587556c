//! The calls that describe datasets and schemas.

use serde::Deserialize;

use super::schema::{
    Area, Dataset, SchemaSummary, areas_path, datasets_path, metadata_request, parse_page, parse_schema, schema_path,
    schemas_path, to_collection,
};
use crate::record::VendorError;
use crate::transport::Transport;
use crate::vendors::common::unparseable_response;
use crate::vendors::schema::{CollectionList, RecordSchema};

/// More pages than any of these lists has.
const MAX_PAGES: usize = 1000;

/// Every dataset of every schema of every business area.
pub(super) async fn load_collections(transport: &dyn Transport) -> Result<CollectionList, VendorError> {
    let mut items = Vec::new();
    for area in load_all::<Area>(transport, areas_path()).await? {
        let schemas = load_all::<SchemaSummary>(transport, schemas_path(&area.id)).await?;
        for schema in schemas.iter().filter(|schema| !schema.deleted) {
            let datasets = load_all::<Dataset>(transport, datasets_path(&area.id, &schema.id)).await?;
            let active = datasets.iter().filter(|dataset| !dataset.deleted);
            items.extend(active.map(|dataset| to_collection(&area, schema, dataset)));
        }
    }
    Ok(CollectionList { items, complete: true })
}

/// The schema of a dataset.
pub(super) async fn load_schema(transport: &dyn Transport, collection: &str) -> Result<RecordSchema, VendorError> {
    let mut parts = collection.split(':');
    let (area, schema) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let response = transport.send(metadata_request(schema_path(area, schema), None)).await?;
    parse_schema(&response.body)
}

async fn load_all<T: for<'de> Deserialize<'de>>(
    transport: &dyn Transport,
    path: String,
) -> Result<Vec<T>, VendorError> {
    let mut all = Vec::new();
    let mut page_key: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let response = transport.send(metadata_request(path.clone(), page_key.as_deref())).await?;
        let page = parse_page::<T>(&response.body)?;
        all.extend(page.items);
        match page.next_page_key {
            None => return Ok(all),
            repeated if repeated == page_key => return Err(unparseable_response("a list that repeats a page")),
            next => page_key = next,
        }
    }
    Err(unparseable_response("a list with too many pages"))
}
