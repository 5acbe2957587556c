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

use super::server::Shared;
use super::{Answer, CallKind, Fault, Incoming, Model};

/// One flat form for all faults: tagged enums of serde cannot hold numbers of arbitrary precision.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
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

impl Order {
    fn fault(&self) -> Result<Fault, String> {
        let pause = || self.ms.map(Duration::from_millis).ok_or("`ms` is missing");
        Ok(match self.fault.as_str() {
            "answer" => self.answer()?,
            "html_page" => Fault::HtmlPage,
            "wrong_json" => Fault::WrongJson,
            "half_body" => Fault::HalfBody,
            "huge_body" => Fault::HugeBody { bytes: self.bytes.ok_or("`bytes` is missing")? },
            "redirect" => Fault::Redirect { location: self.location.clone().ok_or("`location` is missing")? },
            "hang" => Fault::Hang,
            "hang_after" => Fault::HangAfter,
            "slow_drip" => Fault::SlowDrip { pause: pause()? },
            "delay" => Fault::Delay { pause: pause()? },
            "hold" => Fault::Hold,
            "hold_after" => Fault::HoldAfter,
            "reset_before" => Fault::ResetBefore,
            "reset_after" => Fault::ResetAfter,
            "apply_then_500" => Fault::ApplyThen500,
            other => return Err(format!("there is no fault `{other}`")),
        })
    }

    fn answer(&self) -> Result<Fault, String> {
        let status = self.status.filter(|status| (200..=599).contains(status)).ok_or("`status` is 200 to 599")?;
        let mut headers: Vec<_> = self.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        headers.extend(self.retry_after.iter().map(|value| ("retry-after".to_owned(), value.clone())));
        Ok(Fault::Answer { status, headers, body: self.body.clone() })
    }
}

pub(super) fn answer<M: Model>(path: &str, request: &HttpRequest, body: &Bytes, shared: &Shared<M>) -> Answer {
    let incoming = Incoming::new(request, body);
    let segments: Vec<String> = incoming.segments().into_iter().skip(1).collect();
    match (incoming.method.as_str(), path) {
        ("GET", "log") => {
            Answer::json(200, &Value::Array(shared.log.all().iter().map(|entry| entry.describe()).collect()))
        }
        ("DELETE", "log") => {
            shared.log.clear();
            Answer::empty(204)
        }
        ("POST", "faults") => verdict(add_fault(body, shared)),
        ("DELETE", "faults") => {
            shared.faults.clear();
            Answer::empty(204)
        }
        ("POST", "release") => {
            shared.faults.release();
            Answer::empty(204)
        }
        ("GET", "records") => Answer::json(200, &shared.state.records()),
        ("PUT", "settings") => verdict(set(body, shared)),
        ("PUT", _) if path.starts_with("records/") => {
            let id = segments.get(1..).unwrap_or_default();
            match members(body) {
                Ok(members) if shared.state.edit(id, &members) => Answer::empty(204),
                Ok(_) => Answer::json(404, &json!({ "error": "there is no such record" })),
                Err(error) => verdict(Err(error)),
            }
        }
        _ => Answer::json(404, &json!({ "error": "log, faults, release, records, records/{id}, settings" })),
    }
}

fn add_fault<M: Model>(body: &Bytes, shared: &Shared<M>) -> Result<(), String> {
    let order: Order = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    shared.faults.add(order.call, order.fault()?, order.skip, order.times);
    Ok(())
}

fn set<M: Model>(body: &Bytes, shared: &Shared<M>) -> Result<(), String> {
    members(body)?
        .iter()
        .try_for_each(|(name, value)| shared.state.set(name, value).map_err(|error| format!("{name}: {error}")))
}

fn members(body: &Bytes) -> Result<Map<String, Value>, String> {
    serde_json::from_slice(body).map_err(|error| format!("a JSON object is needed: {error}"))
}

fn verdict(outcome: Result<(), String>) -> Answer {
    match outcome {
        Ok(()) => Answer::empty(204),
        Err(error) => Answer::json(400, &json!({ "error": error })),
    }
}
