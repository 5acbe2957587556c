//! The small vocabulary that every room shares: what a record is, how it is named, how one state of it is told from
//! another, how a change to it is written down, and what can go wrong at a vendor.
//!
//! Nothing here does I/O and nothing here knows a vendor.

mod call;
mod caller;
mod cursor;
mod etag;
mod fault;
mod fields;
mod id;
mod json;
mod members;
mod merge;
mod operation;
mod patch;
mod precondition;
mod secret;
mod sha256;
mod stored;
mod text;

pub use call::CallName;
pub use caller::{Action, CallerName, RequestId};
pub use cursor::{open_cursor, seal_cursor};
pub use etag::{EntityTag, Version};
pub use fault::{Effect, Fault, FaultKind, Invalid, Retry};
pub use fields::{Fields, canonical_digest, raw_members};
pub use id::{Key, RecordId, SystemName};
pub use json::{JsonError, check_strict, exact_value, numbers_equal, parse_strict, values_equal};
pub use members::{JsonText, Members};
pub use merge::{Difference, differences, fields_pointer, holds, push_fields_pointer};
pub use operation::{CallMade, Observed, Operation, OperationId, OperationState};
pub use patch::{Applied, Identity, MergePatch, Patch, PatchError};
pub use precondition::Precondition;
pub use secret::Secret;
pub use sha256::sha256;
pub use stored::{Stored, Warning, WarningCode};
pub use text::{pointer_below, push_json, push_json_string, push_pointer};
