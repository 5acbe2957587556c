//! The adapter of Dataverse.
//!
//! The vendor compares the version of a row before updates and deletes, in most tables. It says
//! with 400 `0x80060883` where it does not; the adapter remembers those tables, and the gateway
//! then compares under a lease. A single row needs no metadata; a list needs the name of the
//! primary key, and a changed lookup the name of its navigation property.

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::organization::{Dataverse, check_member, condition, is_list_path, typed_condition};
use super::row::{PrimaryKey, guess_key_column, parse_row};
use super::{lookups, protocol, schema};
use crate::record::{
    Action, FieldError, RawJson, RawObject, RecordId, VendorError, VendorErrorKind, VendorRecord, Version, hide_secret,
};
use crate::transport::{Token, Transport, VendorProtocol, VendorRequest, VendorRequestKind, VendorResponse};
use crate::vendors::adapter::{
    Adapter, CreatedRecord, ListItem, ListPage, PlannedRequest, UpdateInput, UpdateTerms, UpdatedRecord,
};
use crate::vendors::capabilities::{Capabilities, Filterable, UpdateStyle};
use crate::vendors::common::{
    MatchCollector, as_changes, client_credentials_request, field_error, invalid_cursor_fault, missing_id_fault,
    missing_version_error, parse_guid, parse_token_response, unparseable_response,
};
use crate::vendors::factory::{AdapterFactory, SettingFormat, SettingSpec, VendorSamples};
use crate::vendors::filter::{FieldFilter, all_match};
use crate::vendors::schema::{CollectionList, RecordSchema, SchemaSource};

/// The entry in the registry.
pub(in crate::vendors) const FACTORY: AdapterFactory = AdapterFactory {
    vendor: "dataverse",
    settings: &[
        SettingSpec {
            default: Some("https://login.microsoftonline.com"),
            ..SettingSpec::text("authority", "the sign-in host, such as \"https://login.microsoftonline.com\"")
                .format(SettingFormat::SignInUrl)
        },
        SettingSpec::text("tenant_id", "the directory (tenant) id of the application").format(SettingFormat::Header),
        SettingSpec::text("client_id", "the application (client) id"),
        SettingSpec::secret("client_secret", "a client secret of the application"),
    ],
    added_paths: &["/api/data/v9.2", "/api/data", "/api"],
    collection_form: "an entity set's name, such as \"accounts\"",
    is_collection: protocol::is_set,
    is_hidden: |member| member.starts_with('@'),
    samples: VendorSamples {
        title: "Dataverse",
        configuration: include_str!("example.toml"),
        patch_summary: "A column and a lookup of a row",
        patch: r#"{"fields":{"telephone1":"555-0199","_primarycontactid_value":"55bb55bb-0000-4000-8000-66cc66cc66c2"}}"#,
        create_summary: "A row",
        create: r#"{"collection":"accounts","fields":{"name":"Adventure Works","telephone1":"555-0100"}}"#,
        deletable_id: None,
        other_ids: &["contacts:55bb55bb-0000-4000-8000-66cc66cc66c1"],
    },
    key_expires: |_| None,
    capabilities: &CAPABILITIES,
    build: |settings| Ok(Arc::new(Dataverse::new(settings)?)),
};

/// Page size and number of pages of a search.
const SEARCH_PAGE_SIZE: usize = 1000;
const MAX_SEARCH_PAGES: usize = 50;
/// The longest path of a search (the vendor allows 32 KiB).
const MAX_SEARCH_PATH: usize = 8000;

/// Columns that the vendor sets with every write.
const STAMPED: [&str; 6] = [
    "modifiedon",
    "versionnumber",
    "_modifiedby_value",
    "_modifiedonbehalfby_value",
    "modifiedbyexternalparty",
    "_modifiedbyexternalparty_value",
];
/// Other columns of most tables that no update sets: `IsValidForUpdate` is false (VENDOR).
const READ_ONLY: [&str; 8] = [
    "createdon",
    "overriddencreatedon",
    "_createdby_value",
    "_createdonbehalfby_value",
    "_createdbyexternalparty_value",
    "_owningbusinessunit_value",
    "_owningteam_value",
    "_owninguser_value",
];

static CAPABILITIES: Capabilities = Capabilities {
    vendor: "dataverse",
    id_form: "{entity set's name}:{GUID}",
    id_example: "accounts:00aa00aa-bb11-cc22-dd33-44ee44ee44ee",
    compares: &[Action::Update, Action::Delete],
    has_weak_versions: true,
    update_style: UpdateStyle::Partial,
    actions: &[Action::Read, Action::Create, Action::Update, Action::Delete],
    losses: &[],
    version_is_sequence: false,
    ids_are_timestamped: false,
    list_is_complete: true,
    filters: Filterable::Any,
    ignores_case: false,
    schema_source: SchemaSource::Vendor,
};

#[async_trait(?Send)]
impl VendorProtocol for Dataverse {
    fn classify(&self, request: &VendorRequest, response: &VendorResponse) -> Option<VendorError> {
        let mut fault = protocol::classify(request, response)?;
        // The secret is in the body of the request, where `ErrorTexts` does not look for secrets.
        if request.kind == VendorRequestKind::SignIn {
            let secret = self.client_secret.expose();
            fault.message = fault.message.map(|message| hide_secret(&message, secret));
        }
        if fault.kind == VendorErrorKind::NotCompared
            && let Some(set) = protocol::set_of(request)
        {
            self.tables.record_not_compared(set);
        }
        Some(fault)
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &[protocol::ENTITY_ID]
    }

    fn sign(&self, request: &mut VendorRequest, token: &Token) {
        request.set_authorization(token.secret.clone());
    }

    async fn sign_in(&self, transport: &dyn Transport) -> Result<Token, VendorError> {
        let sent_at = Instant::now();
        let scope = format!("{}/.default", self.base_url);
        let secret = self.client_secret.expose();
        let request = client_credentials_request(&self.token_path, &self.client_id, secret, &scope).to_sign_in_host();
        let response = transport.send(request).await?;
        let (secret, lifetime) = parse_token_response(&response.body, "Bearer ")?;
        Ok(Token { secret, expires: sent_at.checked_add(lifetime) })
    }
}

#[async_trait(?Send)]
impl Adapter for Dataverse {
    fn capabilities(&self) -> &Capabilities {
        &CAPABILITIES
    }

    fn parse_collection(&self, raw: &str) -> Option<String> {
        protocol::is_set(raw).then(|| raw.to_owned())
    }

    fn parse_key(&self, raw: &str) -> Option<String> {
        parse_guid(raw)
    }

    fn compares(&self, action: Action, collection: &str) -> bool {
        CAPABILITIES.compares.contains(&action) && self.tables.compares_versions(collection)
    }

    /// The primary key is the record's id, and annotations are not the record's.
    fn is_reserved(&self, collection: &str, member: &str) -> bool {
        let is_key = || match self.tables.key_column(collection) {
            Some(column) => column == member,
            None => guess_key_column(collection) == member,
        };
        member.starts_with('@') || is_key()
    }

    fn is_read_only(&self, collection: &str, member: &str) -> bool {
        self.is_stamped(collection, member)
            || READ_ONLY.contains(&member)
            || self.tables.is_read_only(collection, member)
    }

    fn is_stamped(&self, _collection: &str, member: &str) -> bool {
        STAMPED.contains(&member)
    }

    fn to_read_form(&self, _collection: &str, member: &str, value: &RawJson) -> Option<RawJson> {
        lookups::attribute_of(member)?;
        lookups::to_read_form(&value.value()?).map(|shown| RawJson::from(&shown))
    }

    async fn read(&self, transport: &dyn Transport, id: &RecordId) -> Result<VendorRecord, VendorError> {
        let response = transport.send(protocol::read_request(id)).await?;
        Ok(self.read_one(id, &response)?.record)
    }

    /// The vendor compares texts in any case, and some values by no literal that is safe without
    /// the column's type: what it returns is compared again.
    async fn list(
        &self,
        transport: &dyn Transport,
        collection: &str,
        filters: &[FieldFilter],
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<ListPage, VendorError> {
        let conditions: Vec<String> = filters.iter().filter_map(typed_condition).collect();
        let path = match cursor {
            Some(path) if is_list_path(path, collection) => path.to_owned(),
            Some(_) => return Err(invalid_cursor_fault()),
            None if conditions.is_empty() => protocol::list_path(collection),
            None => protocol::search_path(collection, &conditions),
        };
        self.tables.load_in_time(transport, None).await?;
        let (rows, next) = self.load_page(transport, collection, path.clone(), limit).await?;
        if next.as_ref() == Some(&path) {
            return Err(unparseable_response("a list that repeats a page"));
        }
        if rows.len() > limit {
            return Err(unparseable_response("more rows than requested"));
        }
        let to_item = |(key, record): (String, VendorRecord)| {
            let partial = record.version.is_none();
            ListItem { id: RecordId::new(collection, &key), record, partial }
        };
        let matching =
            rows.into_iter().filter(|(_, record)| filters.is_empty() || all_match(filters, &record.fields.to_map()));
        Ok(ListPage { items: matching.map(to_item).collect(), next })
    }

    async fn collections(&self, transport: &dyn Transport) -> Result<CollectionList, VendorError> {
        schema::load_collections(transport, &self.tables).await
    }

    async fn schema(&self, transport: &dyn Transport, collection: &str) -> Result<RecordSchema, VendorError> {
        schema::load_schema(transport, &self.tables, collection).await
    }

    fn validate_patch(&self, patch: &RawObject) -> Vec<FieldError> {
        patch.iter().filter_map(|(name, value)| check_member(name, value)).collect()
    }

    fn validate_create(&self, fields: &Map<String, Value>) -> Vec<FieldError> {
        self.validate_patch(&RawObject::from(fields))
    }

    async fn find_missing_references(
        &self,
        transport: &dyn Transport,
        collection: &str,
        change: &UpdateInput<'_>,
    ) -> Result<Vec<FieldError>, VendorError> {
        let values: Vec<Option<String>> = match change {
            UpdateInput::Members(members) => {
                let lookups = members.iter().filter(|(name, _)| lookups::attribute_of(name).is_some());
                lookups.map(|(_, value)| value.to_text()).collect()
            }
            UpdateInput::FullRecord { after, .. } => {
                let lookups = after.iter().filter(|(name, _)| lookups::attribute_of(name).is_some());
                lookups.map(|(_, value)| value.as_str().map(str::to_owned)).collect()
            }
        };
        if values.is_empty() {
            return Ok(Vec::new());
        }
        let has_time = self.tables.load_in_time(transport, Some(collection)).await?;
        // A key alone means a row of the table that the description names.
        let is_key = |value: &String| parse_guid(value).is_some();
        if !has_time && self.tables.lookups(collection).is_none() && values.iter().flatten().any(is_key) {
            let message = "the vendor does not show in time which table a lookup refers to";
            return Err(VendorError::new(VendorErrorKind::Timeout).message(message));
        }
        Ok(Vec::new())
    }

    fn plan_update(
        &self,
        id: &RecordId,
        change: &UpdateInput<'_>,
        terms: &UpdateTerms<'_>,
    ) -> Result<PlannedRequest, Vec<FieldError>> {
        let set = id.collection();
        if terms.expected.is_none() && self.compares(Action::Update, set) {
            return Err(missing_version_error(None));
        }
        let members = change.members()?;
        let fixed = members.names().filter(|name| self.is_reserved(set, name) || self.is_read_only(set, name));
        let fixed: Vec<_> = fixed.map(|name| field_error(name, "the vendor sets it")).collect();
        if !fixed.is_empty() {
            return Err(fixed);
        }
        let body = self.write_body(set, members.iter())?;
        let request = protocol::update_request(id, body, terms.expected, terms.return_record)?;
        Ok(PlannedRequest::immediate(request, terms.expected.is_some()))
    }

    fn parse_updated(&self, id: &RecordId, response: &VendorResponse) -> UpdatedRecord {
        let record = (response.status != 204).then(|| self.read_one(id, response).ok()).flatten().map(|row| row.record);
        UpdatedRecord { version: record.as_ref().and_then(|record| record.version.clone()), record }
    }

    fn plan_delete(
        &self,
        id: &RecordId,
        _before: Option<&VendorRecord>,
        expected: Option<&Version>,
    ) -> Result<PlannedRequest, Vec<FieldError>> {
        Ok(PlannedRequest::immediate(protocol::delete_request(id, expected)?, true))
    }

    /// A body may hold the primary key: the vendor then uses it.
    fn plan_create(&self, collection: &str, fields: &Map<String, Value>) -> Result<PlannedRequest, Vec<FieldError>> {
        let members = RawObject::from(fields);
        let body = self.write_body(collection, members.iter())?;
        Ok(PlannedRequest::immediate(protocol::create_request(collection, body), false))
    }

    fn parse_created(&self, collection: &str, response: &VendorResponse) -> Result<CreatedRecord, VendorError> {
        let from_header = response.header(protocol::ENTITY_ID).and_then(protocol::parse_entity_id);
        let column = self.tables.key_column(collection);
        let primary = match (&column, &from_header) {
            (Some(column), _) => PrimaryKey::Named(column),
            (None, key) => PrimaryKey::Guessed { set: collection, key: key.as_deref() },
        };
        let row = parse_row(&response.body, primary).ok();
        let key = from_header.or_else(|| row.as_ref().and_then(|row| row.key.clone()));
        let key = key.ok_or_else(|| missing_id_fault(response))?;
        // If the response does not show the whole row, the gateway reads it.
        let record = row.map(|row| row.record).filter(|record| record.version.is_some());
        Ok(CreatedRecord { id: RecordId::new(collection, &key), record })
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
        let mut conditions: Vec<String> = fields.iter().filter_map(condition).collect();
        if conditions.is_empty() {
            return Ok(None);
        }
        while conditions.len() > 1 && protocol::search_path(collection, &conditions).len() > MAX_SEARCH_PATH {
            conditions.pop();
        }
        let shown = |(name, value): (&String, &Value)| {
            let shown = lookups::attribute_of(name).and_then(|_| lookups::to_read_form(value));
            (name.clone(), shown.unwrap_or_else(|| value.clone()))
        };
        let expected = as_changes(&fields.iter().map(shown).collect());
        let mut search = MatchCollector::new(&expected);
        let mut next = Some(protocol::search_path(collection, &conditions));
        for _ in 0..MAX_SEARCH_PAGES {
            let Some(path) = next.take() else { break };
            let rows;
            (rows, next) = self.load_page(transport, collection, path, SEARCH_PAGE_SIZE).await?;
            for (key, record) in rows {
                search.push_if_matching(key, &record.fields.to_map());
            }
        }
        let keys = search.into_matches().into_iter().map(|key| RecordId::new(collection, &key));
        Ok(next.is_none().then(|| keys.collect()))
    }
}
