//! Loose checks of formats: only what is certainly wrong. Vendors read more forms than the RFCs
//! name, and a value that a vendor takes must not be refused; the vendor judges the rest.

use jsonschema::ValidationOptions;

/// Whether a text may have a format.
pub(super) type FormatCheck = fn(&str) -> bool;

const CHECKS: [(&str, FormatCheck); 7] = [
    ("email", is_email),
    ("phone", has_digit),
    ("uri", |text| !text.is_empty() && !text.contains(char::is_whitespace)),
    ("uuid", is_uuid),
    ("date", has_digit),
    ("time", has_digit),
    ("date-time", has_digit),
];

/// Replaces the library's own checks of formats.
pub(super) fn add_formats(options: ValidationOptions) -> ValidationOptions {
    let options = options.should_validate_formats(true);
    CHECKS.into_iter().fold(options, |options, (name, check)| options.with_format(name, check))
}

/// The check of a format; `None` for a format that is left to the library.
pub(super) fn find_check(format: &str) -> Option<FormatCheck> {
    CHECKS.into_iter().find(|(name, _)| *name == format).map(|(_, check)| check)
}

fn has_digit(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit())
}

fn is_email(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
}

/// With or without hyphens and braces.
fn is_uuid(text: &str) -> bool {
    let inner = text.trim_matches(['{', '}', '(', ')']);
    let digits = inner.bytes().filter(|byte| *byte != b'-');
    digits.clone().count() == 32 && digits.clone().all(|byte| byte.is_ascii_hexdigit())
}
