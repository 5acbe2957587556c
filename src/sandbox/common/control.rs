//! The control endpoint of every stand-in, for people and for tests in another process. It is not logged and meets no fault.
//!
//! | request | does |
//! |---|---|
//! | `GET /_sandbox/log`, `DELETE /_sandbox/log` | shows, forgets what was received |
//! | `POST /_sandbox/faults` `{"call":"update","fault":"hang","times":1}` | switches a fault on (see below) |
//! | `DELETE /_sandbox/faults` | switches all off |
//! | `POST /_sandbox/release` | lets held calls go on |
//! | `GET /_sandbox/records` | everything held, hidden state included |
//! | `PUT /_sandbox/records/{id}` `{members}` | a second writer straight at the vendor; `null` removes; Matrix42: `{class}/{id}` |
//! | `PUT /_sandbox/settings` `{"name": value}` | the settings of the vendor's model |
//!
//! A fault order: `call` (absent = any), `times` (absent = for ever), `skip` (calls to leave alone first), `fault`: `answer`
//! (`status`, `headers`, `body`, `retry_after`), `html_page`, `wrong_json`, `half_body`, `huge_body` (`bytes`), `redirect`
//! (`location`), `hang`, `hang_after`, `slow_drip` (`ms`), `delay` (`ms`), `hold`, `hold_after`, `reset_before`, `reset_after`,
//! `apply_then_500`.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::HttpRequest;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::server::ServerContext;
use super::{CallKind, FakeRequest, FakeResponse, InjectedFault, VendorModel};

/// One flat form for all faults: tagged enums of serde cannot hold numbers of arbitrary precision.
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
        let status = self.status.filter(|status| (200..=599).contains(status)).ok_or("`status` is 200 to 599")?;
        let mut headers: Vec<_> = self.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        headers.extend(self.retry_after.iter().map(|value| ("retry-after".to_owned(), value.clone())));
        Ok(InjectedFault::Response { status, headers, body: self.body.clone() })
    }
}

pub(super) fn handle_control_request<M: VendorModel>(
    path: &str,
    request: &HttpRequest,
    body: &Bytes,
    shared: &ServerContext<M>,
) -> FakeResponse {
    let incoming = FakeRequest::new(request, body);
    let segments: Vec<String> = incoming.segments().into_iter().skip(1).collect();
    match (incoming.method.as_str(), path) {
        ("GET", "log") => {
            FakeResponse::json(200, &Value::Array(shared.log.all().iter().map(|entry| entry.to_json()).collect()))
        }
        ("DELETE", "log") => {
            shared.log.clear();
            FakeResponse::empty(204)
        }
        ("POST", "faults") => to_response(add_fault(body, shared)),
        ("DELETE", "faults") => {
            shared.faults.clear();
            FakeResponse::empty(204)
        }
        ("POST", "release") => {
            shared.faults.release();
            FakeResponse::empty(204)
        }
        ("GET", "records") => FakeResponse::json(200, &shared.state.records()),
        ("PUT", "settings") => to_response(set_options(body, shared)),
        ("PUT", _) if path.starts_with("records/") => {
            let id = segments.get(1..).unwrap_or_default();
            match parse_members(body) {
                Ok(members) if shared.state.external_update(id, &members) => FakeResponse::empty(204),
                Ok(_) => FakeResponse::json(404, &json!({ "error": "there is no such record" })),
                Err(error) => to_response(Err(error)),
            }
        }
        _ => FakeResponse::json(404, &json!({ "error": "log, faults, release, records, records/{id}, settings" })),
    }
}

fn add_fault<M: VendorModel>(body: &Bytes, shared: &ServerContext<M>) -> Result<(), String> {
    let order: FaultRequest = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    shared.faults.add(order.call, order.parse_fault()?, order.skip, order.times);
    Ok(())
}

fn set_options<M: VendorModel>(body: &Bytes, shared: &ServerContext<M>) -> Result<(), String> {
    parse_members(body)?
        .iter()
        .try_for_each(|(name, value)| shared.state.set_option(name, value).map_err(|error| format!("{name}: {error}")))
}

fn parse_members(body: &Bytes) -> Result<Map<String, Value>, String> {
    serde_json::from_slice(body).map_err(|error| format!("a JSON object is needed: {error}"))
}

fn to_response(outcome: Result<(), String>) -> FakeResponse {
    match outcome {
        Ok(()) => FakeResponse::empty(204),
        Err(error) => FakeResponse::json(400, &json!({ "error": error })),
    }
}
