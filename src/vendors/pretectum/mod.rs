//! Pretectum, customer master data management: the conversation.
//!
//! The vendor has no endpoint for one record: reading one means going through the pages of its dataset. A bounded memory of
//! the page where a record was last seen makes the usual read one call; "not found" is said only after a whole scan.
//! A record in more than `MAX_PAGES` pages, and one that moves to a page already read while the scan runs, cannot be told
//! from one that is missing: nothing documents the order of the list.

mod protocol;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use actix_web::http::header::AUTHORIZATION;
use async_trait::async_trait;
use jiff::Timestamp;
use moka::future::Cache;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::common::{MatchCollector, as_changes, invalid_cursor_fault, missing_id_fault, unparseable_response};
use super::registry::{SettingFormat, require_setting};
use super::{
    Adapter, AdapterFactory, Capabilities, CreatedRecord, InvalidSetting, ListItem, ListPage, PlannedRequest,
    SettingSpec, Settings, UpdateInput, UpdateStyle, Versioning,
};
use crate::record::{
    Action, FieldError, RawObject, RecordId, Secret, VendorError, VendorErrorKind, VendorRecord, Version,
};
use crate::transport::{Token, Transport, VendorCallKind, VendorProtocol, VendorRequest, VendorResponse};

/// The registry's line.
pub(super) const FACTORY: AdapterFactory = AdapterFactory {
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
    build: |settings| Ok(Arc::new(Pretectum::new(Credentials::from_settings(settings)?)?)),
};

/// More pages than any dataset should have: a list that goes on longer has no end.
const MAX_PAGES: usize = 10_000;
/// Of how many records the page is remembered.
const MAX_CACHED_RECORDS: u64 = 50_000;

static CAPABILITIES: Capabilities = Capabilities {
    vendor: "pretectum",
    id_form: "{businessAreaId}:{schemaId}:{datasetId}:{dataObjectId}, each 20 to 64 letters and digits",
    id_example: "20240115103000123a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5:20240115103500456b1c2d3e4f5g6h7i8j9k0l1m2n3o4p5:\
                 20240925084200789c1d2e3f4g5h6i7j8k9l0m1n2o3p4q5:20240601120000321d1e2f3g4h5i6j7k8l9m0n1o2p3q4r5",
    versioning: Versioning::Native,
    update_style: UpdateStyle::Partial,
    actions: &[Action::Read, Action::Create, Action::Update, Action::Delete],
    losses: &[],
    version_is_sequence: true,
    ids_are_timestamped: true,
    list_is_complete: true,
};

/// What the vendor must be told to give a token.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The application client's id.
    pub client_id: String,
    /// The application client's secret.
    pub client_secret: Secret,
    /// Where tokens are to be had, beginning with `/`. If the vendor does not know it, its other path is tried.
    pub token_path: String,
}

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
pub struct Pretectum {
    credentials: Credentials,
    /// Full id → key of the page where the record was last seen. Records of the first page are not in it.
    page_cache: Cache<RecordId, Arc<str>>,
}

impl Pretectum {
    /// # Errors
    /// A token path that is no path.
    pub fn new(credentials: Credentials) -> Result<Self, InvalidSetting> {
        let is_path = |path: &str| path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_path(&credentials.token_path) {
            return Err(InvalidSetting::new("token_path", "must be a path that begins with /"));
        }
        Ok(Self { credentials, page_cache: Cache::new(MAX_CACHED_RECORDS) })
    }

    async fn cache_page(&self, id: &RecordId, page_key: Option<&str>) {
        match page_key {
            Some(key) => self.page_cache.insert(id.clone(), key.into()).await,
            None => self.page_cache.invalidate(id).await,
        }
    }

    /// Looks at the page where the record was last seen. A page key that the vendor no longer takes is no fault of the read.
    async fn read_cached_page(
        &self,
        transport: &dyn Transport,
        id: &RecordId,
    ) -> Result<Option<VendorRecord>, VendorError> {
        let Some(page_key) = self.page_cache.get(id).await else { return Ok(None) };
        let call = protocol::list_request(VendorCallKind::Read, id.collection(), Some(&page_key));
        let found = match transport.send(call).await {
            Ok(reply) => protocol::Listing::parse(&reply.body)?.find_record(id.key())?,
            Err(fault) if matches!(fault.status, Some(400 | 404 | 410 | 422)) => None,
            Err(fault) => return Err(fault),
        };
        if found.is_none() {
            self.page_cache.invalidate(id).await;
        }
        Ok(found)
    }
}

/// Goes through the pages of a list; sees to it that the list has an end.
struct Scan<'s> {
    transport: &'s dyn Transport,
    call: VendorCallKind,
    collection: &'s str,
    page_key: Option<String>,
    seen: HashSet<String>,
    is_done: bool,
}

impl<'s> Scan<'s> {
    fn new(transport: &'s dyn Transport, call: VendorCallKind, collection: &'s str) -> Self {
        Self { transport, call, collection, page_key: None, seen: HashSet::new(), is_done: false }
    }

    /// The next page and the key it was asked with. An empty page may have a successor: only the key tells the end.
    async fn next_page(&mut self) -> Result<Option<(Option<String>, VendorResponse)>, VendorError> {
        if self.is_done {
            return Ok(None);
        }
        let asked_with = self.page_key.take();
        let reply =
            self.transport.send(protocol::list_request(self.call, self.collection, asked_with.as_deref())).await?;
        self.page_key = protocol::Listing::parse(&reply.body)?.next_page_key().map(str::to_owned);
        match &self.page_key {
            None => self.is_done = true,
            Some(key) if !self.seen.insert(key.clone()) => {
                return Err(unparseable_response("a list that goes in circles"));
            }
            Some(_) if self.seen.len() >= MAX_PAGES => return Err(unparseable_response("a list without an end")),
            Some(_) => {}
        }
        Ok(Some((asked_with, reply)))
    }
}

#[async_trait(?Send)]
impl VendorProtocol for Pretectum {
    fn classify(&self, call: &VendorRequest, reply: &VendorResponse) -> Option<VendorError> {
        let mut classify = protocol::classify(call, reply)?;
        // The one secret that stands in a body, where the dialect does not look for what must not be repeated.
        if call.kind == VendorCallKind::SignIn {
            let secret = self.credentials.client_secret.expose();
            classify.message = classify.message.map(|words| words.replace(secret, "…"));
        }
        Some(classify)
    }

    /// The token alone: the word `Bearer`, which the vendor names as the token's type, must not be sent.
    fn sign(&self, call: &mut VendorRequest, token: &Token) {
        call.headers.retain(|(name, _)| name != AUTHORIZATION);
        call.headers.push((AUTHORIZATION, token.secret.clone()));
    }

    async fn sign_in(&self, transport: &dyn Transport) -> Result<Token, VendorError> {
        let asked_at = Instant::now();
        let configured = self.credentials.token_path.as_str();
        let reply = match transport.send(protocol::sign_in_request(&self.credentials, configured)).await {
            Err(fault) if matches!(fault.status, Some(403 | 404)) => {
                let other = protocol::TOKEN_PATHS.into_iter().find(|path| *path != configured).unwrap_or(configured);
                match transport.send(protocol::sign_in_request(&self.credentials, other)).await {
                    // Neither is there: what the configured one said is what the operator can act on.
                    Err(second) if matches!(second.status, Some(403 | 404)) => return Err(fault),
                    answered => answered?,
                }
            }
            answered => answered?,
        };
        let (secret, life) = protocol::read_token(&reply.body)?;
        Ok(Token { secret, expires: asked_at.checked_add(life) })
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

    fn is_read_only(&self, member: &str) -> bool {
        protocol::is_reserved(member)
    }

    async fn read(&self, transport: &dyn Transport, id: &RecordId) -> Result<VendorRecord, VendorError> {
        if let Some(found) = self.read_cached_page(transport, id).await? {
            return Ok(found);
        }
        let mut scan = Scan::new(transport, VendorCallKind::Read, id.collection());
        while let Some((page_key, reply)) = scan.next_page().await? {
            if let Some(found) = protocol::Listing::parse(&reply.body)?.find_record(id.key())? {
                self.cache_page(id, page_key.as_deref()).await;
                return Ok(found);
            }
        }
        Err(VendorError::new(VendorErrorKind::NotFound).message("no page of the dataset holds the record"))
    }

    async fn list(
        &self,
        transport: &dyn Transport,
        collection: &str,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<ListPage, VendorError> {
        let cursor =
            cursor.map_or(Ok(Cursor::default()), |text| Cursor::parse(text).ok_or_else(invalid_cursor_fault))?;
        let call = protocol::list_request(VendorCallKind::List, collection, cursor.page_key.as_deref());
        let reply = transport.send(call).await?;
        let listing = protocol::Listing::parse(&reply.body)?;
        if listing.next_page_key().is_some() && listing.next_page_key() == cursor.page_key.as_deref() {
            return Err(unparseable_response("a list that goes in circles"));
        }
        let keys = listing.items.iter().map(|item| protocol::parse_item_id(item)).collect::<Result<Vec<_>, _>>()?;
        // The vendor alone decides how long its pages are; where the page was left is told by the last record given out.
        let last = cursor.last_key.as_deref().and_then(|last| keys.iter().position(|key| key == last));
        let begin = last.map_or(cursor.offset, |last| last + 1);
        let mut items = Vec::new();
        for item in listing.items.iter().skip(begin).take(limit) {
            let (key, stored) = protocol::read_record(item.get().as_bytes())?;
            let key = self.parse_key(&key).ok_or_else(|| unparseable_response("a record whose id has another form"))?;
            let id = RecordId::new(collection, &key);
            self.cache_page(&id, cursor.page_key.as_deref()).await;
            items.push(ListItem { id, record: stored, partial: false });
        }
        let given_out = begin + items.len();
        let next = if given_out < listing.items.len() {
            let last_key = items.last().map(|item| item.id.key().to_owned());
            Some(Cursor { offset: given_out, last_key, page_key: cursor.page_key }.to_string())
        } else {
            listing
                .next_page_key()
                .map(|key| Cursor { page_key: Some(key.to_owned()), ..Cursor::default() }.to_string())
        };
        Ok(ListPage { items, next })
    }

    /// Which values an attribute takes only the vendor knows.
    fn validate_patch(&self, _patch: &RawObject) -> Vec<FieldError> {
        Vec::new()
    }

    fn plan_update(
        &self,
        id: &RecordId,
        change: &UpdateInput<'_>,
        expected: Option<&Version>,
    ) -> Result<PlannedRequest, Vec<FieldError>> {
        Ok(PlannedRequest::immediate(protocol::update_request(id, change.members()?, expected)?, true))
    }

    fn plan_delete(&self, id: &RecordId, _before: &VendorRecord) -> Result<PlannedRequest, Vec<FieldError>> {
        Ok(PlannedRequest::immediate(protocol::delete_request(id), true))
    }

    fn plan_create(&self, collection: &str, fields: &Map<String, Value>) -> Result<PlannedRequest, Vec<FieldError>> {
        Ok(PlannedRequest::immediate(protocol::create_request(collection, fields)?, false))
    }

    fn parse_created(&self, collection: &str, reply: &VendorResponse) -> Result<CreatedRecord, VendorError> {
        let text = std::str::from_utf8(&reply.body).ok().and_then(|text| serde_json::from_str(text).ok());
        let key = text
            .and_then(|raw| protocol::parse_item_id(raw).ok())
            .and_then(|key| self.parse_key(&key))
            .ok_or_else(|| missing_id_fault(reply))?;
        // A record that is there but cannot be shown from this answer is read by the gateway.
        let stored = protocol::read_record(&reply.body).ok().map(|(_, stored)| stored);
        Ok(CreatedRecord { id: RecordId::new(collection, &key), record: stored })
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
        let wanted = as_changes(fields);
        let mut search = MatchCollector::new(&wanted);
        let mut scan = Scan::new(transport, VendorCallKind::List, collection);
        while let Some((_, reply)) = scan.next_page().await? {
            for item in protocol::Listing::parse(&reply.body)?.items {
                let (key, stored) = protocol::read_record(item.get().as_bytes())?;
                search.push_if_matching(key, &stored.fields.to_map());
            }
        }
        let keys = search.into_matches().into_iter().filter_map(|key| self.parse_key(&key));
        Ok(Some(keys.map(|key| RecordId::new(collection, &key)).collect()))
    }
}

/// Where a list goes on: within a vendor's page, or at the beginning of another.
#[derive(Default)]
struct Cursor {
    offset: usize,
    last_key: Option<String>,
    page_key: Option<String>,
}

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let given_out = parts.next()?.parse().ok()?;
        let some = |part: &str| (!part.is_empty()).then(|| part.to_owned());
        Some(Self { offset: given_out, last_key: some(parts.next()?), page_key: some(parts.next()?) })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        write!(formatter, "{}.{}.{}", self.offset, text(&self.last_key), text(&self.page_key))
    }
}
