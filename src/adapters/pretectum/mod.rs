//! Pretectum, customer master data management: the conversation.
//!
//! The vendor has no endpoint for one record: reading one means going through the pages of its dataset. A bounded memory of
//! the page where a record was last seen makes the usual read one call; "not found" is said only after a whole scan.
//! A record in more than `MAX_PAGES` pages, and one that moves to a page already read while the scan runs, cannot be told
//! from one that is missing: nothing documents the order of the list.

mod dialect;
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

use super::common::{AllThatFit, all_of, bad_cursor, nameless, unreadable};
use super::registry::{Form, required};
use super::{
    Adapter, Change, Created, Item, Page, Planned, Profile, SettingKey, Settings, UpdateStyle, VendorEntry, Versioning,
    WrongSetting,
};
use crate::record::{Action, Fault, FaultKind, Invalid, Members, RecordId, Secret, Stored, Version};
use crate::transport::{Call, CallName, Reply, Token, Transport, Vendor};

/// The registry's line.
pub(super) const ENTRY: VendorEntry = VendorEntry {
    vendor: "pretectum",
    settings: &[
        SettingKey::text("client_id", "the application client's id"),
        SettingKey::secret("client_secret", "the application client's secret"),
        SettingKey {
            default: Some("/v1/oauth2/token"),
            ..SettingKey::text("token_path", "a path such as \"/v1/oauth2/token\" or \"/oauth2/token\"")
                .form(Form::Path)
        },
    ],
    added_paths: &["/v1"],
    collection_form: "\"{businessAreaId}:{schemaId}:{datasetId}\", each 20 to 64 letters and digits",
    is_collection: |text| dialect::collection(text).is_some(),
    build: |settings| Ok(Arc::new(Pretectum::new(Credentials::take(settings)?)?)),
};

/// More pages than any dataset should have: a list that goes on longer has no end.
const MAX_PAGES: usize = 10_000;
/// Of how many records the page is remembered.
const REMEMBERED_RECORDS: u64 = 50_000;

static PROFILE: Profile = Profile {
    vendor: "pretectum",
    id_form: "{businessAreaId}:{schemaId}:{datasetId}:{dataObjectId}, each 20 to 64 letters and digits",
    id_example: "20240115103000123a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5:20240115103500456b1c2d3e4f5g6h7i8j9k0l1m2n3o4p5:\
                 20240925084200789c1d2e3f4g5h6i7j8k9l0m1n2o3p4q5:20240601120000321d1e2f3g4h5i6j7k8l9m0n1o2p3q4r5",
    versioning: Versioning::Native,
    update_style: UpdateStyle::Partial,
    actions: &[Action::Read, Action::Create, Action::Update, Action::Delete],
    losses: &[],
    version_counts_up: true,
    ids_tell_time: true,
    list_is_whole: true,
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
    fn take(settings: &Settings) -> Result<Self, WrongSetting> {
        Ok(Self {
            client_id: required(settings, "client_id")?.expose().to_owned(),
            client_secret: required(settings, "client_secret")?,
            token_path: required(settings, "token_path")?.expose().to_owned(),
        })
    }
}

/// One Pretectum tenant.
pub struct Pretectum {
    credentials: Credentials,
    /// Full id → key of the page where the record was last seen. Records of the first page are not in it.
    last_seen: Cache<RecordId, Arc<str>>,
}

impl Pretectum {
    /// # Errors
    /// A token path that is no path.
    pub fn new(credentials: Credentials) -> Result<Self, WrongSetting> {
        let is_path = |path: &str| path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_path(&credentials.token_path) {
            return Err(WrongSetting::new("token_path", "must be a path that begins with /"));
        }
        Ok(Self { credentials, last_seen: Cache::new(REMEMBERED_RECORDS) })
    }

    async fn remember(&self, id: &RecordId, page_key: Option<&str>) {
        match page_key {
            Some(key) => self.last_seen.insert(id.clone(), key.into()).await,
            None => self.last_seen.invalidate(id).await,
        }
    }

    /// Looks at the page where the record was last seen. A page key that the vendor no longer takes is no fault of the read.
    async fn read_where_last_seen(&self, transport: &dyn Transport, id: &RecordId) -> Result<Option<Stored>, Fault> {
        let Some(page_key) = self.last_seen.get(id).await else { return Ok(None) };
        let call = dialect::list_call(CallName::Read, id.collection(), Some(&page_key));
        let found = match transport.send(call).await {
            Ok(reply) => dialect::Listing::read(&reply.body)?.find(id.key())?,
            Err(fault) if matches!(fault.status, Some(400 | 404 | 410 | 422)) => None,
            Err(fault) => return Err(fault),
        };
        if found.is_none() {
            self.last_seen.invalidate(id).await;
        }
        Ok(found)
    }
}

/// Goes through the pages of a list; sees to it that the list has an end.
struct Scan<'s> {
    transport: &'s dyn Transport,
    call: CallName,
    collection: &'s str,
    page_key: Option<String>,
    seen: HashSet<String>,
    ended: bool,
}

impl<'s> Scan<'s> {
    fn new(transport: &'s dyn Transport, call: CallName, collection: &'s str) -> Self {
        Self { transport, call, collection, page_key: None, seen: HashSet::new(), ended: false }
    }

    /// The next page and the key it was asked with. An empty page may have a successor: only the key tells the end.
    async fn next(&mut self) -> Result<Option<(Option<String>, Reply)>, Fault> {
        if self.ended {
            return Ok(None);
        }
        let asked_with = self.page_key.take();
        let reply = self.transport.send(dialect::list_call(self.call, self.collection, asked_with.as_deref())).await?;
        self.page_key = dialect::Listing::read(&reply.body)?.next().map(str::to_owned);
        match &self.page_key {
            None => self.ended = true,
            Some(key) if !self.seen.insert(key.clone()) => return Err(unreadable("a list that goes in circles")),
            Some(_) if self.seen.len() >= MAX_PAGES => return Err(unreadable("a list without an end")),
            Some(_) => {}
        }
        Ok(Some((asked_with, reply)))
    }
}

#[async_trait(?Send)]
impl Vendor for Pretectum {
    fn fault(&self, call: &Call, reply: &Reply) -> Option<Fault> {
        let mut fault = dialect::judge(call, reply)?;
        // The one secret that stands in a body, where the dialect does not look for what must not be repeated.
        if call.name == CallName::SignIn {
            let secret = self.credentials.client_secret.expose();
            fault.message = fault.message.map(|words| words.replace(secret, "…"));
        }
        Some(fault)
    }

    /// The token alone: the word `Bearer`, which the vendor names as the token's type, must not be sent.
    fn sign(&self, call: &mut Call, token: &Token) {
        call.headers.retain(|(name, _)| name != AUTHORIZATION);
        call.headers.push((AUTHORIZATION, token.secret.clone()));
    }

    async fn sign_in(&self, transport: &dyn Transport) -> Result<Token, Fault> {
        let asked_at = Instant::now();
        let configured = self.credentials.token_path.as_str();
        let reply = match transport.send(dialect::sign_in_call(&self.credentials, configured)).await {
            Err(fault) if matches!(fault.status, Some(403 | 404)) => {
                let other = dialect::TOKEN_PATHS.into_iter().find(|path| *path != configured).unwrap_or(configured);
                match transport.send(dialect::sign_in_call(&self.credentials, other)).await {
                    // Neither is there: what the configured one said is what the operator can act on.
                    Err(second) if matches!(second.status, Some(403 | 404)) => return Err(fault),
                    answered => answered?,
                }
            }
            answered => answered?,
        };
        let (secret, life) = dialect::read_token(&reply.body)?;
        Ok(Token { secret, expires: asked_at.checked_add(life) })
    }
}

#[async_trait(?Send)]
impl Adapter for Pretectum {
    fn profile(&self) -> &Profile {
        &PROFILE
    }

    fn collection(&self, raw: &str) -> Option<String> {
        dialect::collection(raw)
    }

    fn key(&self, raw: &str) -> Option<String> {
        dialect::is_id(raw).then(|| raw.to_owned())
    }

    fn read_only(&self, member: &str) -> bool {
        dialect::is_reserved(member)
    }

    async fn read(&self, transport: &dyn Transport, id: &RecordId) -> Result<Stored, Fault> {
        if let Some(found) = self.read_where_last_seen(transport, id).await? {
            return Ok(found);
        }
        let mut scan = Scan::new(transport, CallName::Read, id.collection());
        while let Some((page_key, reply)) = scan.next().await? {
            if let Some(found) = dialect::Listing::read(&reply.body)?.find(id.key())? {
                self.remember(id, page_key.as_deref()).await;
                return Ok(found);
            }
        }
        Err(Fault::new(FaultKind::NotFound).message("no page of the dataset holds the record"))
    }

    async fn list(
        &self,
        transport: &dyn Transport,
        collection: &str,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Page, Fault> {
        let cursor = cursor.map_or(Ok(Cursor::default()), |text| Cursor::parse(text).ok_or_else(bad_cursor))?;
        let call = dialect::list_call(CallName::List, collection, cursor.page_key.as_deref());
        let reply = transport.send(call).await?;
        let listing = dialect::Listing::read(&reply.body)?;
        if listing.next().is_some() && listing.next() == cursor.page_key.as_deref() {
            return Err(unreadable("a list that goes in circles"));
        }
        let keys = listing.items.iter().map(|item| dialect::key_of(item)).collect::<Result<Vec<_>, _>>()?;
        // The vendor alone decides how long its pages are; where the page was left is told by the last record given out.
        let last = cursor.last_key.as_deref().and_then(|last| keys.iter().position(|key| key == last));
        let begin = last.map_or(cursor.given_out, |last| last + 1);
        let mut items = Vec::new();
        for item in listing.items.iter().skip(begin).take(limit) {
            let (key, stored) = dialect::read_record(item.get().as_bytes())?;
            let key = self.key(&key).ok_or_else(|| unreadable("a record whose id has another form"))?;
            let id = RecordId::new(collection, &key);
            self.remember(&id, cursor.page_key.as_deref()).await;
            items.push(Item { id, stored, partial: false });
        }
        let given_out = begin + items.len();
        let next = if given_out < listing.items.len() {
            let last_key = items.last().map(|item| item.id.key().to_owned());
            Some(Cursor { given_out, last_key, page_key: cursor.page_key }.to_string())
        } else {
            listing.next().map(|key| Cursor { page_key: Some(key.to_owned()), ..Cursor::default() }.to_string())
        };
        Ok(Page { items, next })
    }

    /// Which values an attribute takes only the vendor knows.
    fn impossible(&self, _patch: &Members) -> Vec<Invalid> {
        Vec::new()
    }

    fn plan_update(
        &self,
        id: &RecordId,
        change: &Change<'_>,
        expected: Option<&Version>,
    ) -> Result<Planned, Vec<Invalid>> {
        Ok(Planned::now(dialect::update_call(id, change.members()?, expected)?, true))
    }

    fn plan_delete(&self, id: &RecordId, _before: &Stored) -> Result<Planned, Vec<Invalid>> {
        Ok(Planned::now(dialect::delete_call(id), true))
    }

    fn plan_create(&self, collection: &str, fields: &Map<String, Value>) -> Result<Planned, Vec<Invalid>> {
        Ok(Planned::now(dialect::create_call(collection, fields)?, false))
    }

    fn created(&self, collection: &str, reply: &Reply) -> Result<Created, Fault> {
        let text = std::str::from_utf8(&reply.body).ok().and_then(|text| serde_json::from_str(text).ok());
        let key = text
            .and_then(|raw| dialect::key_of(raw).ok())
            .and_then(|key| self.key(&key))
            .ok_or_else(|| nameless(reply))?;
        // A record that is there but cannot be shown from this answer is read by the gateway.
        let stored = dialect::read_record(&reply.body).ok().map(|(_, stored)| stored);
        Ok(Created { id: RecordId::new(collection, &key), stored })
    }

    fn made_at(&self, id: &RecordId) -> Option<Timestamp> {
        dialect::made_at(id.key())
    }

    async fn matching(
        &self,
        transport: &dyn Transport,
        collection: &str,
        fields: &Map<String, Value>,
    ) -> Result<Option<Vec<RecordId>>, Fault> {
        let wanted = all_of(fields);
        let mut search = AllThatFit::new(&wanted);
        let mut scan = Scan::new(transport, CallName::List, collection);
        while let Some((_, reply)) = scan.next().await? {
            for item in dialect::Listing::read(&reply.body)?.items {
                let (key, stored) = dialect::read_record(item.get().as_bytes())?;
                search.look_at(key, &stored.fields.to_map());
            }
        }
        let keys = search.found().into_iter().filter_map(|key| self.key(&key));
        Ok(Some(keys.map(|key| RecordId::new(collection, &key)).collect()))
    }
}

/// Where a list goes on: within a vendor's page, or at the beginning of another.
#[derive(Default)]
struct Cursor {
    given_out: usize,
    last_key: Option<String>,
    page_key: Option<String>,
}

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let given_out = parts.next()?.parse().ok()?;
        let some = |part: &str| (!part.is_empty()).then(|| part.to_owned());
        Some(Self { given_out, last_key: some(parts.next()?), page_key: some(parts.next()?) })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        write!(formatter, "{}.{}.{}", self.given_out, text(&self.last_key), text(&self.page_key))
    }
}
