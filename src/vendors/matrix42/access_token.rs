//! The access token and its lifetime, which the vendor documents only as "short-time".

use std::time::Duration;

use actix_web::http::header::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::record::{VendorError, parse_vendor_time};
use crate::vendors::common::{limit_token_ttl, secret_header, unparseable_response};

/// Parses the response of the exchange: `Bearer RawToken`, and its lifetime from `now`.
///
/// The expiry is `LifeTime` (OBSERVED on real servers), else `ValidTo` (used by a public mock),
/// else the token's own `exp`, else five minutes from now. A time in the past is ignored: it is a
/// local time without an offset.
pub(super) fn parse_access_token(body: &[u8], now: Timestamp) -> Result<(HeaderValue, Duration), VendorError> {
    let members: Map<String, Value> = serde_json::from_slice(body).map_err(unparseable_response)?;
    let text = |name: &str| {
        let member = members.iter().find(|(member, _)| member.eq_ignore_ascii_case(name));
        member.and_then(|(_, value)| value.as_str()).filter(|text| !text.is_empty())
    };
    let token = text("RawToken").ok_or_else(|| unparseable_response("it holds no RawToken"))?;
    let header = secret_header(&format!("Bearer {token}"))
        .ok_or_else(|| unparseable_response("a RawToken that cannot be a header value"))?;
    let expiries =
        [text("LifeTime").and_then(parse_datetime), text("ValidTo").and_then(parse_datetime), jwt_expiry(token)];
    let lifetime = expiries
        .into_iter()
        .flatten()
        .find_map(|expiry| Duration::try_from(expiry.duration_since(now)).ok().filter(|lifetime| !lifetime.is_zero()));
    Ok((header, limit_token_ttl(lifetime)))
}

/// Parses an ISO 8601 date and time; UTC if it has no offset.
fn parse_datetime(text: &str) -> Option<Timestamp> {
    // The vendor's "never" is a few hours beyond the last moment that jiff can represent.
    if text.starts_with("9999-12-31") {
        return Some(Timestamp::MAX);
    }
    parse_vendor_time(text)
}

/// The `exp` of a JWT, unverified: it only determines when to refresh the token, and what operators
/// see of the API token.
pub(super) fn jwt_expiry(token: &str) -> Option<Timestamp> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Map<String, Value> = serde_json::from_slice(&payload).ok()?;
    Timestamp::from_second(claims.get("exp")?.as_i64()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetime_secs(body: &str) -> u64 {
        let now = "2026-07-30T10:00:00Z".parse().expect("a time");
        parse_access_token(body.as_bytes(), now).expect("a token").1.as_secs()
    }

    /// `{"exp":1785406200}` is 2026-07-30T10:10:00Z.
    fn jwt() -> String {
        format!("h.{}.s", URL_SAFE_NO_PAD.encode(r#"{"exp":1785406200}"#))
    }

    #[test]
    fn the_token_lifetime_comes_from_the_first_usable_field() {
        let cases = [
            (r#"{"RawToken":"a","LifeTime":"2026-07-30T10:04:00Z","ValidTo":"2026-07-30T11:00:00Z"}"#, 240),
            (r#"{"rawToken":"a","lifeTime":"2026-07-30T12:04:00.1234567+02:00"}"#, 240),
            (r#"{"RawToken":"a","LifeTime":"2026-07-30T10:04:00"}"#, 240),
            (r#"{"RawToken":"a","LifeTime":"soon","ValidTo":"2026-07-30T10:03:00Z"}"#, 180),
            (r#"{"RawToken":"a","LifeTime":"2026-07-30T05:04:00"}"#, 300),
            (r#"{"RawToken":"a","LifeTime":300}"#, 300),
            (r#"{"RawToken":"a"}"#, 300),
            (r#"{"RawToken":"a","LifeTime":"9999-12-31T23:59:59.997Z"}"#, 86400),
        ];
        for (body, seconds) in cases {
            assert_eq!(lifetime_secs(body), seconds, "{body}");
        }
        assert_eq!(lifetime_secs(&format!(r#"{{"RawToken":"{}"}}"#, jwt())), 600);
    }

    #[test]
    fn a_response_without_a_usable_token_is_an_invalid_response() {
        for body in ["{}", r#"{"RawToken":""}"#, r#"{"RawToken":1}"#, r#"{"RawToken":"a\nb"}"#, "[]", "<html>"] {
            assert!(parse_access_token(body.as_bytes(), Timestamp::now()).is_err(), "{body}");
        }
    }
}
