//! What makes one fake vendor different from another.

use serde_json::{Map, Value};

use super::call_kind::CallKind;
use super::faults::InjectedFault;
use super::http::{FakeRequest, FakeResponse};

/// A vendor's behaviour: takes one request, returns one response, keeps its state behind a lock.
pub trait VendorModel: Default + Send + Sync + 'static {
    /// The vendor's name, for threads and messages.
    const NAME: &'static str;

    /// The name of the sandbox's system in front of it.
    const SYSTEM: &'static str;

    /// A member of its records that takes any text.
    const TEXT_MEMBER: &'static str;

    /// The keys of that system in the gateway's configuration, without `vendor` and `base_url`.
    fn settings(base_url: &str) -> Vec<(&'static str, String)>;

    /// Its response to a write while it is busy.
    fn busy() -> InjectedFault {
        InjectedFault::retry_after(503, "60")
    }

    /// Classifies a request; this selects the faults that apply to it.
    fn call_kind(&self, request: &FakeRequest<'_>) -> CallKind;

    /// Handles a request and changes the state atomically.
    fn respond(&self, request: &FakeRequest<'_>) -> FakeResponse;

    /// The whole state, hidden parts included: `GET /_sandbox/records`.
    fn records(&self) -> Value;

    /// Changes members of a record as another client of the vendor would; `null` removes one.
    /// The path ends with the record's key, after its collection where there are several. Returns
    /// `false` if there is no such record. `PUT /_sandbox/records/{path}`.
    fn external_update(&self, path: &[String], members: &Map<String, Value>) -> bool;

    /// Changes one option of the behaviour: `PUT /_sandbox/settings`.
    ///
    /// # Errors
    /// The valid options, or what the value must be.
    fn set_option(&self, name: &str, value: &Value) -> Result<(), String>;
}
