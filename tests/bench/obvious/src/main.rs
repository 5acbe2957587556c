//! What a team writes first: a gateway in front of Matrix42 that journals each write in SQLite.
//!
//! It inserts the intent and commits, sends the update, updates the outcome and commits. It has
//! keys for callers and one token for the vendor, and nothing else of records-gateway: no ledger,
//! metrics, retries, limits, leases, idempotency or recovery. The journal is as durable.
//!
//!     obvious-gateway PORT VENDOR_HOST:PORT API_TOKEN KEY_SHA256 DATABASE_FILE default|lean
//!
//! With `default` the runtime and the pool have their defaults: a thread for each core, ten
//! connections. With `lean` they have one thread and one connection.

use std::sync::Arc;

use axum::extract::{Json, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::get};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use tokio::runtime::Builder;
use uuid::Uuid;

const SIGN_IN: &str = "m42Services/api/ApiToken/GenerateAccessTokenFromApiToken";
const FRAGMENTS: &str = "m42Services/api/data/fragments";
const CREATE_OPERATION: &str = "CREATE TABLE IF NOT EXISTS operation (id TEXT PRIMARY KEY, record TEXT NOT NULL,
    request TEXT NOT NULL, state TEXT NOT NULL, status INTEGER, started_at TEXT NOT NULL, finished_at TEXT)";
const INSERT_INTENT: &str = "INSERT INTO operation (id, record, request, state, started_at)
    VALUES (?, ?, ?, 'running', strftime('%Y-%m-%dT%H:%M:%fZ'))";
const UPDATE_OUTCOME: &str =
    "UPDATE operation SET state = ?, status = ?, finished_at = strftime('%Y-%m-%dT%H:%M:%fZ') WHERE id = ?";

struct Gateway {
    journal: SqlitePool,
    client: reqwest::Client,
    vendor: String,
    token: String,
    key_sha256: String,
}

enum Failure {
    Status(StatusCode, &'static str),
    Journal(sqlx::Error),
    Vendor(reqwest::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Journal(error)
    }
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        Self::Vendor(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, detail) = match self {
            Self::Status(status, detail) => (status, detail.to_owned()),
            Self::Journal(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
            Self::Vendor(error) => (StatusCode::BAD_GATEWAY, error.to_string()),
        };
        let content_type = [(header::CONTENT_TYPE, "application/problem+json")];
        (status, content_type, json!({ "status": status.as_u16(), "detail": detail }).to_string()).into_response()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: [String; 6] = arguments.try_into().map_err(|_| "six arguments are needed")?;
    let is_lean = arguments[5] == "lean";
    let mut runtime = if is_lean { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    runtime.enable_all().build()?.block_on(serve(arguments, if is_lean { 1 } else { 10 }))
}

async fn serve(arguments: [String; 6], connections: u32) -> Result<(), Box<dyn std::error::Error>> {
    let [port, vendor, api_token, key_sha256, file, _] = arguments;
    let (vendor, client) = (format!("http://{vendor}"), reqwest::Client::new());
    let signed_in = client.post(format!("{vendor}/{SIGN_IN}")).bearer_auth(api_token).json(&json!({})).send().await?;
    let token = signed_in.json::<Value>().await?["RawToken"].as_str().ok_or("no token")?.to_owned();
    let gateway = Gateway { journal: open_journal(&file, connections).await?, client, vendor, token, key_sha256 };
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let stop = async move { _ = terminated.recv().await };
    Ok(axum::serve(listener, routes(Arc::new(gateway))).with_graceful_shutdown(stop).await?)
}

async fn open_journal(file: &str, connections: u32) -> Result<SqlitePool, sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
    let options = options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
    let journal = SqlitePoolOptions::new().max_connections(connections).connect_with(options).await?;
    sqlx::query(CREATE_OPERATION).execute(&journal).await?;
    Ok(journal)
}

fn routes(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/records/itsm/{id}", get(get_record).patch(patch_record))
        .layer(from_fn_with_state(Arc::clone(&gateway), authenticate))
        .with_state(gateway)
}

async fn authenticate(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Result<Response, Failure> {
    let key = text(request.headers(), header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    let digest = key.map(|key| format!("{:x}", Sha256::digest(key)));
    if digest.as_ref() != Some(&gateway.key_sha256) {
        return Err(Failure::Status(StatusCode::UNAUTHORIZED, "no valid key"));
    }
    Ok(next.run(request).await)
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn split(id: &str) -> Result<(&str, &str), Failure> {
    id.rsplit_once(':').ok_or(Failure::Status(StatusCode::NOT_FOUND, "an id is collection:key"))
}

async fn get_record(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (collection, key) = split(&id)?;
    let url = format!("{}/{FRAGMENTS}/{collection}/{key}", gateway.vendor);
    let response = gateway.client.get(url).bearer_auth(&gateway.token).send().await?.error_for_status()?;
    let mut fields: Map<String, Value> = response.json().await?;
    fields.shift_remove("ID");
    let version = fields.shift_remove("TimeStamp").unwrap_or_default();
    let etag = format!("\"{}\"", version.as_str().unwrap_or_default());
    if text(&headers, header::IF_NONE_MATCH) == Some(&etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let record = json!({ "system": "itsm", "id": id, "etag": etag, "fields": fields });
    Ok(([(header::ETAG, etag)], Json(record)).into_response())
}

async fn patch_record(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Result<Response, Failure> {
    let (collection, key) = split(&id)?;
    let tag = text(&headers, header::IF_MATCH).map(|tag| tag.trim_matches('"'));
    let tag = tag.ok_or(Failure::Status(StatusCode::PRECONDITION_REQUIRED, "If-Match is missing"))?;
    let mut patch: Map<String, Value> =
        serde_json::from_str(&body).map_err(|_| Failure::Status(StatusCode::BAD_REQUEST, "not a merge patch"))?;
    let Some(Value::Object(mut update)) = patch.remove("fields") else {
        return Err(Failure::Status(StatusCode::BAD_REQUEST, "fields is missing"));
    };
    update.insert("ID".into(), key.into());
    update.insert("TimeStamp".into(), tag.into());
    let update = Value::Object(update).to_string();

    let operation = Uuid::now_v7().to_string();
    sqlx::query(INSERT_INTENT).bind(&operation).bind(&id).bind(&update).execute(&gateway.journal).await?;
    let url = format!("{}/{FRAGMENTS}/{collection}", gateway.vendor);
    let request = gateway.client.put(url).bearer_auth(&gateway.token);
    let sent = request.header(header::CONTENT_TYPE, "application/json; charset=utf-8").body(update).send().await;
    let (state, status) = match &sent {
        Ok(response) if response.status().is_success() => ("applied", Some(response.status().as_u16())),
        Ok(response) => ("not-applied", Some(response.status().as_u16())),
        Err(_) => ("unknown", None),
    };
    sqlx::query(UPDATE_OUTCOME).bind(state).bind(status).bind(&operation).execute(&gateway.journal).await?;
    sent?.error_for_status()?;
    Ok((StatusCode::NO_CONTENT, [("operation", format!("/operations/{operation}"))]).into_response())
}
