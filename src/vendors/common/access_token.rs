//! Access tokens.

use std::time::Duration;

use actix_web::http::header::HeaderValue;

/// How long a token of unknown lifetime is trusted.
const DEFAULT_TOKEN_TTL: Duration = Duration::from_mins(5);

/// The time for which a token is trusted: the lifetime that the vendor gives, at most a day.
pub(crate) fn limit_token_ttl(lifetime: Option<Duration>) -> Duration {
    lifetime.unwrap_or(DEFAULT_TOKEN_TTL).min(Duration::from_hours(24))
}

/// A secret as a header value that `Debug` does not print; `None` if it is empty or cannot be a
/// header value.
pub(crate) fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok().filter(|_| !text.is_empty())?;
    value.set_sensitive(true);
    Some(value)
}
