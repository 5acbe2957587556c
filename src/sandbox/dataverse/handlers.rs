//! The responses.

use serde_json::{Map, Value, json};

use super::failure::{Failure, error_response};
use super::filter::Filter;
use super::metadata;
use super::routes::{API, Route};
use super::sample::{CLIENT_ID, CLIENT_SECRET, TENANT_ID};
use super::state::State;
use super::table::{Row, Table};
use crate::sandbox::common::{FakeRequest, FakeResponse};

/// The token endpoint: OAuth 2 client credentials in a form.
pub(super) fn sign_in(state: &mut State, tenant: &str, request: &FakeRequest<'_>) -> FakeResponse {
    let form = FakeRequest { query: std::str::from_utf8(request.body).unwrap_or_default(), ..*request };
    let field = |name: &str| form.query_param(name).unwrap_or_default();
    let is_form =
        request.header("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let (status, code, error, text) = if tenant != TENANT_ID {
        (400, 90002, "invalid_request", format!("Tenant '{tenant}' not found."))
    } else if !is_form || field("grant_type") != "client_credentials" {
        (400, 70003, "unsupported_grant_type", "The app requested an unsupported grant type.".to_owned())
    } else if field("client_id") != CLIENT_ID {
        (
            400,
            700_016,
            "unauthorized_client",
            "Application with this identifier was not found in the directory.".to_owned(),
        )
    } else if field("client_secret") != CLIENT_SECRET {
        (401, 7_000_215, "invalid_client", "Invalid client secret provided.".to_owned())
    } else if !field("scope").ends_with("/.default") {
        (400, 70011, "invalid_scope", format!("The provided value for scope is not valid: {}.", field("scope")))
    } else {
        let seconds = state.settings.token_life.as_secs();
        let token = state.issue_token();
        return FakeResponse::json(
            200,
            &json!({ "token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token }),
        );
    };
    let (trace, correlation) = ("3f9c0d5e-0000-4000-8000-5f0e9d2c1b00", "7a1e4b2c-0000-4000-8000-1c2b3a4d5e6f");
    let description =
        format!("AADSTS{code}: {text} Trace ID: {trace} Correlation ID: {correlation} Timestamp: 2026-01-01 00:00:00Z");
    FakeResponse::json(
        status,
        &json!({ "error": error, "error_description": description, "error_codes": [code],
                 "timestamp": "2026-01-01 00:00:00Z", "trace_id": trace, "correlation_id": correlation }),
    )
}

/// The responses to requests that need a token.
pub(super) fn respond_authorized(state: &mut State, route: &Route, request: &FakeRequest<'_>) -> FakeResponse {
    match route {
        Route::Unknown => return error_response(404, "0x8006088a", "Resource not found for the segment."),
        Route::WrongMethod => {
            return error_response(405, "0x80060888", "The requested resource does not support this method.");
        }
        _ => {}
    }
    if !request.bearer_token().is_some_and(|token| state.tokens.is_valid(token)) {
        let challenge = format!("Bearer authorization_uri=http://login.example/{TENANT_ID}/oauth2/authorize");
        return FakeResponse::empty(401).with_header("WWW-Authenticate", &challenge);
    }
    if state.settings.throttled > 0 {
        state.settings.throttled -= 1;
        let text = "Number of requests exceeded the limit of 6000 over time window of 300 seconds.";
        return error_response(429, "0x80072322", text).retry_after("1");
    }
    serve(state, route, request).unwrap_or_else(|failure| failure.to_response())
}

fn serve(state: &mut State, route: &Route, request: &FakeRequest<'_>) -> Result<FakeResponse, Failure> {
    let body = || match request.json() {
        Some(Value::Object(members)) if request.is_json() => Ok(members),
        _ => Err(Failure::BadBody),
    };
    let if_match = request.header("if-match");
    Ok(match route {
        Route::Read(set, key) => row_response(200, state.read(set, key)?, set, request),
        Route::List(set) => list(state, set, request)?,
        Route::Create(set) => {
            let key = state.create(set, &body()?)?;
            write_response(state, set, &key, 201, request)?
        }
        Route::Update(set, key) => {
            let is_new = state.update(set, key, &body()?, if_match)?;
            write_response(state, set, key, if is_new { 201 } else { 200 }, request)?
        }
        Route::Delete(set, key) => {
            state.delete(set, key, if_match)?;
            FakeResponse::empty(204)
        }
        Route::Tables | Route::Columns(..) | Route::Lookups(_) if state.settings.no_metadata => {
            error_response(403, "0x80040220", "The user is missing the prvReadEntity privilege.")
        }
        Route::Tables => metadata::tables(state),
        Route::Columns(table, cast) => metadata::columns(state, table, cast.as_deref())?,
        Route::Lookups(table) => metadata::lookups(state, table)?,
        Route::SignIn(_) | Route::WrongMethod | Route::Unknown => FakeResponse::empty(404),
    })
}

fn root(request: &FakeRequest<'_>) -> String {
    format!("http://{}{API}", request.header("host").unwrap_or_default())
}

fn row_response(status: u16, row: Map<String, Value>, set: &str, request: &FakeRequest<'_>) -> FakeResponse {
    let mut shown = Map::new();
    shown.insert("@odata.context".to_owned(), format!("{}$metadata#{set}/$entity", root(request)).into());
    shown.extend(row);
    FakeResponse::json(status, &Value::Object(shown)).with_header("OData-Version", "4.0")
}

/// The response to a write: the row if the request prefers it, else its address alone.
fn write_response(
    state: &State,
    set: &str,
    key: &str,
    status: u16,
    request: &FakeRequest<'_>,
) -> Result<FakeResponse, Failure> {
    let address = format!("{}{set}({key})", root(request));
    let response = if preference(request, "return").as_deref() == Some("representation") {
        row_response(status, state.read(set, key)?, set, request)
            .with_header("Preference-Applied", "return=representation")
    } else {
        FakeResponse::empty(204).with_header("OData-Version", "4.0")
    };
    Ok(response.with_header("OData-EntityId", &address))
}

fn preference(request: &FakeRequest<'_>, name: &str) -> Option<String> {
    let preferences = request.header("prefer")?.split(',').filter_map(|one| one.trim().split_once('='));
    preferences.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value.trim_matches('"').to_owned())
}

fn list(state: &State, set: &str, request: &FakeRequest<'_>) -> Result<FakeResponse, Failure> {
    let table = state.table(set).ok_or_else(|| Failure::UnknownSet(set.to_owned()))?;
    let filter = request.query_param("$filter").map(|text| Filter::parse(table, &text)).transpose()?;
    let start = match request.query_param("$skiptoken") {
        None => 0,
        Some(token) => skip_position(table, &token)?,
    };
    let size = preference(request, "odata.maxpagesize").and_then(|size| size.parse().ok()).unwrap_or(usize::MAX);
    let size = size.clamp(1, state.settings.page_size.max(1));
    let fits = |row: &&Row| filter.as_ref().is_none_or(|filter| filter.matches(row));
    let mut rest = table.rows.iter().skip(start).filter(fits);
    let page: Vec<&Row> = rest.by_ref().take(size).collect();
    let mut shown = Map::new();
    shown.insert("@odata.context".to_owned(), format!("{}$metadata#{set}", root(request)).into());
    shown.insert("value".to_owned(), page.iter().map(|row| select(table, row, request)).collect());
    if let (Some(last), true) = (page.last(), rest.next().is_some()) {
        let filter =
            request.query_param("$filter").map(|text| format!("$filter={}&", encode(&text))).unwrap_or_default();
        let token = encode(&format!("<cookie pagenumber=\"2\" last=\"{}\" />", last.key));
        shown.insert("@odata.nextLink".to_owned(), format!("{}{set}?{filter}$skiptoken={token}", root(request)).into());
    }
    Ok(FakeResponse::json(200, &Value::Object(shown)).with_header("OData-Version", "4.0"))
}

/// The position after the last row of the former page. If that row is gone, the list continues with
/// the first row that was created after it, which the fake cannot know: it starts again.
fn skip_position(table: &Table, token: &str) -> Result<usize, Failure> {
    let key = token.split("last=\"").nth(1).and_then(|rest| rest.split('"').next());
    let key = key.ok_or_else(|| Failure::BadQuery("The skip token is not valid.".to_owned()))?;
    Ok(table.rows.iter().position(|row| row.key == key).map_or(0, |at| at + 1))
}

/// A row with the columns of `$select`, or with all.
fn select(table: &Table, row: &Row, request: &FakeRequest<'_>) -> Value {
    let mut shown = row.to_map(table);
    if let Some(names) = request.query_param("$select") {
        let names: Vec<&str> = names.split(',').map(str::trim).collect();
        shown.retain(|name, _| name == "@odata.etag" || name == table.key || names.contains(&name.as_str()));
    }
    Value::Object(shown)
}

fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
