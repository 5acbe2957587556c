//! The columns of lists: a list shows only the columns that it names.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

use super::fragment;
use super::page_cursor::Cursor;
use super::protocol::{self, Columns};
use crate::record::{RecordId, VendorError, VendorErrorKind};
use crate::transport::{Transport, VendorRequest, VendorRequestKind, VendorResponse};
use crate::vendors::common::{SLOW_DESCRIPTION_TTL, load_within_limit};
use crate::vendors::filter::FieldFilter;

/// How many Data Definitions' columns are cached, and for how long.
const MAX_CACHED_DEFINITIONS: u64 = 256;
const COLUMNS_TTL: Duration = Duration::from_mins(10);
/// The web server may reject a longer query before the vendor reads it (IIS allows 2048 bytes).
const MAX_SAFE_QUERY_LEN: usize = 2000;

/// The columns of each Data Definition.
pub(super) struct ColumnCache {
    columns: Cache<String, Arc<[String]>>,
    /// The Data Definitions whose lists reject the column `TimeStamp`: their items carry no tags.
    versionless: Cache<String, ()>,
    /// The Data Definitions that the vendor did not describe in time a moment ago.
    slow: Cache<String, ()>,
}

impl Default for ColumnCache {
    fn default() -> Self {
        let columns = Cache::builder().max_capacity(MAX_CACHED_DEFINITIONS).time_to_live(COLUMNS_TTL).build();
        let versionless = Cache::builder().max_capacity(MAX_CACHED_DEFINITIONS).time_to_live(COLUMNS_TTL).build();
        let slow = Cache::builder().max_capacity(MAX_CACHED_DEFINITIONS).time_to_live(SLOW_DESCRIPTION_TTL).build();
        Self { columns, versionless, slow }
    }
}

impl ColumnCache {
    /// Remembers the columns of a Data Definition.
    #[cfg(test)]
    pub(super) async fn insert(&self, definition: &str, names: [&str; 2]) {
        self.columns.insert(definition.to_owned(), names.map(str::to_owned).into()).await;
    }

    /// The columns of a complete list item; `None` if they cannot be determined.
    pub(super) async fn load(
        &self,
        transport: &dyn Transport,
        definition: &str,
    ) -> Result<Option<Arc<[String]>>, VendorError> {
        if let Some(columns) = self.columns.get(definition).await {
            return Ok(Some(columns));
        }
        if self.slow.contains_key(definition) {
            return Ok(None);
        }
        let probe = self
            .list_with_version_fallback(transport, definition, &[], |columns| {
                protocol::list_request(definition, columns, 0, 1)
            })
            .await?;
        let first = fragment::parse_page(&probe.body, None)?.into_iter().next();
        let Some(key) = first.and_then(|fragment| fragment.id) else { return Ok(None) };
        let id = RecordId::new(definition, &key);
        let response = match load_within_limit(transport.send(protocol::schema_request(&id))).await {
            // The server lacks the call; the fragment itself shows the same names.
            Err(fault) if lacks_description(&fault) => {
                load_within_limit(transport.send(protocol::read_request(VendorRequestKind::Schema, &id))).await
            }
            result => result,
        };
        let names = match response {
            Ok(response) => fragment::parse_column_names(&response.body)?,
            Err(fault) if fault.kind == VendorErrorKind::Timeout => {
                self.slow.insert(definition.to_owned(), ()).await;
                None
            }
            Err(fault) if lacks_description(&fault) => None,
            Err(fault) => return Err(fault),
        };
        let names: Option<Arc<[String]>> = names.map(Into::into);
        if let Some(names) = &names {
            self.columns.insert(definition.to_owned(), Arc::clone(names)).await;
        }
        Ok(names)
    }

    /// Requests a list with versions or, once the Data Definition has rejected that column,
    /// without.
    pub(super) async fn list_with_version_fallback(
        &self,
        transport: &dyn Transport,
        definition: &str,
        names: &[String],
        request: impl Fn(&Columns<'_>) -> VendorRequest,
    ) -> Result<VendorResponse, VendorError> {
        let versions = !self.versionless.contains_key(definition);
        match transport.send(request(&Columns { names, versions })).await {
            Err(fault) if versions && protocol::rejects_version_column(&fault) => {
                self.versionless.insert(definition.to_owned(), ()).await;
                transport.send(request(&Columns { names, versions: false })).await
            }
            result => result,
        }
    }

    /// Requests a page with these columns or, if the vendor rejects one of them, with those that
    /// every fragment has.
    pub(super) async fn load_page(
        &self,
        transport: &dyn Transport,
        definition: &str,
        columns: &mut Option<Arc<[String]>>,
        filters: &[FieldFilter],
        cursor: &Cursor,
    ) -> Result<VendorResponse, VendorError> {
        let names = columns.clone().unwrap_or_default();
        let request = |columns: &Columns<'_>| {
            protocol::filter_list(protocol::list_request(definition, columns, cursor.page, cursor.size), filters)
        };
        let is_long = request(&Columns { names: &names, versions: true }).path.len() > MAX_SAFE_QUERY_LEN;
        match self.list_with_version_fallback(transport, definition, &names, request).await {
            Err(fault)
                if !names.is_empty()
                    && (fault.kind == VendorErrorKind::Rejected
                        || (is_long && fault.kind == VendorErrorKind::NotFound)) =>
            {
                self.columns.invalidate(definition).await;
                *columns = None;
                self.list_with_version_fallback(transport, definition, &[], request).await.map_err(as_read_fault)
            }
            result => result.map_err(as_read_fault),
        }
    }
}

/// Whether the vendor processed the request and describes nothing, or is too slow with it, as
/// opposed to a failure on the way.
pub(super) fn lacks_description(fault: &VendorError) -> bool {
    matches!(
        fault.kind,
        VendorErrorKind::NotFound
            | VendorErrorKind::Rejected
            | VendorErrorKind::ServerError
            | VendorErrorKind::InvalidResponse
            | VendorErrorKind::Forbidden
            | VendorErrorKind::Timeout
    )
}

/// A list carries no values of the caller that could be invalid.
pub(super) fn as_read_fault(mut fault: VendorError) -> VendorError {
    if fault.kind == VendorErrorKind::Rejected {
        fault.kind = VendorErrorKind::ServerError;
    }
    fault
}
