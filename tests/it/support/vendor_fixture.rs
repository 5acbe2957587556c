//! What differs between vendors, so that a behaviour is written once and tested with each of them.

use std::net::SocketAddr;

use async_trait::async_trait;
use records_gateway::sandbox::{CallKind, FakeVendor, Faults, InjectedFault, RequestLog, Sandbox, VendorModel};
use records_gateway::vendors::{AdapterFactory, find_vendor};
use serde_json::{Value, json};

/// A running fake vendor, whichever it is.
#[async_trait(?Send)]
pub(crate) trait RunningVendor {
    fn address(&self) -> SocketAddr;
    fn base_url(&self) -> String;
    fn log(&self) -> &RequestLog;
    fn faults(&self) -> &Faults;
    /// Stops listening and closes its connections; the state stays.
    async fn pause(&self);
    fn resume(&self);
    fn close_connections(&self);
}

#[async_trait(?Send)]
impl<M: VendorModel> RunningVendor for FakeVendor<M> {
    fn address(&self) -> SocketAddr {
        FakeVendor::address(self)
    }
    fn base_url(&self) -> String {
        FakeVendor::base_url(self)
    }
    fn log(&self) -> &RequestLog {
        &self.log
    }
    fn faults(&self) -> &Faults {
        &self.faults
    }
    async fn pause(&self) {
        FakeVendor::pause(self).await;
    }
    fn resume(&self) {
        FakeVendor::resume(self).expect("the former port");
    }
    fn close_connections(&self) {
        FakeVendor::close_connections(self);
    }
}

/// The outcome of an update that the vendor rejects with 500 without an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnUpdate500 {
    /// It is bound to a version that counts, so the gateway sends it again.
    Resent,
    /// Its effect may still come.
    Unknown,
    /// A read shows that it had no effect.
    NotApplied,
}

/// What the response to an update shows of the record. `vendor_coverage` compares it with the
/// vendor's golden files.
pub(crate) struct UpdateResponse {
    /// Whether it always shows the new version.
    pub(crate) has_version: bool,
    /// Whether it shows the whole record where the caller wants it.
    pub(crate) has_record: bool,
    /// The response to an update of a record with `return=representation` that reports success and
    /// has no effect: what it shows is the record as it is.
    pub(crate) unchanged: fn(&Sandbox, &str) -> InjectedFault,
}

impl UpdateResponse {
    /// 204 without a body.
    pub(crate) const EMPTY: Self =
        Self { has_version: false, has_record: false, unchanged: |_, _| InjectedFault::status(204) };
}

/// One vendor: its sample records, and how to read and change them past the gateway.
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that a vendor does or does not")]
pub(crate) struct VendorFixture {
    /// The vendor's name in the registry, in `vendor = "…"`.
    pub(crate) vendor_name: &'static str,
    /// The configured system.
    pub(crate) system: &'static str,
    /// The parts of the collection.
    pub(crate) collection: &'static [&'static str],
    /// A record that can be patched.
    pub(crate) key: &'static str,
    /// Another spelling of its id, where ids have several.
    pub(crate) other_spelling: Option<&'static str>,
    /// Another record.
    pub(crate) other_key: &'static str,
    /// A record that can be deleted at once.
    pub(crate) deletable_key: &'static str,
    /// An id of the vendor's form that no record has.
    pub(crate) missing_key: &'static str,
    /// Ids without the vendor's form.
    pub(crate) malformed_ids: &'static [&'static str],
    /// A field that holds text.
    pub(crate) text: &'static str,
    /// A field that callers cannot change.
    pub(crate) read_only: &'static str,
    /// Whether the vendor compares versions on updates.
    pub(crate) native: bool,
    /// Whether it does so on deletes.
    pub(crate) native_delete: bool,
    /// The status of a direct update: an accepted loss is a warning, and warnings need a body.
    pub(crate) patch_status: u16,
    pub(crate) update_response: UpdateResponse,
    /// Whether updates are queued.
    pub(crate) queued: bool,
    /// Whether the vendor ignores a member that it does not know, and makes the rest of the write.
    pub(crate) ignores_unknown: bool,
    /// The losses to accept so that every write is sent.
    pub(crate) losses: &'static [&'static str],
    /// The kind of call by which one record is read.
    pub(crate) read_call_kind: CallKind,
    /// The text field of a record at the vendor.
    pub(crate) read_text: fn(&Sandbox, &str) -> Option<String>,
    /// Sets the text field past the gateway.
    pub(crate) external_write: fn(&Sandbox, &str, &str),
    /// Changes another field past the gateway.
    pub(crate) external_touch: fn(&Sandbox, &str),
    /// Deletes a record past the gateway.
    pub(crate) external_delete: fn(&Sandbox, &str),
    /// How many records the vendor holds.
    pub(crate) count: fn(&Sandbox) -> usize,
    /// The fake vendor in a sandbox.
    pub(crate) fake_vendor: fn(&Sandbox) -> &dyn RunningVendor,
    /// Invalidates every token, where the vendor gives tokens at a sign-in.
    pub(crate) expire_tokens: Option<fn(&Sandbox)>,
    /// How many updates the record [`Self::key`] has had, where the vendor's versions count them.
    pub(crate) update_count: Option<fn(&Sandbox, &str) -> u64>,
    pub(crate) on_update_500: OnUpdate500,
    /// Whether lists show a part of each record, without an `ETag`.
    pub(crate) partial_lists: bool,
    /// What a list can be filtered by: members, or `*` for all of them.
    pub(crate) filters: &'static [&'static str],
    /// A merge patch that removes or resets a field, and whether the vendor has done so.
    pub(crate) reset_patch: fn() -> Value,
    pub(crate) is_reset: fn(&Sandbox) -> bool,
    /// The fields of a new record whose text field holds this.
    pub(crate) new_record: fn(&str) -> Value,
    /// Makes the vendor ignore changes of the text field.
    pub(crate) ignore_text: fn(&Sandbox),
}

impl VendorFixture {
    pub(crate) fn vendor<'v>(&self, vendors: &'v Sandbox) -> &'v dyn RunningVendor {
        (self.fake_vendor)(vendors)
    }

    /// What was received.
    pub(crate) fn log<'v>(&self, vendors: &'v Sandbox) -> &'v RequestLog {
        self.vendor(vendors).log()
    }

    /// Where faults are injected.
    pub(crate) fn faults<'v>(&self, vendors: &'v Sandbox) -> &'v Faults {
        self.vendor(vendors).faults()
    }

    /// The vendor's entry in the registry.
    pub(crate) fn registration(&self) -> &'static AdapterFactory {
        find_vendor(self.vendor_name).expect("a registered vendor")
    }

    /// Whether callers never see a member of this name.
    pub(crate) fn is_hidden(&self, member: &str) -> bool {
        (self.registration().is_hidden)(member)
    }

    /// The configuration key of the secret by which the gateway authenticates.
    pub(crate) fn secret_key(&self) -> &'static str {
        self.registration().settings.iter().find(|setting| setting.is_secret).expect("a secret").key
    }

    /// Invalidates every token, where there are tokens.
    pub(crate) fn expire_tokens(&self, vendors: &Sandbox) {
        if let Some(expire) = self.expire_tokens {
            expire(vendors);
        }
    }

    pub(crate) fn collection(&self) -> String {
        self.collection.join(":")
    }

    /// The full id of a key.
    pub(crate) fn id(&self, key: &str) -> String {
        format!("{}:{key}", self.collection())
    }

    /// The path of a record.
    pub(crate) fn path(&self, key: &str) -> String {
        format!("/records/{}/{}", self.system, self.id(key))
    }

    /// The JSON Pointer of the text field.
    pub(crate) fn text_pointer(&self) -> String {
        format!("/fields/{}", self.text)
    }

    /// The fields of a patch that sets the text.
    pub(crate) fn text_patch(&self, text: &str) -> Value {
        json!({ self.text: text })
    }

    /// `Concurrency-Guarantee` of successful deletes.
    pub(crate) fn delete_guarantee(&self) -> &'static str {
        if self.native_delete { "native" } else { "guarded" }
    }

    /// `Concurrency-Guarantee` of successful updates.
    pub(crate) fn guarantee(&self) -> &'static str {
        if self.native { "native" } else { "guarded" }
    }
}
