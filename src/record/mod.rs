//! The small vocabulary that every room shares: what a record is, how it is named, how one state of it is told from
//! another, how a change to it is written down, and what can go wrong at a vendor.
//!
//! Nothing here does I/O and nothing here knows a vendor.

mod call;
mod caller;
mod cursor;
mod diff;
mod etag;
mod fields;
mod id;
mod json;
mod json_write;
mod members;
mod operation;
mod patch;
mod precondition;
mod secret;
mod sha256;
mod vendor_error;
mod vendor_record;

pub use call::VendorCallKind;
pub use caller::{Action, CallerName, RequestId};
pub use cursor::{decode_cursor, encode_cursor};
pub use diff::{FieldChange, all_applied, diff, fields_pointer, write_fields_pointer};
pub use etag::{EntityTag, Version};
pub use fields::{FieldsJson, RawFields, canonical_digest, parse_raw_members};
pub use id::{Key, RecordId, SystemName};
pub use json::{JsonError, numbers_equal, parse_preserving_numbers, parse_strict, validate_strict, values_equal};
pub use json_write::{json_pointer, write_json, write_json_string, write_pointer};
pub use members::{RawJson, RawObject};
pub use operation::{ObservedState, Operation, OperationId, OperationState, VendorCallLog};
pub use patch::{MergePatch, Patch, PatchError, PatchedFields, RecordIdentity};
pub use precondition::Precondition;
pub use secret::Secret;
pub use sha256::sha256;
pub use vendor_error::{FieldError, Retry, SideEffect, VendorError, VendorErrorKind};
pub use vendor_record::{VendorRecord, Warning, WarningCode};
