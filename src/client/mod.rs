//! A small client of the gateway for shells: `get`, `list`, `patch`, `delete`, `preview`.
//!
//! Records go to standard output as JSON; everything else that a person reads goes to standard
//! error. The exit code reports the outcome of the request ([`Exit`]).

mod body;
mod command_error;
mod connection;
mod outcome;

use std::io::{Read, Write};

use serde_json::Value;

use crate::cli::{ClientCommand, Exit, Preconditions, RecordAddress, WriteOptions};
use crate::record::percent_encode;
use body::{Patch, patch_body};
use command_error::CommandError;
use connection::{Gateway, Method, Request};
use outcome::{Output, etag_of, exit_of, exit_of_operation};

/// How long one request may wait for a queued write; the operation is polled after that.
const WAIT: &str = "wait=20";

/// Runs one command. `input` is read where a patch is not given by `-f`.
pub fn run(command: &ClientCommand, input: &mut dyn Read, out: &mut dyn Write, err: &mut dyn Write) -> Exit {
    let mut output = Output::new(out, err);
    let result = actix_web::rt::System::new().block_on(execute(command, input, &mut output));
    result.unwrap_or_else(|error| output.print_error(&error))
}

async fn execute(command: &ClientCommand, input: &mut dyn Read, output: &mut Output<'_>) -> Result<Exit, CommandError> {
    match command {
        ClientCommand::Get { record, connection } => {
            let gateway = Gateway::new(connection)?;
            let response = gateway.send(Request::new(Method::GET, record_path(record))).await?;
            Ok(output.print_response(&response))
        }
        ClientCommand::List { system, collection, limit, cursor, connection } => {
            let query = [("collection", collection), ("cursor", cursor)];
            let limit = limit.map(|limit| limit.to_string());
            let query = query.into_iter().chain([("limit", &limit)]);
            let path = format!("/records/{}{}", percent_encode(system), query_string(query));
            let gateway = Gateway::new(connection)?;
            Ok(output.print_response(&gateway.send(Request::new(Method::GET, path)).await?))
        }
        ClientCommand::Patch { record, fields, write, connection } => {
            let patch = patch_body(fields, input)?;
            let request = Request::new(Method::PATCH, record_path(record)).body(patch);
            send_write(&Gateway::new(connection)?, request, record, write, output).await
        }
        ClientCommand::Delete { record, write, connection } => {
            let request = Request::new(Method::DELETE, record_path(record));
            send_write(&Gateway::new(connection)?, request, record, write, output).await
        }
        ClientCommand::Preview { system, id, delete, fields, preconditions, connection } => {
            let gateway = Gateway::new(connection)?;
            let path = match id {
                Some(id) => format!("/records/{}/{}/preview", percent_encode(system), encode_id(id)),
                None => format!("/records/{}/preview", percent_encode(system)),
            };
            let mut request = Request::new(Method::POST, path);
            if *delete {
                request.path.push_str("?action=delete");
            } else {
                let body = patch_body(fields, input)?;
                // Without an id it is the preview of a new record, whose body is plain JSON.
                let media_type = if id.is_some() { body.media_type } else { "application/json" };
                request = request.body(Patch { media_type, ..body });
            }
            if let Some(id) = id {
                let record = RecordAddress { system: system.clone(), id: id.clone() };
                request = with_precondition(&gateway, request, &record, preconditions).await?;
            }
            Ok(output.print_response(&gateway.send(request).await?))
        }
    }
}

/// Sends a write and, where it is queued, waits for its operation.
async fn send_write(
    gateway: &Gateway<'_>,
    request: Request,
    record: &RecordAddress,
    write: &WriteOptions,
    output: &mut Output<'_>,
) -> Result<Exit, CommandError> {
    let request = with_precondition(gateway, request, record, &write.preconditions).await?;
    let mut request = request.header("Prefer", &format!("return=representation, {WAIT}"));
    if let Some(losses) = &write.accept_loss {
        request = request.header("Accept-Loss", losses);
    }
    if let Some(key) = &write.idempotency_key {
        request = request.header("Idempotency-Key", key);
    }
    let is_update = request.method == Method::PATCH;
    let response = gateway.send(request).await?;
    if response.status != 202 {
        return Ok(output.print_response(&response));
    }
    let operation = gateway.await_operation(&response).await?;
    match operation.body.get("state").and_then(Value::as_str) {
        Some("applied") if is_update => {
            Ok(output.print_response(&gateway.send(Request::new(Method::GET, record_path(record))).await?))
        }
        _ => {
            output.print_response(&operation);
            Ok(exit_of_operation(&operation.body))
        }
    }
}

/// Adds `If-Match`. `--if-match-current` reads the record first.
async fn with_precondition(
    gateway: &Gateway<'_>,
    request: Request,
    record: &RecordAddress,
    preconditions: &Preconditions,
) -> Result<Request, CommandError> {
    if !preconditions.if_match_current {
        return Ok(match &preconditions.if_match {
            Some(tag) => request.header("If-Match", &quote_etag(tag)),
            None => request,
        });
    }
    let current = gateway.send(Request::new(Method::GET, record_path(record))).await?;
    match etag_of(&current) {
        Some(tag) => Ok(request.header("If-Match", tag)),
        None => Err(CommandError { exit: exit_of(&current), message: outcome::describe(&current) }),
    }
}

/// A shell often takes the quotes of a tag away.
fn quote_etag(tag: &str) -> String {
    let is_complete = tag == "*" || tag.starts_with(['"', 'W']);
    if is_complete { tag.to_owned() } else { format!("\"{tag}\"") }
}

fn record_path(record: &RecordAddress) -> String {
    format!("/records/{}/{}", percent_encode(&record.system), encode_id(&record.id))
}

/// A whole path segment, colons included.
fn encode_id(id: &str) -> String {
    percent_encode(id).to_string()
}

fn query_string<'q>(pairs: impl Iterator<Item = (&'q str, &'q Option<String>)>) -> String {
    let mut query = String::new();
    for (name, value) in pairs {
        if let Some(value) = value {
            query.push(if query.is_empty() { '?' } else { '&' });
            query.extend([name, "="].into_iter().chain(percent_encode(value)));
        }
    }
    query
}
