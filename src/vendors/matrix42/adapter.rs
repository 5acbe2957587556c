//! The adapter of Matrix42.
//!
//! A list returns only the columns that the request names. The vendor documents no way to list the
//! columns of a Data Definition, so the adapter uses the members of its first fragment and caches
//! them.

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

use std::sync::Arc;

use actix_web::http::header::HeaderValue;
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::access_token::{jwt_expiry, parse_access_token};
use super::column_cache::{ColumnCache, as_read_fault};
use super::fragment::{self, Fragment};
use super::metadata;
use super::page_cursor::Cursor;
use super::protocol::{self, Columns};
use crate::record::{Action, FieldError, RawJson, RawObject, RecordId, Secret, VendorError, VendorRecord, Version};
use crate::transport::{Token, Transport, VendorProtocol, VendorRequest, VendorRequestKind, VendorResponse};
use crate::vendors::adapter::{
    Adapter, CreatedRecord, ListItem, ListPage, PlannedRequest, UpdateInput, UpdateTerms, UpdatedRecord,
};
use crate::vendors::capabilities::{Capabilities, Filterable, UpdateStyle};
use crate::vendors::common::{
    MatchCollector, as_changes, find_respelled, invalid_cursor_fault, missing_id_fault, parse_guid, secret_header,
    unparseable_response,
};
use crate::vendors::factory::{
    AdapterFactory, InvalidSetting, SettingFormat, SettingSpec, VendorSamples, require_setting,
};
use crate::vendors::filter::{FieldFilter, all_match};
use crate::vendors::schema::{CollectionList, RecordSchema, SchemaSource};

/// The entry in the registry.
pub(in crate::vendors) const FACTORY: AdapterFactory = AdapterFactory {
    vendor: "matrix42",
    settings: &[SettingSpec::secret("api_token", "an API token, which is exchanged for access tokens")
        .format(SettingFormat::Header)],
    added_paths: &["/m42Services/api", "/m42Services"],
    collection_form: "a Data Definition's technical name, such as \"SPSScCategoryClassBase\"",
    is_collection: protocol::is_definition,
    is_hidden: protocol::is_reserved,
    samples: VendorSamples {
        title: "Matrix42",
        configuration: include_str!("example.toml"),
        patch_summary: "Two attributes of a fragment, one reset",
        patch: r#"{"fields":{"Description":"Facility Management","DefaultSubject":null}}"#,
        create_summary: "A fragment",
        create: r#"{"collection":"SPSScCategoryClassBase","fields":{"Name":"Facilities","Description":"Facility Management"}}"#,
        deletable_id: None,
        other_ids: &["SPSActivityClassBase:0a1b2c3d-0002-4000-8000-0000000000bb"],
    },
    key_expires: |settings| jwt_expiry(settings.get("api_token")?.expose()),
    capabilities: &CAPABILITIES,
    build: |settings| Ok(Arc::new(Matrix42::new(&require_setting(settings, "api_token")?)?)),
};

/// Page size and number of pages of a search. Pages of 1000 work (OBSERVED).
const SEARCH_PAGE_SIZE: usize = 1000;
const MAX_SEARCH_PAGES: u64 = 50;

static CAPABILITIES: Capabilities = Capabilities {
    vendor: "matrix42",
    id_form: "{Data Definition's technical name}:{GUID}",
    id_example: "SPSScCategoryClassBase:7777780d-71a0-df11-708c-000c2968299e",
    compares: &[Action::Update],
    has_weak_versions: false,
    update_style: UpdateStyle::Partial,
    actions: &[Action::Read, Action::Create, Action::Update, Action::Delete],
    losses: &[],
    version_is_sequence: false,
    ids_are_timestamped: false,
    list_is_complete: true,
    filters: Filterable::Any,
    ignores_case: true,
    schema_source: SchemaSource::Vendor,
};

/// One Matrix42 server.
pub(super) struct Matrix42 {
    /// `Bearer …`, only for the exchange.
    api_token: HeaderValue,
    columns: ColumnCache,
}

impl Matrix42 {
    /// # Errors
    /// The API token cannot be a header value.
    pub(super) fn new(api_token: &Secret) -> Result<Self, InvalidSetting> {
        let unfit = InvalidSetting::new("api_token", "holds characters that an HTTP header cannot hold");
        let api_token = secret_header(&format!("Bearer {}", api_token.expose())).ok_or(unfit)?;
        Ok(Self { api_token, columns: ColumnCache::default() })
    }
}

#[async_trait(?Send)]
impl VendorProtocol for Matrix42 {
    fn classify(&self, request: &VendorRequest, response: &VendorResponse) -> Option<VendorError> {
        protocol::classify(request, response)
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &[]
    }

    fn sign(&self, request: &mut VendorRequest, token: &Token) {
        request.set_authorization(token.secret.clone());
    }

    async fn sign_in(&self, transport: &dyn Transport) -> Result<Token, VendorError> {
        let (sent_at, sent_at_time) = (Instant::now(), Timestamp::now());
        let response = transport.send(protocol::sign_in_request(&self.api_token)).await?;
        let (secret, lifetime) = parse_access_token(&response.body, sent_at_time)?;
        Ok(Token { secret, expires: sent_at.checked_add(lifetime) })
    }
}

#[async_trait(?Send)]
impl Adapter for Matrix42 {
    fn capabilities(&self) -> &Capabilities {
        &CAPABILITIES
    }

    fn parse_collection(&self, raw: &str) -> Option<String> {
        protocol::is_definition(raw).then(|| raw.to_owned())
    }

    fn parse_key(&self, raw: &str) -> Option<String> {
        parse_guid(raw)
    }

    fn compares(&self, action: Action, _collection: &str) -> bool {
        CAPABILITIES.compares.contains(&action)
    }

    fn is_reserved(&self, _collection: &str, member: &str) -> bool {
        protocol::is_reserved(member)
    }

    fn is_read_only(&self, _collection: &str, _member: &str) -> bool {
        false
    }

    fn is_stamped(&self, _collection: &str, _member: &str) -> bool {
        false
    }

    fn to_read_form(&self, _collection: &str, _member: &str, _value: &RawJson) -> Option<RawJson> {
        None
    }

    async fn read(&self, transport: &dyn Transport, id: &RecordId) -> Result<VendorRecord, VendorError> {
        let response = transport.send(protocol::read_request(VendorRequestKind::Read, id)).await?;
        let fragment = fragment::parse_fragment(&response.body)?;
        if fragment.id.is_some_and(|other| other != id.key()) {
            return Err(unparseable_response("another fragment than the requested one"));
        }
        match fragment.record.version {
            Some(_) => Ok(fragment.record),
            None => Err(unparseable_response("a fragment without TimeStamp")),
        }
    }

    /// A page number refers to a page size, so a cursor is valid for the limit of its query and for
    /// larger ones.
    async fn list(
        &self,
        transport: &dyn Transport,
        collection: &str,
        filters: &[FieldFilter],
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<ListPage, VendorError> {
        let start = Cursor { size: limit, ..Cursor::default() };
        let cursor = cursor.map_or(Some(start), Cursor::parse).filter(|cursor| cursor.size <= limit);
        let cursor = cursor.ok_or_else(invalid_cursor_fault)?;
        let mut columns = self.columns.load(transport, collection).await.map_err(as_read_fault)?;
        let response = self.columns.load_page(transport, collection, &mut columns, filters, &cursor).await?;
        let (fragments, next) = cursor.next_page(fragment::parse_page(&response.body, columns.as_deref())?)?;
        // The vendor's comparison ignores case.
        let matching = fragments.into_iter().filter(|fragment| {
            filters.is_empty() || columns.is_none() || all_match(filters, &fragment.record.fields.to_map())
        });
        let items = matching.map(|fragment| to_list_item(collection, fragment, columns.as_deref()));
        Ok(ListPage { items: items.collect::<Result<_, _>>()?, next: next.map(|cursor| cursor.to_string()) })
    }

    async fn collections(&self, transport: &dyn Transport) -> Result<CollectionList, VendorError> {
        metadata::load_collections(transport).await
    }

    async fn schema(&self, transport: &dyn Transport, collection: &str) -> Result<RecordSchema, VendorError> {
        metadata::load_schema(transport, collection).await
    }

    /// The vendor ignores the case of names: of two spellings of one it would lose a value.
    fn validate_patch(&self, patch: &RawObject) -> Vec<FieldError> {
        find_respelled(patch.names())
    }

    fn validate_create(&self, fields: &Map<String, Value>) -> Vec<FieldError> {
        let names = || fields.keys().map(String::as_str);
        let reserved = protocol::check_names(names()).err().unwrap_or_default();
        find_respelled(names()).into_iter().chain(reserved).collect()
    }

    async fn find_missing_references(
        &self,
        _transport: &dyn Transport,
        _collection: &str,
        _change: &UpdateInput<'_>,
    ) -> Result<Vec<FieldError>, VendorError> {
        Ok(Vec::new())
    }

    fn plan_update(
        &self,
        id: &RecordId,
        change: &UpdateInput<'_>,
        terms: &UpdateTerms<'_>,
    ) -> Result<PlannedRequest, Vec<FieldError>> {
        Ok(PlannedRequest::immediate(protocol::update_request(id, change.members()?, terms.expected)?, true))
    }

    fn parse_updated(&self, _id: &RecordId, _response: &VendorResponse) -> UpdatedRecord {
        UpdatedRecord::default()
    }

    fn plan_delete(
        &self,
        id: &RecordId,
        _before: Option<&VendorRecord>,
        _expected: Option<&Version>,
    ) -> Result<PlannedRequest, Vec<FieldError>> {
        Ok(PlannedRequest::immediate(protocol::delete_request(id), true))
    }

    fn plan_create(&self, collection: &str, fields: &Map<String, Value>) -> Result<PlannedRequest, Vec<FieldError>> {
        let errors = self.validate_create(fields);
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(PlannedRequest::immediate(protocol::create_request(collection, fields)?, false))
    }

    fn parse_created(&self, collection: &str, response: &VendorResponse) -> Result<CreatedRecord, VendorError> {
        let key = protocol::parse_new_guid(response).ok_or_else(|| missing_id_fault(response))?;
        Ok(CreatedRecord { id: RecordId::new(collection, &key), record: None })
    }

    fn created_at(&self, _id: &RecordId) -> Option<Timestamp> {
        None
    }

    async fn find_matching(
        &self,
        transport: &dyn Transport,
        collection: &str,
        fields: &Map<String, Value>,
    ) -> Result<Option<Vec<RecordId>>, VendorError> {
        if !fields.keys().all(|name| protocol::is_column(name)) {
            return Ok(None);
        }
        let columns: Vec<String> = fields.keys().cloned().collect();
        let expected = as_changes(fields);
        let mut search = MatchCollector::new(&expected);
        let mut next = Some(Cursor { size: SEARCH_PAGE_SIZE, ..Cursor::default() });
        while let Some(cursor) = next.filter(|cursor| cursor.page < MAX_SEARCH_PAGES) {
            let request =
                |columns: &Columns<'_>| protocol::search_request(collection, columns, fields, cursor.page, cursor.size);
            let response = self.columns.list_with_version_fallback(transport, collection, &columns, request).await?;
            let fragments;
            (fragments, next) = cursor.next_page(fragment::parse_page(&response.body, None)?)?;
            for fragment in fragments {
                search.push_if_matching(fragment.id, &fragment.record.fields.to_map());
            }
            if next.is_none() {
                let keys = search.into_matches().into_iter().flatten();
                return Ok(Some(keys.map(|key| RecordId::new(collection, &key)).collect()));
            }
        }
        Ok(None)
    }
}

/// A list item is complete if it has a version and every member that a GET shows.
fn to_list_item(collection: &str, fragment: Fragment, columns: Option<&[String]>) -> Result<ListItem, VendorError> {
    let key = fragment.id.ok_or_else(|| unparseable_response("a fragment without ID"))?;
    let has_all = columns.is_some_and(|columns| columns.len() == fragment.record.fields.len());
    let partial = !has_all || fragment.record.version.is_none();
    Ok(ListItem { id: RecordId::new(collection, &key), record: fragment.record, partial })
}
