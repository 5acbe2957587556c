//! What every other module shares: records, their ids, versions and entity tags, patches and
//! differences, operations, and the errors of vendors.
//!
//! Nothing here does I/O, and nothing here knows a particular vendor.

mod call;
mod caller;
mod cursor;
mod diff;
mod etag;
mod id;
mod json_equal;
mod json_error;
mod json_members;
mod json_parse;
mod json_pointer;
mod json_write;
mod list_condition;
mod nearest;
mod operation;
mod patch;
mod percent_encode;
mod plan_tag;
mod precondition;
mod raw_json;
mod rebase;
mod rfc3339;
mod secret;
mod sha256;
mod uuid_v7;
mod vendor_error;
mod vendor_record;

pub use call::VendorRequestKind;
pub use caller::{Action, CallerName, CallerShare, RequestId};
pub use cursor::{decode_cursor, encode_cursor};
pub use diff::{FieldChange, all_applied, diff};
pub use etag::{EntityTag, TagOrigin, Version};
pub use id::{Key, RecordId, SystemName};
pub use json_equal::{is_whole_number, values_equal};
pub use json_error::JsonError;
pub use json_parse::parse_strict;
pub use json_pointer::{fields_member, fields_pointer, json_pointer, pointer_is_within, pointers_overlap};
pub use json_write::{JsonObjectWriter, write_json, write_json_string};
pub use list_condition::ListCondition;
pub use nearest::nearest_name;
pub use operation::{ObservedState, Operation, OperationId, OperationState, VendorRequestLog};
pub use patch::{
    MappedPatch, MergePatch, Patch, PatchError, PatchedFields, READ_ONLY_DETAIL, RecordIdentity, apply_json_patch,
    merge_fields, operation_places,
};
pub use percent_encode::{percent_encode, percent_encode_id};
pub use plan_tag::{PlanDigests, PlanKey, PlanPart, PlanTag};
pub use precondition::Precondition;
pub use raw_json::{RawJson, RawObject, UNREADABLE_TEXT, json_object};
pub use rebase::{Rebase, rebase};
pub use rfc3339::{format_time, parse_time, parse_vendor_time};
pub use secret::{Secret, hide_secret, redact_secrets};
pub use sha256::sha256;
pub use vendor_error::{FieldError, Retry, SchemaRule, SideEffect, VendorError, VendorErrorKind};
pub use vendor_record::{UnreadableText, VendorRecord, Warning, WarningCode};
