//! The control endpoint of every fake vendor, for people and for tests in another process. Its
//! requests are not logged, and no fault applies to them.
//!
//! | request | effect |
//! |---|---|
//! | `GET /_sandbox/log`, `DELETE /_sandbox/log` | returns, clears the log of requests |
//! | `POST /_sandbox/faults` `{"call":"update","fault":"hang","times":1}` | injects a fault |
//! | `DELETE /_sandbox/faults` | removes all faults |
//! | `POST /_sandbox/release` | releases held requests |
//! | `GET /_sandbox/records` | the whole state, hidden parts included |
//! | `PUT /_sandbox/records/{id}` `{members}` | changes a record as another client would |
//! | `PUT /_sandbox/settings` `{"name": value}` | changes options of the vendor's behaviour |
//! | `GET /_sandbox/system` | a table of the gateway's configuration for a system in front of it |
//!
//! In a record, `null` removes a member; where the vendor has several collections, the id of a
//! record is `{collection}/{key}`.
//!
//! Members of a fault: `call` (absent = any kind), `times` (absent = until removed), `skip`
//! (requests to leave alone first) and `fault`, one of `answer` (`status`, `headers`, `body`,
//! `retry_after`), `html_page`, `wrong_json`, `half_body`, `huge_body` (`bytes`), `redirect`
//! (`location`), `hang`, `hang_after`, `slow_drip` (`ms`), `delay` (`ms`), `hold`, `hold_after`,
//! `reset_before`, `reset_after`, `apply_then_500`.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::HttpRequest;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::call_kind::CallKind;
use super::context::ServerContext;
use super::faults::InjectedFault;
use super::http::{FakeRequest, FakeResponse};
use super::model::VendorModel;
use super::system::SandboxSystem;

/// One flat struct for all faults: serde's tagged enums do not support numbers of arbitrary
/// precision.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultRequest {
    call: Option<CallKind>,
    fault: String,
    times: Option<u32>,
    #[serde(default)]
    skip: u32,
    status: Option<u16>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    retry_after: Option<String>,
    #[serde(default)]
    body: String,
    location: Option<String>,
    bytes: Option<u64>,
    ms: Option<u64>,
}

impl FaultRequest {
    fn parse_fault(&self) -> Result<InjectedFault, String> {
        let pause = || self.ms.map(Duration::from_millis).ok_or("`ms` is missing");
        Ok(match self.fault.as_str() {
            "answer" => self.parse_response()?,
            "html_page" => InjectedFault::HtmlPage,
            "wrong_json" => InjectedFault::WrongJson,
            "half_body" => InjectedFault::HalfBody,
            "huge_body" => InjectedFault::HugeBody { bytes: self.bytes.ok_or("`bytes` is missing")? },
            "redirect" => InjectedFault::Redirect { location: self.location.clone().ok_or("`location` is missing")? },
            "hang" => InjectedFault::Hang,
            "hang_after" => InjectedFault::HangAfter,
            "slow_drip" => InjectedFault::SlowDrip { pause: pause()? },
            "delay" => InjectedFault::Delay { pause: pause()? },
            "hold" => InjectedFault::Hold,
            "hold_after" => InjectedFault::HoldAfter,
            "reset_before" => InjectedFault::ResetBefore,
            "reset_after" => InjectedFault::ResetAfter,
            "apply_then_500" => InjectedFault::ApplyThen500,
            other => return Err(format!("there is no fault `{other}`")),
        })
    }

    fn parse_response(&self) -> Result<InjectedFault, String> {
        let status = self.status.filter(|status| (200..=599).contains(status)).ok_or("`status` must be 200 to 599")?;
        let mut headers: Vec<_> = self.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        headers.extend(self.retry_after.iter().map(|value| ("retry-after".to_owned(), value.clone())));
        Ok(InjectedFault::Response { status, headers, body: self.body.clone() })
    }
}

pub(super) fn handle_control_request<M: VendorModel>(
    path: &str,
    request: &HttpRequest,
    body: &Bytes,
    context: &ServerContext<M>,
) -> FakeResponse {
    let request = FakeRequest::new(request, body);
    let segments: Vec<String> = request.segments().into_iter().skip(1).collect();
    match (request.method.as_str(), path) {
        ("GET", "log") => {
            FakeResponse::json(200, &Value::Array(context.log.all().iter().map(|entry| entry.to_json()).collect()))
        }
        ("DELETE", "log") => {
            context.log.clear();
            FakeResponse::empty(204)
        }
        ("POST", "faults") => to_response(add_fault(body, context)),
        ("DELETE", "faults") => {
            context.faults.clear();
            FakeResponse::empty(204)
        }
        ("POST", "release") => {
            context.faults.release();
            FakeResponse::empty(204)
        }
        ("GET", "records") => FakeResponse::json(200, &context.state.records()),
        ("GET", "system") => {
            let base_url = format!("http://{}", request.header("host").unwrap_or_default());
            FakeResponse::raw(200, "application/toml", SandboxSystem::of::<M>(base_url).to_toml())
        }
        ("PUT", "settings") => to_response(set_options(body, context)),
        ("PUT", _) if path.starts_with("records/") => {
            let id = segments.get(1..).unwrap_or_default();
            match parse_members(body) {
                Ok(members) if context.state.external_update(id, &members) => FakeResponse::empty(204),
                Ok(_) => FakeResponse::json(404, &json!({ "error": "there is no such record" })),
                Err(error) => to_response(Err(error)),
            }
        }
        _ => FakeResponse::json(
            404,
            &json!({ "error": "log, faults, release, records, records/{id}, settings, system" }),
        ),
    }
}

fn add_fault<M: VendorModel>(body: &Bytes, context: &ServerContext<M>) -> Result<(), String> {
    let request: FaultRequest = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    context.faults.add(request.call, request.parse_fault()?, request.skip, request.times);
    Ok(())
}

fn set_options<M: VendorModel>(body: &Bytes, context: &ServerContext<M>) -> Result<(), String> {
    parse_members(body)?
        .iter()
        .try_for_each(|(name, value)| context.state.set_option(name, value).map_err(|error| format!("{name}: {error}")))
}

fn parse_members(body: &Bytes) -> Result<Map<String, Value>, String> {
    serde_json::from_slice(body).map_err(|error| format!("the body must be a JSON object: {error}"))
}

fn to_response(outcome: Result<(), String>) -> FakeResponse {
    match outcome {
        Ok(()) => FakeResponse::empty(204),
        Err(error) => FakeResponse::json(400, &json!({ "error": error })),
    }
}
