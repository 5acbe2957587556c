//! Matrix42, enterprise service management: the conversation about fragments, the rows of a Data Definition.
//!
//! The list gives only the columns it is asked for, and no vendor page says how to learn them but by reading: the columns of
//! a Data Definition are the members that its first fragment shows, remembered for a while.

mod access_token;
mod protocol;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{AUTHORIZATION, HeaderValue};
use async_trait::async_trait;
use jiff::Timestamp;
use moka::future::Cache;
use serde_json::{Map, Value};
use tokio::time::Instant;

use self::protocol::{Columns, Cursor, Fragment};
use super::common::{
    MatchCollector, as_changes, invalid_cursor_fault, missing_id_fault, secret_header, unparseable_response,
};
use super::registry::{SettingFormat, require_setting};
use super::{
    Adapter, AdapterFactory, Capabilities, CreatedRecord, InvalidSetting, ListItem, ListPage, PlannedRequest,
    SettingSpec, UpdateInput, UpdateStyle, Versioning,
};
use crate::record::{
    Action, FieldError, RawObject, RecordId, Secret, VendorError, VendorErrorKind, VendorRecord, Version,
};
use crate::transport::{Token, Transport, VendorCallKind, VendorProtocol, VendorRequest, VendorResponse};

/// The registry's line.
pub(super) const FACTORY: AdapterFactory = AdapterFactory {
    vendor: "matrix42",
    settings: &[SettingSpec::secret("api_token", "an API token, to be exchanged for access tokens")
        .format(SettingFormat::Header)],
    added_paths: &["/m42Services/api", "/m42Services"],
    collection_form: "a Data Definition's technical name, such as \"SPSScCategoryClassBase\"",
    is_collection: protocol::is_definition,
    build: |settings| Ok(Arc::new(Matrix42::new(&require_setting(settings, "api_token")?)?)),
};

/// How many Data Definitions' columns are remembered, and how long.
const MAX_CACHED_DEFINITIONS: u64 = 256;
const COLUMNS_TTL: Duration = Duration::from_mins(10);
/// Page size and number of pages of a search. Pages of 1000 are known to work.
const SEARCH_PAGE_SIZE: usize = 1000;
const MAX_SEARCH_PAGES: u64 = 50;
/// A query longer than this may be cut off by the web server before the vendor sees it (IIS allows 2048 bytes).
const MAX_SAFE_QUERY_LEN: usize = 2000;

static CAPABILITIES: Capabilities = Capabilities {
    vendor: "matrix42",
    id_form: "{Data Definition's technical name}:{GUID}",
    id_example: "SPSScCategoryClassBase:7777780d-71a0-df11-708c-000c2968299e",
    versioning: Versioning::Native,
    update_style: UpdateStyle::Partial,
    actions: &[Action::Read, Action::Create, Action::Update, Action::Delete],
    losses: &[],
    version_is_sequence: false,
    ids_are_timestamped: false,
    list_is_complete: true,
};

/// One Matrix42 server.
pub struct Matrix42 {
    /// `Bearer …`, for the exchange alone.
    api_token: HeaderValue,
    columns: Cache<String, Arc<[String]>>,
    /// The Data Definitions whose lists do not take `TimeStamp` for a column: their items carry no tags.
    versionless_definitions: Cache<String, ()>,
}

impl Matrix42 {
    /// # Errors
    /// An API token that no header can carry.
    pub fn new(api_token: &Secret) -> Result<Self, InvalidSetting> {
        let unfit = InvalidSetting::new("api_token", "holds characters that no HTTP header can carry");
        let api_token = secret_header(&format!("Bearer {}", api_token.expose())).ok_or(unfit)?;
        let columns = Cache::builder().max_capacity(MAX_CACHED_DEFINITIONS).time_to_live(COLUMNS_TTL).build();
        let without_versions = Cache::builder().max_capacity(MAX_CACHED_DEFINITIONS).time_to_live(COLUMNS_TTL).build();
        Ok(Self { api_token, columns, versionless_definitions: without_versions })
    }

    /// The columns that make a list item whole; `None` where they cannot be learned.
    async fn load_columns(
        &self,
        transport: &dyn Transport,
        definition: &str,
    ) -> Result<Option<Arc<[String]>>, VendorError> {
        if let Some(known) = self.columns.get(definition).await {
            return Ok(Some(known));
        }
        let probe = self
            .list_with_version_fallback(transport, definition, &[], |columns| {
                protocol::list_request(definition, columns, 0, 1)
            })
            .await?;
        let first = protocol::read_page(&probe.body, None)?.into_iter().next();
        let Some(key) = first.and_then(|fragment| fragment.id) else { return Ok(None) };
        let id = RecordId::new(definition, &key);
        let answer = match transport.send(protocol::schema_request(&id)).await {
            // A server without the call: the fragment itself shows the same names.
            Err(fault) if is_vendor_response(&fault) => {
                transport.send(protocol::read_request(VendorCallKind::Schema, &id)).await
            }
            answered => answered,
        };
        let names = match answer {
            Ok(reply) => protocol::parse_column_names(&reply.body)?,
            Err(fault) if is_vendor_response(&fault) => None,
            Err(fault) => return Err(fault),
        };
        let names: Option<Arc<[String]>> = names.map(Into::into);
        if let Some(names) = &names {
            self.columns.insert(definition.to_owned(), Arc::clone(names)).await;
        }
        Ok(names)
    }

    /// A list with versions or, of a Data Definition that has shown that it does not give them so, without.
    async fn list_with_version_fallback(
        &self,
        transport: &dyn Transport,
        definition: &str,
        names: &[String],
        call: impl Fn(&Columns<'_>) -> VendorRequest,
    ) -> Result<VendorResponse, VendorError> {
        let versions = !self.versionless_definitions.contains_key(definition);
        match transport.send(call(&Columns { names, versions })).await {
            Err(fault) if versions && protocol::rejects_version_column(&fault) => {
                self.versionless_definitions.insert(definition.to_owned(), ()).await;
                transport.send(call(&Columns { names, versions: false })).await
            }
            answered => answered,
        }
    }

    /// A page with these columns and, where the vendor does not take them (any more), with those that every fragment has.
    async fn load_page(
        &self,
        transport: &dyn Transport,
        definition: &str,
        columns: &mut Option<Arc<[String]>>,
        cursor: &Cursor,
    ) -> Result<VendorResponse, VendorError> {
        let asked = columns.clone().unwrap_or_default();
        let call = |columns: &Columns<'_>| protocol::list_request(definition, columns, cursor.page, cursor.size);
        let is_long = call(&Columns { names: &asked, versions: true }).path.len() > MAX_SAFE_QUERY_LEN;
        match self.list_with_version_fallback(transport, definition, &asked, call).await {
            Err(fault)
                if !asked.is_empty()
                    && (fault.kind == VendorErrorKind::Rejected
                        || (is_long && fault.kind == VendorErrorKind::NotFound)) =>
            {
                self.columns.invalidate(definition).await;
                *columns = None;
                self.list_with_version_fallback(transport, definition, &[], call).await.map_err(as_read_fault)
            }
            answered => answered.map_err(as_read_fault),
        }
    }
}

/// Whether the vendor answered about the call itself, as opposed to a failure on the way.
fn is_vendor_response(fault: &VendorError) -> bool {
    matches!(
        fault.kind,
        VendorErrorKind::NotFound
            | VendorErrorKind::Rejected
            | VendorErrorKind::ServerError
            | VendorErrorKind::InvalidResponse
            | VendorErrorKind::Forbidden
    )
}

/// A list has no values of the caller's that could be wrong.
fn as_read_fault(mut fault: VendorError) -> VendorError {
    if fault.kind == VendorErrorKind::Rejected {
        fault.kind = VendorErrorKind::ServerError;
    }
    fault
}

#[async_trait(?Send)]
impl VendorProtocol for Matrix42 {
    fn classify(&self, call: &VendorRequest, reply: &VendorResponse) -> Option<VendorError> {
        protocol::classify(call, reply)
    }

    fn sign(&self, call: &mut VendorRequest, token: &Token) {
        call.headers.retain(|(name, _)| name != AUTHORIZATION);
        call.headers.push((AUTHORIZATION, token.secret.clone()));
    }

    async fn sign_in(&self, transport: &dyn Transport) -> Result<Token, VendorError> {
        let asked_at = Instant::now();
        let asked_at_date = Timestamp::now();
        let reply = transport.send(protocol::sign_in_request(&self.api_token)).await?;
        let (secret, life) = access_token::read(&reply.body, asked_at_date)?;
        Ok(Token { secret, expires: asked_at.checked_add(life) })
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
        protocol::parse_guid(raw)
    }

    fn is_read_only(&self, member: &str) -> bool {
        protocol::is_reserved(member)
    }

    async fn read(&self, transport: &dyn Transport, id: &RecordId) -> Result<VendorRecord, VendorError> {
        let reply = transport.send(protocol::read_request(VendorCallKind::Read, id)).await?;
        let fragment = protocol::read_fragment(&reply.body, None)?;
        if fragment.id.is_some_and(|other| other != id.key()) {
            return Err(unparseable_response("another fragment than asked for"));
        }
        match fragment.record.version {
            Some(_) => Ok(fragment.record),
            None => Err(unparseable_response("a fragment without TimeStamp")),
        }
    }

    /// The number of a page means something only with its size: a cursor serves the limit it came from, or a larger one.
    async fn list(
        &self,
        transport: &dyn Transport,
        collection: &str,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<ListPage, VendorError> {
        let begin = Cursor { size: limit, ..Cursor::default() };
        let cursor = cursor.map_or(Some(begin), Cursor::parse).filter(|cursor| cursor.size <= limit);
        let cursor = cursor.ok_or_else(invalid_cursor_fault)?;
        let mut columns = self.load_columns(transport, collection).await.map_err(as_read_fault)?;
        let reply = self.load_page(transport, collection, &mut columns, &cursor).await?;
        let (fragments, next) = cursor.next_page(protocol::read_page(&reply.body, columns.as_deref())?)?;
        let items = fragments.into_iter().map(|fragment| to_list_item(collection, fragment, columns.as_deref()));
        Ok(ListPage { items: items.collect::<Result<_, _>>()?, next: next.map(|cursor| cursor.to_string()) })
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
        let key = protocol::parse_new_guid(reply).ok_or_else(|| missing_id_fault(reply))?;
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
        let wanted = as_changes(fields);
        let mut search = MatchCollector::new(&wanted);
        let mut next = Some(Cursor { size: SEARCH_PAGE_SIZE, ..Cursor::default() });
        while let Some(cursor) = next.filter(|cursor| cursor.page < MAX_SEARCH_PAGES) {
            let call =
                |columns: &Columns<'_>| protocol::search_request(collection, columns, fields, cursor.page, cursor.size);
            let reply = self.list_with_version_fallback(transport, collection, &columns, call).await?;
            let fragments;
            (fragments, next) = cursor.next_page(protocol::read_page(&reply.body, None)?)?;
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

/// An item is whole if it has a version and every member that GET shows.
fn to_list_item(collection: &str, fragment: Fragment, columns: Option<&[String]>) -> Result<ListItem, VendorError> {
    let key = fragment.id.ok_or_else(|| unparseable_response("a fragment without ID"))?;
    let has_all = columns.is_some_and(|columns| columns.len() == fragment.member_count);
    let partial = !has_all || fragment.record.version.is_none();
    Ok(ListItem { id: RecordId::new(collection, &key), record: fragment.record, partial })
}
