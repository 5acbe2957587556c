//! The adapter of Pretectum.
//!
//! The vendor has no endpoint for one record: a read scans the pages of the dataset. A bounded
//! cache of the page where each record was last seen reduces the usual read to one call. A delete
//! of another record moves later ones to earlier pages, so that a scan can miss a record.
//! `NotFound` comes only from two scans that saw the same pages, or from several that all missed
//! the record.

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::metadata;
use super::page_cache::PageCache;
use super::protocol::{self, Credentials, Listing};
use super::scan::{Cursor, Scan};
use super::search;
use crate::record::{
    Action, FieldError, RawJson, RawObject, RecordId, VendorError, VendorErrorKind, VendorRecord, Version, hide_secret,
};
use crate::transport::{Token, Transport, VendorProtocol, VendorRequest, VendorRequestKind, VendorResponse};
use crate::vendors::adapter::{
    Adapter, CreatedRecord, ListItem, ListPage, PlannedRequest, UpdateInput, UpdateTerms, UpdatedRecord,
};
use crate::vendors::capabilities::{Capabilities, Filterable, UpdateStyle};
use crate::vendors::common::{
    MatchCollector, as_changes, invalid_cursor_fault, missing_id_fault, parse_token_response, unparseable_response,
    utf8,
};
use crate::vendors::factory::{
    AdapterFactory, InvalidSetting, SettingFormat, SettingSpec, Settings, VendorSamples, require_setting,
};
use crate::vendors::filter::{FieldFilter, all_match};
use crate::vendors::schema::{CollectionList, RecordSchema, SchemaSource};

/// The entry in the registry.
pub(in crate::vendors) const FACTORY: AdapterFactory = AdapterFactory {
    vendor: "pretectum",
    settings: &[
        SettingSpec::text("client_id", "the application client's id"),
        SettingSpec::secret("client_secret", "the application client's secret"),
        SettingSpec {
            default: Some("/v1/oauth2/token"),
            ..SettingSpec::text("token_path", "a path such as \"/v1/oauth2/token\" or \"/oauth2/token\"")
                .format(SettingFormat::Path)
        },
    ],
    added_paths: &["/v1"],
    collection_form: "\"{businessAreaId}:{schemaId}:{datasetId}\", each 20 to 64 letters and digits",
    is_collection: |text| protocol::parse_collection(text).is_some(),
    is_hidden: protocol::is_hidden,
    samples: VendorSamples {
        title: "Pretectum",
        configuration: include_str!("example.toml"),
        patch_summary: "Two fields of a data object",
        patch: r#"{"fields":{"Status":"Premium","First Name":"Ada"}}"#,
        create_summary: "A data object",
        create: r#"{"collection":"202401151030001234a5b6c7d8e9f0a1b2c3d4e5f6g7h8i:20240115104500456g2b3c4d5e6f7a8b9c0d1e2f3a4b5c6:20240925110000789h3c4d5e6f7a8b9c0d1e2f3g8a5b6c7","fields":{"First Name":"Ada","Last Name":"King","Email":"ada@example.org","Status":"Standard"}}"#,
        deletable_id: None,
        other_ids: &[],
    },
    key_expires: |_| None,
    capabilities: &CAPABILITIES,
    build: |settings| Ok(Arc::new(Pretectum::new(Credentials::from_settings(settings)?)?)),
};

const NOT_ON_A_PAGE: &str = "no page of the dataset holds the record";

static CAPABILITIES: Capabilities = Capabilities {
    vendor: "pretectum",
    id_form: "{businessAreaId}:{schemaId}:{datasetId}:{dataObjectId}, each 20 to 64 letters and digits",
    id_example: "202401151030001234a5b6c7d8e9f0a1b2c3d4e5f6g7h8i:20240115104500456g2b3c4d5e6f7a8b9c0d1e2f3a4b5c6:\
                 20240925110000789h3c4d5e6f7a8b9c0d1e2f3g8a5b6c7:20240601090000001a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5",
    compares: &[Action::Update],
    has_weak_versions: false,
    update_style: UpdateStyle::Partial,
    actions: &[Action::Read, Action::Create, Action::Update, Action::Delete],
    losses: &[],
    version_is_sequence: true,
    ids_are_timestamped: true,
    list_is_complete: true,
    filters: Filterable::Any,
    ignores_case: false,
    schema_source: SchemaSource::Vendor,
};

impl Credentials {
    fn from_settings(settings: &Settings) -> Result<Self, InvalidSetting> {
        Ok(Self {
            client_id: require_setting(settings, "client_id")?.expose().to_owned(),
            client_secret: require_setting(settings, "client_secret")?,
            token_path: require_setting(settings, "token_path")?.expose().to_owned(),
        })
    }
}

/// One Pretectum tenant.
pub(super) struct Pretectum {
    credentials: Credentials,
    pages: PageCache,
}

impl Pretectum {
    /// # Errors
    /// The token path is not a path.
    pub(super) fn new(credentials: Credentials) -> Result<Self, InvalidSetting> {
        let is_path = |path: &str| path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_path(&credentials.token_path) {
            return Err(InvalidSetting::new("token_path", "must be a path that begins with /"));
        }
        Ok(Self { credentials, pages: PageCache::default() })
    }

    /// Reads a part of the pages of a dataset.
    async fn list_pages(
        &self,
        transport: &dyn Transport,
        collection: &str,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<ListPage, VendorError> {
        let cursor =
            cursor.map_or(Ok(Cursor::default()), |text| Cursor::parse(text).ok_or_else(invalid_cursor_fault))?;
        let request = protocol::list_request(VendorRequestKind::List, collection, cursor.page_key.as_deref());
        let listing = Listing::parse(&transport.send(request).await?.body)?;
        if listing.next_page_key.is_some() && listing.next_page_key == cursor.page_key {
            return Err(unparseable_response("a list that repeats a page"));
        }
        let keys =
            listing.items.iter().map(|item| protocol::parse_item_id(item.as_str())).collect::<Result<Vec<_>, _>>()?;
        // The vendor chooses the length of its pages, and records may move within one: the last
        // listed record is the position.
        let last = cursor.last_key.as_deref().and_then(|last| keys.iter().position(|key| key == last));
        let start = last.map_or(cursor.offset, |last| last + 1);
        let mut items = Vec::new();
        for item in listing.items.iter().skip(start).take(limit) {
            let (key, record, partial) = match protocol::parse_item(item) {
                Ok((key, record)) => (key, record, false),
                Err(fault) => {
                    let key = protocol::parse_item_id(item.as_str())?.into_owned();
                    (key, VendorRecord::unreadable(&fault), true)
                }
            };
            let key = self
                .parse_key(&key)
                .ok_or_else(|| unparseable_response("a record whose id does not have the vendor's form"))?;
            let id = RecordId::new(collection, &key);
            self.pages.cache_page(&id, cursor.page_key.as_deref()).await;
            items.push(ListItem { id, record, partial });
        }
        let offset = start + items.len();
        let next = if offset < listing.items.len() {
            let last_key = items.last().map(|item| item.id.key().to_owned());
            Some(Cursor { offset, last_key, page_key: cursor.page_key }.to_string())
        } else {
            listing.next_page_key.map(|key| Cursor { page_key: Some(key), ..Cursor::default() }.to_string())
        };
        Ok(ListPage { items, next })
    }
}

#[async_trait(?Send)]
impl VendorProtocol for Pretectum {
    fn classify(&self, request: &VendorRequest, response: &VendorResponse) -> Option<VendorError> {
        let mut fault = protocol::classify(request, response)?;
        // The secret is in the body of the request, where `ErrorTexts` does not look for secrets.
        if request.kind == VendorRequestKind::SignIn {
            let secret = self.credentials.client_secret.expose();
            fault.message = fault.message.map(|message| hide_secret(&message, secret));
        }
        Some(fault)
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &[]
    }

    /// The token alone, without `Bearer`, although the vendor gives that as the token's type.
    fn sign(&self, request: &mut VendorRequest, token: &Token) {
        request.set_authorization(token.secret.clone());
    }

    async fn sign_in(&self, transport: &dyn Transport) -> Result<Token, VendorError> {
        let sent_at = Instant::now();
        let configured = self.credentials.token_path.as_str();
        let response = match transport.send(protocol::sign_in_request(&self.credentials, configured)).await {
            Err(fault) if matches!(fault.status, Some(403 | 404)) => {
                let other = protocol::TOKEN_PATHS.into_iter().find(|path| *path != configured).unwrap_or(configured);
                match transport.send(protocol::sign_in_request(&self.credentials, other)).await {
                    // Neither path exists: the operator can act on the error of the configured one.
                    Err(second) if matches!(second.status, Some(403 | 404)) => return Err(fault),
                    result => result?,
                }
            }
            result => result?,
        };
        let (secret, lifetime) = parse_token_response(&response.body, "")?;
        Ok(Token { secret, expires: sent_at.checked_add(lifetime) })
    }
}

#[async_trait(?Send)]
impl Adapter for Pretectum {
    fn capabilities(&self) -> &Capabilities {
        &CAPABILITIES
    }

    fn parse_collection(&self, raw: &str) -> Option<String> {
        protocol::parse_collection(raw)
    }

    fn parse_key(&self, raw: &str) -> Option<String> {
        protocol::is_id(raw).then(|| raw.to_owned())
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
        if let Some(found) = self.pages.read(transport, id).await? {
            return Ok(found);
        }
        let found = self.pages.find(transport, id).await?;
        found.ok_or_else(|| VendorError::new(VendorErrorKind::NotFound).message(NOT_ON_A_PAGE))
    }

    fn reads_by_scanning(&self) -> bool {
        true
    }

    async fn read_many(&self, transport: &dyn Transport, ids: &[RecordId]) -> Vec<Result<VendorRecord, VendorError>> {
        if let [id] = ids {
            return vec![self.read(transport, id).await];
        }
        let mut found = HashMap::new();
        let fault = self.pages.find_all(transport, ids, &mut found).await.err();
        let missing = || VendorError::new(VendorErrorKind::NotFound).message(NOT_ON_A_PAGE);
        ids.iter().map(|id| found.get(id.key()).cloned().ok_or_else(|| fault.clone().unwrap_or_else(missing))).collect()
    }

    /// The vendor's search finds candidates, whose values are compared. Where it returns no
    /// complete result, the pages of the dataset are filtered.
    async fn list(
        &self,
        transport: &dyn Transport,
        collection: &str,
        filters: &[FieldFilter],
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<ListPage, VendorError> {
        let offset = search::parse_cursor(cursor);
        if let (Some(offset), Some(query)) = (offset, search::query_of(filters)) {
            let response = transport.send(search::search_request(&query)).await?;
            let (hits, is_complete) = search::parse_hits(&response.body, collection)?;
            if is_complete || offset > 0 {
                return search::hit_page(collection, filters, hits, offset, limit);
            }
        }
        let mut page = self.list_pages(transport, collection, limit, cursor).await?;
        page.items.retain(|item| filters.is_empty() || all_match(filters, &item.record.fields.to_map()));
        Ok(page)
    }

    async fn collections(&self, transport: &dyn Transport) -> Result<CollectionList, VendorError> {
        metadata::load_collections(transport).await
    }

    async fn schema(&self, transport: &dyn Transport, collection: &str) -> Result<RecordSchema, VendorError> {
        metadata::load_schema(transport, collection).await
    }

    /// Only the vendor knows which values a field accepts.
    fn validate_patch(&self, _patch: &RawObject) -> Vec<FieldError> {
        Vec::new()
    }

    fn validate_create(&self, fields: &Map<String, Value>) -> Vec<FieldError> {
        protocol::check_names(fields.keys().map(String::as_str)).err().unwrap_or_default()
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
        Ok(PlannedRequest::immediate(protocol::create_request(collection, fields)?, false))
    }

    fn parse_created(&self, collection: &str, response: &VendorResponse) -> Result<CreatedRecord, VendorError> {
        let text = utf8(&response.body).unwrap_or_default();
        let key = protocol::parse_item_id(&text).ok().and_then(|key| self.parse_key(&key));
        let key = key.ok_or_else(|| missing_id_fault(response))?;
        // If the rest of the response cannot be parsed, the gateway reads the record.
        let record = protocol::parse_record(&response.body).ok().map(|(_, record)| record);
        Ok(CreatedRecord { id: RecordId::new(collection, &key), record })
    }

    fn created_at(&self, id: &RecordId) -> Option<Timestamp> {
        protocol::created_at(id.key())
    }

    async fn find_matching(
        &self,
        transport: &dyn Transport,
        collection: &str,
        fields: &Map<String, Value>,
    ) -> Result<Option<Vec<RecordId>>, VendorError> {
        let expected = as_changes(fields);
        let mut search = MatchCollector::new(&expected);
        let mut scan = Scan::new(transport, VendorRequestKind::List, collection);
        while let Some((_, listing)) = scan.next_page().await? {
            for item in &listing.items {
                let (key, record) = protocol::parse_item(item)?;
                search.push_if_matching(key, &record.fields.to_map());
            }
        }
        let keys = search.into_matches().into_iter().filter_map(|key| self.parse_key(&key));
        Ok(Some(keys.map(|key| RecordId::new(collection, &key)).collect()))
    }
}
