//! What a response means to a shell: the exit code, and the texts.

use std::io::Write;

use serde_json::Value;

use super::command_error::CommandError;
use super::connection::Response;
use crate::cli::Exit;

/// The exit code of a response.
pub(super) fn exit_of(response: &Response) -> Exit {
    match response.status {
        200..=299 | 304 => Exit::Success,
        412 => Exit::Stale,
        400..=499 => Exit::Refused,
        _ if problem_name(&response.body) == Some("outcome-unknown") => Exit::OutcomeUnknown,
        // The write has begun, and the gateway failed before it knew how the write ended.
        500 if response.body.get("operation").is_some() => Exit::OutcomeUnknown,
        _ => Exit::ServerError,
    }
}

/// The exit code of a queued write's operation, as it was seen last.
pub(super) fn exit_of_operation(operation: &Value) -> Exit {
    match operation.get("state").and_then(Value::as_str) {
        Some("applied") => Exit::Success,
        Some("not-applied") => {
            let status = operation.get("problem").and_then(|problem| problem.get("status")).and_then(Value::as_u64);
            match status {
                Some(412) => Exit::Stale,
                Some(400..=499) => Exit::Refused,
                _ => Exit::ServerError,
            }
        }
        _ => Exit::OutcomeUnknown,
    }
}

fn problem_name(body: &Value) -> Option<&str> {
    body.get("type").and_then(Value::as_str)?.rsplit('/').next()
}

/// The tag of the record in a response.
pub(super) fn etag_of(response: &Response) -> Option<&str> {
    let is_record = response.status == 200;
    response.etag.as_deref().or_else(|| response.body.get("etag").and_then(Value::as_str)).filter(|_| is_record)
}

/// One line for a person, and one more for each invalid value.
pub(super) fn describe(response: &Response) -> String {
    let text = |name| response.body.get(name).and_then(Value::as_str);
    let name = problem_name(&response.body).unwrap_or("no problem document");
    let mut lines = format!("{} {name}: {}", response.status, text("detail").unwrap_or_default());
    for error in response.body.get("errors").and_then(Value::as_array).into_iter().flatten() {
        let part = |name| error.get(name).and_then(Value::as_str).unwrap_or_default();
        lines.extend(["\n  ", part("pointer"), ": ", part("detail")]);
    }
    for (name, meaning) in [("current_etag", "its tag now"), ("operation", "follow"), ("request_id", "request")] {
        if let Some(value) = text(name) {
            lines.extend(["\n  ", meaning, ": ", value]);
        }
    }
    if let Some(hint) = hint(name, &response.body) {
        lines.extend(["\n  hint: ", &hint]);
    }
    lines
}

/// The options of the client that help, where the problem names headers.
fn hint(name: &str, body: &Value) -> Option<String> {
    Some(match name {
        "unauthenticated" => "--key-file FILE names the file with your key or token".to_owned(),
        "precondition-required" => "--if-match TAG, or --if-match-current to read the record first".to_owned(),
        "precondition-failed" => "get the record again, and use its new tag with --if-match".to_owned(),
        "lossy-write" => {
            let names = body.get("losses").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            format!("--accept-loss \"{}\" accepts these losses", names.collect::<Vec<_>>().join(", "))
        }
        "outcome-unknown" | "operation-in-progress" => {
            "it is safe to repeat the command with the same --idempotency-key, if it had one".to_owned()
        }
        _ => return None,
    })
}

/// Writes what a command found.
pub(super) struct Output<'w> {
    out: &'w mut dyn Write,
    err: &'w mut dyn Write,
}

impl<'w> Output<'w> {
    pub(super) fn new(out: &'w mut dyn Write, err: &'w mut dyn Write) -> Self {
        Self { out, err }
    }

    /// A record, page, plan or operation to standard output, a problem to standard error.
    pub(super) fn print_response(&mut self, response: &Response) -> Exit {
        let exit = exit_of(response);
        if exit != Exit::Success {
            let _ = writeln!(self.err, "{}", describe(response));
            return exit;
        }
        if response.body != Value::Null {
            let written = writeln!(self.out, "{:#}", response.body).and_then(|()| self.out.flush());
            if written.is_err() {
                return Exit::Failure;
            }
        }
        if let Some(tag) = etag_of(response) {
            let _ = writeln!(self.err, "ETag: {tag}");
        }
        exit
    }

    pub(super) fn print_error(&mut self, error: &CommandError) -> Exit {
        let _ = writeln!(self.err, "{}", error.message);
        error.exit
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_exit_code_reports_the_outcome_of_the_request() {
        let exit = |status: u16, name: &str| {
            exit_of(&Response { status, etag: None, body: json!({ "type": format!("https://a.b/problems/{name}") }) })
        };
        for (status, name, expected) in [
            (200, "", Exit::Success),
            (204, "", Exit::Success),
            (412, "precondition-failed", Exit::Stale),
            (404, "record-not-found", Exit::Refused),
            (429, "quota-exceeded", Exit::Refused),
            (503, "overloaded", Exit::ServerError),
            (504, "vendor-timeout", Exit::ServerError),
            (504, "outcome-unknown", Exit::OutcomeUnknown),
        ] {
            assert_eq!(exit(status, name), expected, "{status} {name}");
        }
        let body = json!({ "type": "/problems/internal-error", "operation": "/operations/1" });
        assert_eq!(exit_of(&Response { status: 500, etag: None, body }), Exit::OutcomeUnknown);
    }

    #[test]
    fn a_problem_comes_with_the_options_that_help() {
        let describe = |status, body| describe(&Response { status, etag: None, body });
        let losses = json!({ "type": "/problems/lossy-write", "losses": ["linked-questions", "property-values"] });
        let text = describe(409, losses);
        assert!(
            text.ends_with("hint: --accept-loss \"linked-questions, property-values\" accepts these losses"),
            "{text}"
        );
        let text = describe(428, json!({ "type": "/problems/precondition-required" }));
        assert!(text.ends_with("--if-match TAG, or --if-match-current to read the record first"), "{text}");
        assert!(!describe(404, json!({ "type": "/problems/not-found" })).contains("hint"));
    }

    #[test]
    fn the_exit_code_of_an_operation_follows_its_state() {
        for (operation, expected) in [
            (json!({ "state": "applied" }), Exit::Success),
            (json!({ "state": "not-applied", "problem": { "status": 412 } }), Exit::Stale),
            (json!({ "state": "not-applied", "problem": { "status": 422 } }), Exit::Refused),
            (json!({ "state": "not-applied", "problem": { "status": 502 } }), Exit::ServerError),
            (json!({ "state": "unknown" }), Exit::OutcomeUnknown),
            (json!({ "state": "running" }), Exit::OutcomeUnknown),
        ] {
            assert_eq!(exit_of_operation(&operation), expected, "{operation}");
        }
    }
}
