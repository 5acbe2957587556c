//! Matrix42, enterprise service management: the conversation about fragments, the rows of a Data Definition.
//!
//! The list gives only the columns it is asked for, and no vendor page says how to learn them but by reading: the columns of
//! a Data Definition are the members that its first fragment shows, remembered for a while.

mod access_token;
mod dialect;
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

use self::dialect::{Columns, Cursor, Fragment};
use super::common::{AllThatFit, all_of, bad_cursor, nameless, secret_header, unreadable};
use super::registry::{Form, required};
use super::{
    Adapter, Change, Created, Item, Page, Planned, Profile, SettingKey, UpdateStyle, VendorEntry, Versioning,
    WrongSetting,
};
use crate::record::{Action, Fault, FaultKind, Invalid, Members, RecordId, Secret, Stored, Version};
use crate::transport::{Call, CallName, Reply, Token, Transport, Vendor};

/// The registry's line.
pub(super) const ENTRY: VendorEntry = VendorEntry {
    vendor: "matrix42",
    settings: &[SettingKey::secret("api_token", "an API token, to be exchanged for access tokens").form(Form::Header)],
    added_paths: &["/m42Services/api", "/m42Services"],
    collection_form: "a Data Definition's technical name, such as \"SPSScCategoryClassBase\"",
    is_collection: dialect::is_definition,
    build: |settings| Ok(Arc::new(Matrix42::new(&required(settings, "api_token")?)?)),
};

/// How many Data Definitions' columns are remembered, and how long.
const REMEMBERED_DEFINITIONS: u64 = 256;
const COLUMNS_LIFE: Duration = Duration::from_mins(10);
/// Page size and number of pages of a search. Pages of 1000 are known to work.
const SEARCH_SIZE: usize = 1000;
const SEARCH_PAGES: u64 = 50;
/// A query longer than this may be cut off by the web server before the vendor sees it (IIS allows 2048 bytes).
const LONG_QUERY: usize = 2000;

static PROFILE: Profile = Profile {
    vendor: "matrix42",
    id_form: "{Data Definition's technical name}:{GUID}",
    id_example: "SPSScCategoryClassBase:7777780d-71a0-df11-708c-000c2968299e",
    versioning: Versioning::Native,
    update_style: UpdateStyle::Partial,
    actions: &[Action::Read, Action::Create, Action::Update, Action::Delete],
    losses: &[],
    version_counts_up: false,
    ids_tell_time: false,
    list_is_whole: true,
};

/// One Matrix42 server.
pub struct Matrix42 {
    /// `Bearer …`, for the exchange alone.
    api_token: HeaderValue,
    columns: Cache<String, Arc<[String]>>,
    /// The Data Definitions whose lists do not take `TimeStamp` for a column: their items carry no tags.
    without_versions: Cache<String, ()>,
}

impl Matrix42 {
    /// # Errors
    /// An API token that no header can carry.
    pub fn new(api_token: &Secret) -> Result<Self, WrongSetting> {
        let unfit = WrongSetting::new("api_token", "holds characters that no HTTP header can carry");
        let api_token = secret_header(&format!("Bearer {}", api_token.expose())).ok_or(unfit)?;
        let columns = Cache::builder().max_capacity(REMEMBERED_DEFINITIONS).time_to_live(COLUMNS_LIFE).build();
        let without_versions = Cache::builder().max_capacity(REMEMBERED_DEFINITIONS).time_to_live(COLUMNS_LIFE).build();
        Ok(Self { api_token, columns, without_versions })
    }

    /// The columns that make a list item whole; `None` where they cannot be learned.
    async fn columns(&self, transport: &dyn Transport, definition: &str) -> Result<Option<Arc<[String]>>, Fault> {
        if let Some(known) = self.columns.get(definition).await {
            return Ok(Some(known));
        }
        let probe =
            self.listed(transport, definition, &[], |columns| dialect::list_call(definition, columns, 0, 1)).await?;
        let first = dialect::read_page(&probe.body, None)?.into_iter().next();
        let Some(key) = first.and_then(|fragment| fragment.id) else { return Ok(None) };
        let id = RecordId::new(definition, &key);
        let answer = match transport.send(dialect::schema_call(&id)).await {
            // A server without the call: the fragment itself shows the same names.
            Err(fault) if is_verdict(&fault) => transport.send(dialect::read_call(CallName::Schema, &id)).await,
            answered => answered,
        };
        let names = match answer {
            Ok(reply) => dialect::column_names(&reply.body)?,
            Err(fault) if is_verdict(&fault) => None,
            Err(fault) => return Err(fault),
        };
        let names: Option<Arc<[String]>> = names.map(Into::into);
        if let Some(names) = &names {
            self.columns.insert(definition.to_owned(), Arc::clone(names)).await;
        }
        Ok(names)
    }

    /// A list with versions or, of a Data Definition that has shown that it does not give them so, without.
    async fn listed(
        &self,
        transport: &dyn Transport,
        definition: &str,
        names: &[String],
        call: impl Fn(&Columns<'_>) -> Call,
    ) -> Result<Reply, Fault> {
        let versions = !self.without_versions.contains_key(definition);
        match transport.send(call(&Columns { names, versions })).await {
            Err(fault) if versions && dialect::refuses_versions(&fault) => {
                self.without_versions.insert(definition.to_owned(), ()).await;
                transport.send(call(&Columns { names, versions: false })).await
            }
            answered => answered,
        }
    }

    /// A page with these columns and, where the vendor does not take them (any more), with those that every fragment has.
    async fn page(
        &self,
        transport: &dyn Transport,
        definition: &str,
        columns: &mut Option<Arc<[String]>>,
        cursor: &Cursor,
    ) -> Result<Reply, Fault> {
        let asked = columns.clone().unwrap_or_default();
        let call = |columns: &Columns<'_>| dialect::list_call(definition, columns, cursor.page, cursor.size);
        let is_long = call(&Columns { names: &asked, versions: true }).path.len() > LONG_QUERY;
        match self.listed(transport, definition, &asked, call).await {
            Err(fault)
                if !asked.is_empty()
                    && (fault.kind == FaultKind::Rejected || (is_long && fault.kind == FaultKind::NotFound)) =>
            {
                self.columns.invalidate(definition).await;
                *columns = None;
                self.listed(transport, definition, &[], call).await.map_err(as_read)
            }
            answered => answered.map_err(as_read),
        }
    }
}

/// Whether the vendor answered about the call itself, as opposed to a failure on the way.
fn is_verdict(fault: &Fault) -> bool {
    matches!(
        fault.kind,
        FaultKind::NotFound | FaultKind::Rejected | FaultKind::VendorError | FaultKind::Protocol | FaultKind::Forbidden
    )
}

/// A list has no values of the caller's that could be wrong.
fn as_read(mut fault: Fault) -> Fault {
    if fault.kind == FaultKind::Rejected {
        fault.kind = FaultKind::VendorError;
    }
    fault
}

#[async_trait(?Send)]
impl Vendor for Matrix42 {
    fn fault(&self, call: &Call, reply: &Reply) -> Option<Fault> {
        dialect::judge(call, reply)
    }

    fn sign(&self, call: &mut Call, token: &Token) {
        call.headers.retain(|(name, _)| name != AUTHORIZATION);
        call.headers.push((AUTHORIZATION, token.secret.clone()));
    }

    async fn sign_in(&self, transport: &dyn Transport) -> Result<Token, Fault> {
        let asked_at = Instant::now();
        let asked_at_date = Timestamp::now();
        let reply = transport.send(dialect::sign_in_call(&self.api_token)).await?;
        let (secret, life) = access_token::read(&reply.body, asked_at_date)?;
        Ok(Token { secret, expires: asked_at.checked_add(life) })
    }
}

#[async_trait(?Send)]
impl Adapter for Matrix42 {
    fn profile(&self) -> &Profile {
        &PROFILE
    }

    fn collection(&self, raw: &str) -> Option<String> {
        dialect::is_definition(raw).then(|| raw.to_owned())
    }

    fn key(&self, raw: &str) -> Option<String> {
        dialect::guid(raw)
    }

    fn read_only(&self, member: &str) -> bool {
        dialect::is_reserved(member)
    }

    async fn read(&self, transport: &dyn Transport, id: &RecordId) -> Result<Stored, Fault> {
        let reply = transport.send(dialect::read_call(CallName::Read, id)).await?;
        let fragment = dialect::read_fragment(&reply.body, None)?;
        if fragment.id.is_some_and(|other| other != id.key()) {
            return Err(unreadable("another fragment than asked for"));
        }
        match fragment.stored.version {
            Some(_) => Ok(fragment.stored),
            None => Err(unreadable("a fragment without TimeStamp")),
        }
    }

    /// The number of a page means something only with its size: a cursor serves the limit it came from, or a larger one.
    async fn list(
        &self,
        transport: &dyn Transport,
        collection: &str,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Page, Fault> {
        let begin = Cursor { size: limit, ..Cursor::default() };
        let cursor = cursor.map_or(Some(begin), Cursor::parse).filter(|cursor| cursor.size <= limit);
        let cursor = cursor.ok_or_else(bad_cursor)?;
        let mut columns = self.columns(transport, collection).await.map_err(as_read)?;
        let reply = self.page(transport, collection, &mut columns, &cursor).await?;
        let (fragments, next) = cursor.turn(dialect::read_page(&reply.body, columns.as_deref())?)?;
        let items = fragments.into_iter().map(|fragment| item(collection, fragment, columns.as_deref()));
        Ok(Page { items: items.collect::<Result<_, _>>()?, next: next.map(|cursor| cursor.to_string()) })
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
        let key = dialect::new_guid(reply).ok_or_else(|| nameless(reply))?;
        Ok(Created { id: RecordId::new(collection, &key), stored: None })
    }

    fn made_at(&self, _id: &RecordId) -> Option<Timestamp> {
        None
    }

    async fn matching(
        &self,
        transport: &dyn Transport,
        collection: &str,
        fields: &Map<String, Value>,
    ) -> Result<Option<Vec<RecordId>>, Fault> {
        if !fields.keys().all(|name| dialect::is_column(name)) {
            return Ok(None);
        }
        let columns: Vec<String> = fields.keys().cloned().collect();
        let wanted = all_of(fields);
        let mut search = AllThatFit::new(&wanted);
        let mut next = Some(Cursor { size: SEARCH_SIZE, ..Cursor::default() });
        while let Some(cursor) = next.filter(|cursor| cursor.page < SEARCH_PAGES) {
            let call =
                |columns: &Columns<'_>| dialect::search_call(collection, columns, fields, cursor.page, cursor.size);
            let reply = self.listed(transport, collection, &columns, call).await?;
            let fragments;
            (fragments, next) = cursor.turn(dialect::read_page(&reply.body, None)?)?;
            for fragment in fragments {
                search.look_at(fragment.id, &fragment.stored.fields.to_map());
            }
            if next.is_none() {
                let keys = search.found().into_iter().flatten();
                return Ok(Some(keys.map(|key| RecordId::new(collection, &key)).collect()));
            }
        }
        Ok(None)
    }
}

/// An item is whole if it has a version and every member that GET shows.
fn item(collection: &str, fragment: Fragment, columns: Option<&[String]>) -> Result<Item, Fault> {
    let key = fragment.id.ok_or_else(|| unreadable("a fragment without ID"))?;
    let has_all = columns.is_some_and(|columns| columns.len() == fragment.members);
    let partial = !has_all || fragment.stored.version.is_none();
    Ok(Item { id: RecordId::new(collection, &key), stored: fragment.stored, partial })
}
