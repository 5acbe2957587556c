//! The response of a vendor, read to its end.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

/// A complete response.
#[derive(Clone, Debug)]
pub struct VendorResponse {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type` as sent; empty if absent.
    pub content_type: String,
    /// `Retry-After`, seconds or date, as a duration from now.
    pub retry_after: Option<Duration>,
    /// The headers that [`VendorProtocol::kept_headers`] names and the response has; the first
    /// value of each.
    ///
    /// [`VendorProtocol::kept_headers`]: super::VendorProtocol::kept_headers
    pub headers: Vec<(&'static str, String)>,
    /// The body, at most `max_vendor_body` bytes.
    pub body: Bytes,
    /// The halves of surrogate pairs for which [`UNREADABLE_TEXT`](crate::record::UNREADABLE_TEXT)
    /// stands in the body, in their order.
    pub lone_surrogates: Vec<u16>,
}

impl VendorResponse {
    /// The value of a header that the protocol's list names.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

/// Parses `Retry-After`: whole seconds or an HTTP-date (RFC 9110 §10.2.3). Other values are
/// ignored.
///
/// A date before `now` gives zero. A number of seconds that overflows gives the longest wait.
pub(super) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u32::MAX.into())));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_parsed_and_other_values_are_ignored() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 30);
        let seconds = |value| parse_retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("99999999999999999999999"), Some(u64::from(u32::MAX)));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(30));
        assert_eq!(seconds("Sunday, 06-Nov-94 08:49:37 GMT"), Some(30));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        for invalid in ["", "-1", "1.5", "null", "soon", "5s", "+5", "6 Nov 1994"] {
            assert_eq!(seconds(invalid), None, "{invalid}");
        }
    }
}
