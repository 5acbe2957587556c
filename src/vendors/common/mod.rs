//! What the protocols of several vendors share.

mod access_token;
mod client_credentials;
mod descriptions;
mod error_texts;
mod errors;
mod field_errors;
mod guid;
mod json;
mod matching;

pub(super) use access_token::{limit_token_ttl, secret_header};
pub(super) use client_credentials::{client_credentials_request, parse_token_response};
pub(crate) use descriptions::MAX_DESCRIPTION_WAIT;
pub(super) use descriptions::{SLOW_DESCRIPTION_TTL, load_within_limit};
pub use error_texts::reports_other_writer;
pub(super) use error_texts::{ErrorTexts, MAX_ERROR_BODY};
pub(super) use errors::{
    fault_for_status, fault_from_response, invalid_cursor_fault, is_done, missing_id_fault, undocumented_response,
    unparseable_response,
};
pub(super) use field_errors::{check_writable, field_error, find_respelled, member_pointer, missing_version_error};
pub(super) use guid::parse_guid;
pub(super) use json::{first_byte, is_null, parse_object, text_member, utf8};
pub(super) use matching::{MatchCollector, as_changes};
