//! What the three stand-ins share: the server, faults that can be switched on, the log of what was received, and a control
//! endpoint under `/_sandbox/`.

mod call;
mod changes;
#[cfg(test)]
pub(super) mod client;
mod control;
mod faults;
mod http;
mod log;
mod serve;
mod server;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};

pub use call::CallKind;
pub use changes::Change;
pub(super) use changes::Changes;
pub use faults::{Faults, InjectedFault};
pub use http::{FakeRequest, FakeResponse};
pub use log::{ReceivedRequest, RequestLog};
pub use server::FakeVendor;

/// A vendor's behaviour without its transport: one request in, one answer out, state behind a lock.
pub trait VendorModel: Default + Send + Sync + 'static {
    /// The vendor's name, for threads and messages.
    const NAME: &'static str;

    /// Which kind of call a request is; decides which faults meet it.
    fn call_kind(&self, request: &FakeRequest<'_>) -> CallKind;

    /// Answers a request, changing the state in one step.
    fn respond(&self, request: &FakeRequest<'_>) -> FakeResponse;

    /// Everything held, hidden state included: `GET /_sandbox/records`.
    fn records(&self) -> Value;

    /// A second writer straight at the vendor: sets these members of a record (`null` removes one).
    /// `false` when there is no such record. `PUT /_sandbox/records/{path}`.
    fn external_update(&self, path: &[String], members: &Map<String, Value>) -> bool;

    /// Changes one setting: `PUT /_sandbox/settings`.
    ///
    /// # Errors
    /// A sentence saying which settings there are, or what the value must be.
    fn set_option(&self, name: &str, value: &Value) -> Result<(), String>;
}

/// Locks; a panic of another thread while it held the lock is no reason to fail too.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets members of a record the way a second writer does: `null` removes.
pub(super) fn set_members(into: &mut Map<String, Value>, members: &Map<String, Value>) {
    for (name, value) in members {
        if value.is_null() {
            into.shift_remove(name);
        } else {
            into.insert(name.clone(), value.clone());
        }
    }
}

/// Reads a setting that is a flag.
pub(super) fn parse_flag(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "true or false is needed".to_owned())
}

/// Reads a setting that is a count.
pub(super) fn parse_number(value: &Value) -> Result<u64, String> {
    value.as_u64().ok_or_else(|| "a whole number is needed".to_owned())
}

/// Reads a setting that is a text, or `null`.
pub(super) fn parse_optional_text(value: &Value) -> Result<Option<String>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        _ => Err("a text or null is needed".to_owned()),
    }
}
