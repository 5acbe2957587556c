//! A fake Microsoft Dataverse: the Web API 9.2, with its sign-in service.
//!
//! ## Documented traps that it reproduces
//!
//! - PATCH without `If-Match` is an upsert: it creates a row that does not exist. With `If-Match`
//!   it does not, and a missing row is 404 `0x80040217`.
//! - Row versions are weak validators (`W/"12345"`). A stale one is 412 `0x80060882`, on PATCH and
//!   on DELETE. A table without optimistic concurrency rejects every version with 400 `0x80060883`.
//! - PATCH and POST respond 204 with the row's address in `OData-EntityId` alone, unless the
//!   request has `Prefer: return=representation`.
//! - A lookup is read as `_name_value` and written as `navigation@odata.bind`. The navigation
//!   property of a lookup with several targets depends on the target, and its case matters.
//! - Some columns change with every write (`modifiedon`, `_modifiedby_value`, `versionnumber`), and
//!   a write cannot set them.
//! - Lists have pages, and `@odata.nextLink` is an absolute URL.
//! - An expired token is 401 with `WWW-Authenticate: Bearer authorization_uri=…`.
//! - Errors of the sign-in have a trace id in their text.
//!
//! ## Assumptions where the documentation is silent
//!
//! A write that names a column that cannot be set is accepted, and the column keeps its value. A
//! lookup of a row that does not exist is 404 `0x80040217` that names the other table. A key that
//! exists is 412 `0x80040237`. The texts of unknown columns and of values of another type are those
//! that clients have reported.

mod columns;
mod failure;
mod filter;
mod handlers;
mod metadata;
mod routes;
mod sample;
mod state;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Map, Value};

use super::common::lock::lock;
use super::common::options::{parse_flag, parse_number, parse_optional_text};
use super::common::{CallKind, Change, FakeRequest, FakeResponse, FakeVendor, VendorModel};
use handlers::respond_authorized;
use routes::{Route, route};
pub use sample::{
    A_DATUM_ID, ACCOUNTS, CLIENT_ID, CLIENT_SECRET, CONTACTS, FIRST_NOTE_ID, FOURTH_COFFEE_ID, LITWARE_ID, MARIA_ID,
    NOTES, TENANT_ID, YVONNE_ID,
};
pub use state::Settings;
use state::State;
pub use table::Row;

/// A running fake Dataverse.
pub type Vendor = FakeVendor<Dataverse>;

/// Dataverse's behaviour and state.
#[derive(Debug, Default)]
pub struct Dataverse(Mutex<State>);

impl Dataverse {
    /// Changes the settings.
    pub fn configure(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut lock(&self.0).settings);
    }

    /// Invalidates every token issued so far.
    pub fn expire_all_tokens(&self) {
        lock(&self.0).tokens.expire_all();
    }

    /// A row by its key in lower case.
    pub fn row(&self, set: &str, key: &str) -> Option<Row> {
        lock(&self.0).table(set)?.row(key).cloned()
    }

    /// Every row of a table, in the order in which they were created.
    pub fn rows(&self, set: &str) -> Vec<Row> {
        lock(&self.0).table(set).map(|table| table.rows.clone()).unwrap_or_default()
    }

    /// Changes columns as another client would, with a new version. Returns `false` if there is no
    /// such row.
    pub fn write(&self, set: &str, key: &str, change: impl FnOnce(&mut Map<String, Value>)) -> bool {
        lock(&self.0).write(set, key, change)
    }

    /// Creates a row as another client would and returns its key.
    pub fn insert(&self, set: &str, columns: &Map<String, Value>) -> Option<String> {
        lock(&self.0).create(set, columns).ok()
    }

    /// Deletes a row as another client would. Returns `false` if there is no such row.
    pub fn remove(&self, set: &str, key: &str) -> bool {
        lock(&self.0).delete(set, key, None).is_ok()
    }

    /// Starts recording changes of rows.
    pub fn record_changes(&self) {
        lock(&self.0).changes.enable();
    }

    /// Every recorded change, whichever client made it, in order.
    pub fn changes(&self) -> Vec<Change> {
        lock(&self.0).changes.all()
    }
}

impl VendorModel for Dataverse {
    const NAME: &'static str = "dataverse";
    const SYSTEM: &'static str = "sales";
    const TEXT_MEMBER: &'static str = "description";

    fn settings(base_url: &str) -> Vec<(&'static str, String)> {
        let settings = [
            ("authority", base_url),
            ("tenant_id", TENANT_ID),
            ("client_id", CLIENT_ID),
            ("client_secret", CLIENT_SECRET),
        ];
        settings.map(|(key, value)| (key, value.to_owned())).into()
    }

    fn call_kind(&self, request: &FakeRequest<'_>) -> CallKind {
        match route(request) {
            Route::SignIn(_) => CallKind::SignIn,
            Route::Read(..) => CallKind::Read,
            Route::List(_) => CallKind::List,
            Route::Create(_) => CallKind::Create,
            Route::Update(..) => CallKind::Update,
            Route::Delete(..) => CallKind::Delete,
            Route::Tables | Route::Columns(..) | Route::Lookups(_) => CallKind::Schema,
            Route::WrongMethod | Route::Unknown => CallKind::Other,
        }
    }

    fn respond(&self, request: &FakeRequest<'_>) -> FakeResponse {
        let mut state = lock(&self.0);
        match route(request) {
            Route::SignIn(tenant) => handlers::sign_in(&mut state, &tenant, request),
            route => respond_authorized(&mut state, &route, request),
        }
    }

    fn records(&self) -> Value {
        let state = lock(&self.0);
        let rows = |table: &table::Table| {
            (table.set.to_owned(), table.rows.iter().map(|row| Value::Object(row.to_map(table))).collect())
        };
        Value::Object(state.tables.iter().map(rows).collect())
    }

    fn external_update(&self, path: &[String], members: &Map<String, Value>) -> bool {
        let [set, key] = path else { return false };
        self.write(set, &key.to_ascii_lowercase(), |columns| columns.extend(members.clone()))
    }

    fn set_option(&self, name: &str, value: &Value) -> Result<(), String> {
        let mut state = lock(&self.0);
        let settings = &mut state.settings;
        match name {
            "token_life_ms" => settings.token_life = Duration::from_millis(parse_number(value)?),
            "page_size" => settings.page_size = usize::try_from(parse_number(value)?).unwrap_or(usize::MAX),
            "throttled" => settings.throttled = parse_number(value)?,
            "ignored_column" => settings.ignored_column = parse_optional_text(value)?,
            "no_metadata" => settings.no_metadata = parse_flag(value)?,
            "expire_all_tokens" => state.tokens.expire_all(),
            _ => {
                let options = "token_life_ms, page_size, throttled, ignored_column, no_metadata, expire_all_tokens";
                return Err(options.to_owned());
            }
        }
        Ok(())
    }
}
