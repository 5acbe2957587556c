//! BlueDolphin (ValueBlue), enterprise architecture: the conversation about object definitions.
//!
//! The vendor has no versions and replaces whole definitions, some time after it has answered; and each replacement
//! destroys linked questions and source connections, which it never shows.

mod protocol;
mod response_mapping;
#[cfg(test)]
mod tests;
mod update_mapping;

use std::sync::Arc;

use actix_web::http::header::{HeaderName, HeaderValue};
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value};

use self::update_mapping::UpdateRequest;
use super::common::{
    MatchCollector, as_changes, field_error, invalid_cursor_fault, missing_id_fault, secret_header,
    unparseable_response,
};
use super::registry::{SettingFormat, require_setting};
use super::{
    Adapter, AdapterFactory, Capabilities, Completion, CreatedRecord, DataLoss, InvalidSetting, ListItem, ListPage,
    PlannedRequest, SettingSpec, Settings, UpdateInput, UpdateStyle, Versioning,
};
use crate::record::{Action, FieldError, RawObject, RecordId, Secret, VendorError, VendorRecord, Version};
use crate::transport::{Token, Transport, VendorProtocol, VendorRequest, VendorResponse};

/// The registry's line.
pub(super) const FACTORY: AdapterFactory = AdapterFactory {
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
    build: |settings| Ok(Arc::new(BlueDolphin::new(&Credentials::from_settings(settings)?)?)),
};

const TENANT: HeaderName = HeaderName::from_static("tenant");
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Page size and number of pages of a search by name. Clients are known to ask for 2000.
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
const DEPENDENT_OBJECTS: DataLoss = DataLoss {
    name: "dependent-objects",
    detail: "every object based on the definition, for good",
    actions: &[Action::Delete],
    caller_must_accept: true,
};

static CAPABILITIES: Capabilities = Capabilities {
    vendor: "bluedolphin",
    id_form: "object-definitions:{id}, the id 24 digits and lower-case letters",
    id_example: "object-definitions:640b3d7d4a28b925fcf8b9a2",
    versioning: Versioning::None,
    update_style: UpdateStyle::Replace,
    actions: &[Action::Read, Action::Create, Action::Update, Action::Delete],
    losses: &[LINKED_QUESTIONS, SOURCE_CONNECTIONS, DEPENDENT_OBJECTS],
    version_is_sequence: false,
    ids_are_timestamped: false,
    list_is_complete: false,
};

/// Who the gateway is to the vendor.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The tenant's name.
    pub tenant: String,
    /// A user key. It cannot be renewed: an expired one needs a person.
    pub api_key: Secret,
}

impl Credentials {
    fn from_settings(settings: &Settings) -> Result<Self, InvalidSetting> {
        let tenant = require_setting(settings, "tenant")?.expose().to_owned();
        Ok(Self { tenant, api_key: require_setting(settings, "api_key")? })
    }
}

/// One BlueDolphin tenant.
pub struct BlueDolphin {
    tenant: HeaderValue,
    api_key: HeaderValue,
}

impl BlueDolphin {
    /// # Errors
    /// A tenant or a key that no header can carry.
    pub fn new(account: &Credentials) -> Result<Self, InvalidSetting> {
        let unfit = |key| InvalidSetting::new(key, "holds characters that no HTTP header can carry");
        let tenant = HeaderValue::from_str(&account.tenant).map_err(|_| unfit("tenant"))?;
        let api_key = secret_header(account.api_key.expose()).ok_or(unfit("api_key"))?;
        Ok(Self { tenant, api_key })
    }
}

#[async_trait(?Send)]
impl VendorProtocol for BlueDolphin {
    fn classify(&self, call: &VendorRequest, reply: &VendorResponse) -> Option<VendorError> {
        protocol::classify(call, reply)
    }

    fn sign(&self, call: &mut VendorRequest, token: &Token) {
        call.headers.retain(|(name, _)| *name != API_KEY && *name != TENANT);
        call.headers.push((API_KEY, token.secret.clone()));
        call.headers.push((TENANT, self.tenant.clone()));
    }

    /// The key is all there is: no call is made.
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

    fn is_read_only(&self, member: &str) -> bool {
        !update_mapping::CHANGEABLE_MEMBERS.contains(&member)
    }

    async fn read(&self, transport: &dyn Transport, id: &RecordId) -> Result<VendorRecord, VendorError> {
        let reply = transport.send(protocol::read_request(id)).await?;
        match response_mapping::to_fields(&reply.body, true)? {
            (None, _) => Err(unparseable_response("a definition without an id")),
            (Some(other), _) if !other.eq_ignore_ascii_case(id.key()) => {
                Err(unparseable_response("another record than asked for"))
            }
            (Some(_), fields) => Ok(VendorRecord { fields, version: None, warnings: Vec::new() }),
        }
    }

    async fn list(
        &self,
        transport: &dyn Transport,
        _collection: &str,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<ListPage, VendorError> {
        let start: u64 = cursor.map_or(Ok(0), |text| text.parse().map_err(|_| invalid_cursor_fault()))?;
        let reply = transport.send(protocol::list_request(start, limit)).await?;
        let listing = protocol::Listing::parse(&reply.body)?;
        if listing.items.len() > limit {
            return Err(unparseable_response("more records than asked for"));
        }
        let items = listing.items.iter().map(|item| parse_list_item(item.get())).collect::<Result<Vec<_>, _>>()?;
        let end = start.saturating_add(u64::try_from(items.len()).unwrap_or(u64::MAX));
        let goes_on = match listing.total_items {
            _ if items.is_empty() => false,
            Some(total) => end < total,
            None => items.len() >= limit,
        };
        Ok(ListPage { items, next: goes_on.then(|| end.to_string()) })
    }

    fn validate_patch(&self, patch: &RawObject) -> Vec<FieldError> {
        update_mapping::validate_patch(&patch.to_map())
    }

    fn plan_update(
        &self,
        id: &RecordId,
        change: &UpdateInput<'_>,
        _expected: Option<&Version>,
    ) -> Result<PlannedRequest, Vec<FieldError>> {
        let UpdateInput::FullRecord { before, after } = change else {
            return Err(vec![FieldError::new("", "this vendor takes whole records, not the members that change")]);
        };
        Ok(match update_mapping::build_update(before, after)? {
            UpdateRequest::Status { active } => {
                plan_request(protocol::status_request(id, active), &[], Completion::Now)
            }
            UpdateRequest::Replace(body) => plan_request(
                protocol::replace_request(id, &body),
                &[LINKED_QUESTIONS, SOURCE_CONNECTIONS],
                Completion::Queued,
            ),
        })
    }

    fn plan_delete(&self, id: &RecordId, before: &VendorRecord) -> Result<PlannedRequest, Vec<FieldError>> {
        if response_mapping::is_active(&before.fields.to_map()) {
            let detail = "the vendor deletes disabled definitions only: patch status to \"disabled\" first";
            return Err(vec![field_error("status", detail)]);
        }
        let delete = plan_request(protocol::delete_request(id), &[DEPENDENT_OBJECTS], Completion::Now);
        Ok(PlannedRequest { idempotent: true, ..delete })
    }

    fn plan_create(&self, _collection: &str, fields: &Map<String, Value>) -> Result<PlannedRequest, Vec<FieldError>> {
        update_mapping::check_create(fields)?;
        Ok(plan_request(protocol::create_request(fields), &[], Completion::Now))
    }

    fn parse_created(&self, collection: &str, reply: &VendorResponse) -> Result<CreatedRecord, VendorError> {
        let key = protocol::parse_created_id(reply).ok_or_else(|| missing_id_fault(reply))?;
        Ok(CreatedRecord { id: RecordId::new(collection, &key), record: None })
    }

    /// Names are unique in a tenant, and the list shows nothing else that a create gives.
    fn created_at(&self, _id: &RecordId) -> Option<Timestamp> {
        None
    }

    async fn find_matching(
        &self,
        transport: &dyn Transport,
        _collection: &str,
        fields: &Map<String, Value>,
    ) -> Result<Option<Vec<RecordId>>, VendorError> {
        let Some(name) = response_mapping::name_of(fields) else { return Ok(None) };
        let wanted = as_changes(&Map::from_iter([("name".to_owned(), name.into())]));
        let mut search = MatchCollector::new(&wanted);
        let mut cursor = None;
        for _ in 0..MAX_SEARCH_PAGES {
            let page = self.list(transport, protocol::DEFINITIONS, SEARCH_PAGE_SIZE, cursor.as_deref()).await?;
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

fn parse_list_item(text: &str) -> Result<ListItem, VendorError> {
    let (id, fields) = response_mapping::to_fields(text.as_bytes(), false)?;
    let key = id
        .filter(|id| protocol::is_id(id))
        .ok_or_else(|| unparseable_response("a definition without an id of the known form"))?;
    let stored = VendorRecord { fields, version: None, warnings: Vec::new() };
    Ok(ListItem { id: RecordId::new(protocol::DEFINITIONS, &key), record: stored, partial: true })
}

fn plan_request(call: VendorRequest, losses: &[DataLoss], completion: Completion) -> PlannedRequest {
    PlannedRequest { request: call, losses: losses.to_vec(), completion, idempotent: false }
}
