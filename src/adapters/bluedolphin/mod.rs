//! BlueDolphin (ValueBlue), enterprise architecture: the conversation about object definitions.
//!
//! The vendor has no versions and replaces whole definitions, some time after it has answered; and each replacement
//! destroys linked questions and source connections, which it never shows.

mod definition;
mod dialect;
mod replacement;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use actix_web::http::header::{HeaderName, HeaderValue};
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value};

use self::replacement::Wanted;
use super::common::{AllThatFit, all_of, bad_cursor, nameless, secret_header, unreadable, wrong};
use super::registry::{Form, required};
use super::{
    Adapter, Change, Completion, Created, Item, Loss, Page, Planned, Profile, SettingKey, Settings, UpdateStyle,
    VendorEntry, Versioning, WrongSetting,
};
use crate::record::{Action, Fault, Invalid, Members, RecordId, Secret, Stored, Version};
use crate::transport::{Call, Reply, Token, Transport, Vendor};

/// The registry's line.
pub(super) const ENTRY: VendorEntry = VendorEntry {
    vendor: "bluedolphin",
    settings: &[
        SettingKey {
            tells_whose: true,
            ..SettingKey::text("tenant", "the last part of bluedolphin.app/<tenant>").form(Form::Header)
        },
        SettingKey::secret("api_key", "the secret of a user key").form(Form::Header),
    ],
    added_paths: &["/v1"],
    collection_form: "\"object-definitions\"",
    is_collection: |text| text == dialect::DEFINITIONS,
    build: |settings| Ok(Arc::new(BlueDolphin::new(&Account::take(settings)?)?)),
};

const TENANT: HeaderName = HeaderName::from_static("tenant");
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Page size and number of pages of a search by name. Clients are known to ask for 2000.
const SEARCH_TAKE: usize = 1000;
const SEARCH_PAGES: u64 = 50;

const LINKED_QUESTIONS: Loss = Loss {
    name: "linked-questions",
    detail: "questions linked to the definition's properties and questionnaires, which the vendor's API neither shows nor keeps",
    actions: &[Action::Update],
    caller_must_accept: false,
};
const SOURCE_CONNECTIONS: Loss = Loss {
    name: "source-connections",
    detail: "connections of the definition to data sources, which the vendor's API neither shows nor keeps",
    actions: &[Action::Update],
    caller_must_accept: false,
};
const DEPENDENT_OBJECTS: Loss = Loss {
    name: "dependent-objects",
    detail: "every object based on the definition, for good",
    actions: &[Action::Delete],
    caller_must_accept: true,
};

static PROFILE: Profile = Profile {
    vendor: "bluedolphin",
    id_form: "object-definitions:{id}, the id 24 digits and lower-case letters",
    id_example: "object-definitions:640b3d7d4a28b925fcf8b9a2",
    versioning: Versioning::None,
    update_style: UpdateStyle::Replace,
    actions: &[Action::Read, Action::Create, Action::Update, Action::Delete],
    losses: &[LINKED_QUESTIONS, SOURCE_CONNECTIONS, DEPENDENT_OBJECTS],
    version_counts_up: false,
    ids_tell_time: false,
    list_is_whole: false,
};

/// Who the gateway is to the vendor.
#[derive(Clone, Debug)]
pub struct Account {
    /// The tenant's name.
    pub tenant: String,
    /// A user key. It cannot be renewed: an expired one needs a person.
    pub api_key: Secret,
}

impl Account {
    fn take(settings: &Settings) -> Result<Self, WrongSetting> {
        let tenant = required(settings, "tenant")?.expose().to_owned();
        Ok(Self { tenant, api_key: required(settings, "api_key")? })
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
    pub fn new(account: &Account) -> Result<Self, WrongSetting> {
        let unfit = |key| WrongSetting::new(key, "holds characters that no HTTP header can carry");
        let tenant = HeaderValue::from_str(&account.tenant).map_err(|_| unfit("tenant"))?;
        let api_key = secret_header(account.api_key.expose()).ok_or(unfit("api_key"))?;
        Ok(Self { tenant, api_key })
    }
}

#[async_trait(?Send)]
impl Vendor for BlueDolphin {
    fn fault(&self, call: &Call, reply: &Reply) -> Option<Fault> {
        dialect::judge(call, reply)
    }

    fn sign(&self, call: &mut Call, token: &Token) {
        call.headers.retain(|(name, _)| *name != API_KEY && *name != TENANT);
        call.headers.push((API_KEY, token.secret.clone()));
        call.headers.push((TENANT, self.tenant.clone()));
    }

    /// The key is all there is: no call is made.
    async fn sign_in(&self, _transport: &dyn Transport) -> Result<Token, Fault> {
        Ok(Token { secret: self.api_key.clone(), expires: None })
    }
}

#[async_trait(?Send)]
impl Adapter for BlueDolphin {
    fn profile(&self) -> &Profile {
        &PROFILE
    }

    fn collection(&self, raw: &str) -> Option<String> {
        (raw == dialect::DEFINITIONS).then(|| raw.to_owned())
    }

    fn key(&self, raw: &str) -> Option<String> {
        dialect::is_id(raw).then(|| raw.to_owned())
    }

    fn read_only(&self, member: &str) -> bool {
        !replacement::CHANGEABLE.contains(&member)
    }

    async fn read(&self, transport: &dyn Transport, id: &RecordId) -> Result<Stored, Fault> {
        let reply = transport.send(dialect::read_call(id)).await?;
        match definition::shown(&reply.body, true)? {
            (None, _) => Err(unreadable("a definition without an id")),
            (Some(other), _) if !other.eq_ignore_ascii_case(id.key()) => {
                Err(unreadable("another record than asked for"))
            }
            (Some(_), fields) => Ok(Stored { fields, version: None, warnings: Vec::new() }),
        }
    }

    async fn list(
        &self,
        transport: &dyn Transport,
        _collection: &str,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Page, Fault> {
        let start: u64 = cursor.map_or(Ok(0), |text| text.parse().map_err(|_| bad_cursor()))?;
        let reply = transport.send(dialect::list_call(start, limit)).await?;
        let listing = dialect::Listing::read(&reply.body)?;
        if listing.items.len() > limit {
            return Err(unreadable("more records than asked for"));
        }
        let items = listing.items.iter().map(|item| listed(item.get())).collect::<Result<Vec<_>, _>>()?;
        let end = start.saturating_add(u64::try_from(items.len()).unwrap_or(u64::MAX));
        let goes_on = match listing.total_items {
            _ if items.is_empty() => false,
            Some(total) => end < total,
            None => items.len() >= limit,
        };
        Ok(Page { items, next: goes_on.then(|| end.to_string()) })
    }

    fn impossible(&self, patch: &Members) -> Vec<Invalid> {
        replacement::impossible(&patch.to_map())
    }

    fn plan_update(
        &self,
        id: &RecordId,
        change: &Change<'_>,
        _expected: Option<&Version>,
    ) -> Result<Planned, Vec<Invalid>> {
        let Change::Whole { before, after } = change else {
            return Err(vec![Invalid::at("", "this vendor takes whole records, not the members that change")]);
        };
        Ok(match replacement::wanted(before, after)? {
            Wanted::Status { active } => planned(dialect::status_call(id, active), &[], Completion::Now),
            Wanted::Replace(body) => {
                planned(dialect::replace_call(id, &body), &[LINKED_QUESTIONS, SOURCE_CONNECTIONS], Completion::Queued)
            }
        })
    }

    fn plan_delete(&self, id: &RecordId, before: &Stored) -> Result<Planned, Vec<Invalid>> {
        if definition::is_active(&before.fields.to_map()) {
            let detail = "the vendor deletes disabled definitions only: patch status to \"disabled\" first";
            return Err(vec![wrong("status", detail)]);
        }
        let delete = planned(dialect::delete_call(id), &[DEPENDENT_OBJECTS], Completion::Now);
        Ok(Planned { repeatable: true, ..delete })
    }

    fn plan_create(&self, _collection: &str, fields: &Map<String, Value>) -> Result<Planned, Vec<Invalid>> {
        replacement::check_create(fields)?;
        Ok(planned(dialect::create_call(fields), &[], Completion::Now))
    }

    fn created(&self, collection: &str, reply: &Reply) -> Result<Created, Fault> {
        let key = dialect::created_id(reply).ok_or_else(|| nameless(reply))?;
        Ok(Created { id: RecordId::new(collection, &key), stored: None })
    }

    /// Names are unique in a tenant, and the list shows nothing else that a create gives.
    fn made_at(&self, _id: &RecordId) -> Option<Timestamp> {
        None
    }

    async fn matching(
        &self,
        transport: &dyn Transport,
        _collection: &str,
        fields: &Map<String, Value>,
    ) -> Result<Option<Vec<RecordId>>, Fault> {
        let Some(name) = definition::name_in(fields) else { return Ok(None) };
        let wanted = all_of(&Map::from_iter([("name".to_owned(), name.into())]));
        let mut search = AllThatFit::new(&wanted);
        let mut cursor = None;
        for _ in 0..SEARCH_PAGES {
            let page = self.list(transport, dialect::DEFINITIONS, SEARCH_TAKE, cursor.as_deref()).await?;
            for item in page.items {
                search.look_at(item.id, &item.stored.fields.to_map());
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(Some(search.found()));
            }
        }
        Ok(None)
    }
}

fn listed(text: &str) -> Result<Item, Fault> {
    let (id, fields) = definition::shown(text.as_bytes(), false)?;
    let key =
        id.filter(|id| dialect::is_id(id)).ok_or_else(|| unreadable("a definition without an id of the known form"))?;
    let stored = Stored { fields, version: None, warnings: Vec::new() };
    Ok(Item { id: RecordId::new(dialect::DEFINITIONS, &key), stored, partial: true })
}

fn planned(call: Call, losses: &[Loss], completion: Completion) -> Planned {
    Planned { call, losses: losses.to_vec(), completion, repeatable: false }
}
