//! Loose checks of formats: only what is certainly wrong. Vendors read more forms than the RFCs
//! name, and a value that a vendor takes must not be refused; the vendor judges the rest.

use jsonschema::ValidationOptions;

/// Replaces the formats' own checks.
pub(super) fn add_formats(options: ValidationOptions) -> ValidationOptions {
    let has_digit = |text: &str| text.bytes().any(|byte| byte.is_ascii_digit());
    options
        .should_validate_formats(true)
        .with_format("email", is_email)
        .with_format("phone", has_digit)
        .with_format("uri", |text: &str| !text.is_empty() && !text.contains(char::is_whitespace))
        .with_format("uuid", is_uuid)
        .with_format("date", has_digit)
        .with_format("time", has_digit)
        .with_format("date-time", has_digit)
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
