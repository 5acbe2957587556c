//! The adapter of BlueDolphin.
//!
//! The vendor has no versions. An update replaces a whole definition some time after the response,
//! and destroys linked questions and source connections, which the API does not show.

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

use std::sync::Arc;

use actix_web::http::header::{HeaderName, HeaderValue};
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::update_mapping::UpdateRequest;
use super::{protocol, response_mapping, schema, update_mapping};
use crate::record::{
    Action, FieldError, RawJson, RawObject, RecordId, SchemaRule, Secret, VendorError, VendorErrorKind, VendorRecord,
    Version,
};
use crate::transport::{Token, Transport, VendorProtocol, VendorRequest, VendorResponse};
use crate::vendors::adapter::{
    Adapter, CreatedRecord, ListItem, ListPage, PlannedRequest, UpdateInput, UpdateTerms, UpdatedRecord,
};
use crate::vendors::capabilities::{Capabilities, Completion, DataLoss, Filterable, UpdateStyle};
use crate::vendors::common::{
    MatchCollector, as_changes, field_error, invalid_cursor_fault, missing_id_fault, parse_object, secret_header,
    text_member, unparseable_response,
};
use crate::vendors::factory::{
    AdapterFactory, InvalidSetting, SettingFormat, SettingSpec, Settings, VendorSamples, require_setting,
};
use crate::vendors::filter::{FieldFilter, all_match};
use crate::vendors::schema::{CollectionInfo, CollectionList, RecordSchema, SchemaSource};

/// The entry in the registry.
pub(in crate::vendors) const FACTORY: AdapterFactory = AdapterFactory {
    vendor: "bluedolphin",
    settings: &[
        SettingSpec {
            identifies_tenant: true,
            ..SettingSpec::text("tenant", "the last part of bluedolphin.app/<tenant>").format(SettingFormat::Header)
        },
        SettingSpec::secret("api_key", "the secret of a user key").format(SettingFormat::Header),
    ],
    added_paths: &["/v1"],
    collection_form: "\"object-definitions\"",
    is_collection: |text| text == protocol::DEFINITIONS,
    is_hidden: |member| ["object_properties", "related_boem"].contains(&member),
    samples: VendorSamples {
        title: "BlueDolphin",
        configuration: include_str!("example.toml"),
        patch_summary: "One property of an object definition",
        patch: r#"{"fields":{"properties":{"Supplier":{"value":"Microsoft"}}}}"#,
        create_summary: "An object definition",
        create: r#"{"collection":"object-definitions","fields":{"name":"Another Application","object_template_id":"644779a07470b332c82b8d00","roles":["5f0c1d7d4a28b925fcf80001"]}}"#,
        deletable_id: Some("object-definitions:640b3d7d4a28b925fcf8b9a3"),
        other_ids: &[],
    },
    key_expires: |_| None,
    capabilities: &CAPABILITIES,
    build: |settings| Ok(Arc::new(BlueDolphin::new(&Credentials::from_settings(settings)?)?)),
};

const TENANT: HeaderName = HeaderName::from_static("tenant");
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Page size and number of pages of a search by name. Pages of 2000 work (OBSERVED).
const SEARCH_PAGE_SIZE: usize = 1000;
const MAX_SEARCH_PAGES: u64 = 50;

const LINKED_QUESTIONS: DataLoss = DataLoss {
    name: "linked-questions",
    detail: "questions linked to the definition's properties and questionnaires, which the vendor's API neither shows nor keeps",
    actions: &[Action::Update],
    caller_must_accept: false,
};
const SOURCE_CONNECTIONS: DataLoss = DataLoss {
    name: "source-connections",
    detail: "connections of the definition to data sources, which the vendor's API neither shows nor keeps",
    actions: &[Action::Update],
    caller_must_accept: false,
};
const PROPERTY_VALUES: DataLoss = DataLoss {
    name: "property-values",
    detail: "the values that objects have of a removed or renamed property",
    actions: &[Action::Update],
    caller_must_accept: false,
};
const DEPENDENT_OBJECTS: DataLoss = DataLoss {
    name: "dependent-objects",
    detail: "every object based on the definition, permanently",
    actions: &[Action::Delete],
    caller_must_accept: true,
};

static CAPABILITIES: Capabilities = Capabilities {
    vendor: "bluedolphin",
    id_form: "object-definitions:{id}, the id 24 digits and lower-case letters",
    id_example: "object-definitions:640b3d7d4a28b925fcf8b9a2",
    compares: &[],
    has_weak_versions: false,
    update_style: UpdateStyle::Replace,
    actions: &[Action::Read, Action::Create, Action::Update, Action::Delete],
    losses: &[LINKED_QUESTIONS, SOURCE_CONNECTIONS, PROPERTY_VALUES, DEPENDENT_OBJECTS],
    version_is_sequence: false,
    ids_are_timestamped: false,
    list_is_complete: false,
    filters: Filterable::Only(&["name"]),
    ignores_case: false,
    schema_source: SchemaSource::Fixed,
};

/// The credentials of a user.
#[derive(Clone, Debug)]
struct Credentials {
    /// The tenant's name.
    tenant: String,
    /// A user key. It has a date of expiry and cannot be refreshed.
    api_key: Secret,
}

impl Credentials {
    fn from_settings(settings: &Settings) -> Result<Self, InvalidSetting> {
        let tenant = require_setting(settings, "tenant")?.expose().to_owned();
        Ok(Self { tenant, api_key: require_setting(settings, "api_key")? })
    }
}

/// One BlueDolphin tenant.
pub(super) struct BlueDolphin {
    tenant: HeaderValue,
    api_key: HeaderValue,
}

impl BlueDolphin {
    fn new(credentials: &Credentials) -> Result<Self, InvalidSetting> {
        let unfit = |key| InvalidSetting::new(key, "holds characters that an HTTP header cannot hold");
        let tenant = HeaderValue::from_str(&credentials.tenant).map_err(|_| unfit("tenant"))?;
        let api_key = secret_header(credentials.api_key.expose()).ok_or(unfit("api_key"))?;
        Ok(Self { tenant, api_key })
    }
}

#[async_trait(?Send)]
impl VendorProtocol for BlueDolphin {
    fn classify(&self, request: &VendorRequest, response: &VendorResponse) -> Option<VendorError> {
        protocol::classify(request, response)
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &[]
    }

    fn sign(&self, request: &mut VendorRequest, token: &Token) {
        request.headers.retain(|(name, _)| *name != API_KEY && *name != TENANT);
        request.headers.push((API_KEY, token.secret.clone()));
        request.headers.push((TENANT, self.tenant.clone()));
    }

    /// The API key is the token; no call is made.
    async fn sign_in(&self, _transport: &dyn Transport) -> Result<Token, VendorError> {
        Ok(Token { secret: self.api_key.clone(), expires: None })
    }
}

#[async_trait(?Send)]
impl Adapter for BlueDolphin {
    fn capabilities(&self) -> &Capabilities {
        &CAPABILITIES
    }

    fn parse_collection(&self, raw: &str) -> Option<String> {
        (raw == protocol::DEFINITIONS).then(|| raw.to_owned())
    }

    fn parse_key(&self, raw: &str) -> Option<String> {
        protocol::is_id(raw).then(|| raw.to_owned())
    }

    fn compares(&self, action: Action, _collection: &str) -> bool {
        CAPABILITIES.compares.contains(&action)
    }

    fn is_reserved(&self, _collection: &str, _member: &str) -> bool {
        false
    }

    fn is_read_only(&self, _collection: &str, member: &str) -> bool {
        !update_mapping::CHANGEABLE_MEMBERS.contains(&member)
    }

    fn is_stamped(&self, _collection: &str, _member: &str) -> bool {
        false
    }

    fn to_read_form(&self, _collection: &str, _member: &str, _value: &RawJson) -> Option<RawJson> {
        None
    }

    async fn read(&self, transport: &dyn Transport, id: &RecordId) -> Result<VendorRecord, VendorError> {
        let response = transport.send(protocol::read_request(id)).await?;
        match response_mapping::to_fields(&parse_object(&response.body)?, true)? {
            (None, _) => Err(unparseable_response("a definition without an id")),
            (Some(other), _) if !other.eq_ignore_ascii_case(id.key()) => {
                Err(unparseable_response("another record than the requested one"))
            }
            (Some(_), fields) => {
                let halves = &response.lone_surrogates;
                let is_unreadable = !halves.is_empty();
                let version = is_unreadable.then(|| Version::from_fields_with_surrogates(&fields.to_map(), halves));
                Ok(VendorRecord { fields, version, warnings: Vec::new() })
            }
        }
    }

    /// The vendor's list of definitions has no condition: a page holds those of its records that
    /// match.
    async fn list(
        &self,
        transport: &dyn Transport,
        _collection: &str,
        filters: &[FieldFilter],
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<ListPage, VendorError> {
        let start: u64 = cursor.map_or(Ok(0), |text| text.parse().map_err(|_| invalid_cursor_fault()))?;
        let response = transport.send(protocol::list_request(start, limit)).await?;
        let listing = protocol::Listing::parse(&response.body)?;
        if listing.items.len() > limit {
            return Err(unparseable_response("more records than requested"));
        }
        let mut items = listing.items.iter().map(parse_list_item).collect::<Result<Vec<_>, _>>()?;
        let end = start.saturating_add(u64::try_from(items.len()).unwrap_or(u64::MAX));
        let has_next = match listing.total_items {
            _ if items.is_empty() => false,
            Some(total) => end < total,
            None => items.len() >= limit,
        };
        items.retain(|item| filters.is_empty() || all_match(filters, &item.record.fields.to_map()));
        Ok(ListPage { items, next: has_next.then(|| end.to_string()) })
    }

    async fn collections(&self, _transport: &dyn Transport) -> Result<CollectionList, VendorError> {
        let definitions = CollectionInfo {
            collection: protocol::DEFINITIONS.to_owned(),
            title: schema::TITLE.to_owned(),
            records: None,
        };
        Ok(CollectionList { items: vec![definitions], complete: true })
    }

    async fn schema(&self, _transport: &dyn Transport, _collection: &str) -> Result<RecordSchema, VendorError> {
        Ok(schema::definition_schema())
    }

    fn validate_patch(&self, patch: &RawObject) -> Vec<FieldError> {
        update_mapping::validate_patch(&patch.to_map())
    }

    fn validate_create(&self, fields: &Map<String, Value>) -> Vec<FieldError> {
        update_mapping::check_create(fields)
    }

    async fn find_missing_references(
        &self,
        transport: &dyn Transport,
        _collection: &str,
        change: &UpdateInput<'_>,
    ) -> Result<Vec<FieldError>, VendorError> {
        // The vendor's update drops a questionnaire that it does not know, without a word.
        let UpdateInput::FullRecord { before, after } = change else { return Ok(Vec::new()) };
        let mut errors = Vec::new();
        for id in update_mapping::new_questionnaires(before, after) {
            let found = transport.send(protocol::questionnaire_request(&id)).await;
            // Whatever else goes wrong here does not make the id wrong.
            if found.is_err_and(|fault| fault.kind == VendorErrorKind::NotFound) {
                let pointer = update_mapping::questionnaire_pointer(&id);
                errors.push(FieldError::new(pointer, "there is no such questionnaire").rule(SchemaRule::Unknown));
            }
        }
        Ok(errors)
    }

    fn plan_update(
        &self,
        id: &RecordId,
        change: &UpdateInput<'_>,
        _terms: &UpdateTerms<'_>,
    ) -> Result<PlannedRequest, Vec<FieldError>> {
        let UpdateInput::FullRecord { before, after } = change else {
            return Err(vec![FieldError::new("", "this vendor takes whole records, not the members that change")]);
        };
        Ok(match update_mapping::build_update(before, after)? {
            UpdateRequest::Status { active } => {
                plan_request(protocol::status_request(id, active), &[], Completion::Now)
            }
            UpdateRequest::Replace { body, removes_property } => {
                let losses: &[DataLoss] = if removes_property {
                    &[LINKED_QUESTIONS, SOURCE_CONNECTIONS, PROPERTY_VALUES]
                } else {
                    &[LINKED_QUESTIONS, SOURCE_CONNECTIONS]
                };
                plan_request(protocol::replace_request(id, &body), losses, Completion::Queued)
            }
        })
    }

    fn parse_updated(&self, _id: &RecordId, _response: &VendorResponse) -> UpdatedRecord {
        UpdatedRecord::default()
    }

    fn plan_delete(
        &self,
        id: &RecordId,
        before: Option<&VendorRecord>,
        _expected: Option<&Version>,
    ) -> Result<PlannedRequest, Vec<FieldError>> {
        if before.is_some_and(|before| response_mapping::is_active(&before.fields.to_map())) {
            let detail = "the vendor deletes disabled definitions only: patch status to \"disabled\" first";
            return Err(vec![field_error("status", detail)]);
        }
        let delete = plan_request(protocol::delete_request(id), &[DEPENDENT_OBJECTS], Completion::Now);
        Ok(PlannedRequest { idempotent: true, ..delete })
    }

    fn plan_create(&self, _collection: &str, fields: &Map<String, Value>) -> Result<PlannedRequest, Vec<FieldError>> {
        let errors = update_mapping::check_create(fields);
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(plan_request(protocol::create_request(fields), &[], Completion::Now))
    }

    fn parse_created(&self, collection: &str, response: &VendorResponse) -> Result<CreatedRecord, VendorError> {
        let key = protocol::parse_created_id(response).ok_or_else(|| missing_id_fault(response))?;
        Ok(CreatedRecord { id: RecordId::new(collection, &key), record: None })
    }

    fn created_at(&self, _id: &RecordId) -> Option<Timestamp> {
        None
    }

    /// Names are unique in a tenant, and a list shows no other field of a create.
    async fn find_matching(
        &self,
        transport: &dyn Transport,
        _collection: &str,
        fields: &Map<String, Value>,
    ) -> Result<Option<Vec<RecordId>>, VendorError> {
        let Some(name) = response_mapping::name_of(fields) else { return Ok(None) };
        let expected = as_changes(&Map::from_iter([("name".to_owned(), name.into())]));
        let mut search = MatchCollector::new(&expected);
        let mut cursor = None;
        for _ in 0..MAX_SEARCH_PAGES {
            let page = self.list(transport, protocol::DEFINITIONS, &[], SEARCH_PAGE_SIZE, cursor.as_deref()).await?;
            for item in page.items {
                search.push_if_matching(item.id, &item.record.fields.to_map());
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(Some(search.into_matches()));
            }
        }
        Ok(None)
    }
}

fn parse_list_item(item: &RawJson) -> Result<ListItem, VendorError> {
    let read = item.to_object().map_err(unparseable_response);
    let (id, record) = match read.and_then(|members| response_mapping::to_fields(&members, false)) {
        Ok((id, fields)) => (id, VendorRecord { fields, version: None, warnings: Vec::new() }),
        Err(fault) => (text_member(item, |name| name == "id"), VendorRecord::unreadable(&fault)),
    };
    let key = id
        .filter(|id| protocol::is_id(id))
        .ok_or_else(|| unparseable_response("a definition without an id of the vendor's form"))?;
    Ok(ListItem { id: RecordId::new(protocol::DEFINITIONS, &key), record, partial: true })
}

fn plan_request(request: VendorRequest, losses: &[DataLoss], completion: Completion) -> PlannedRequest {
    PlannedRequest { request, losses: losses.to_vec(), completion, idempotent: false }
}
