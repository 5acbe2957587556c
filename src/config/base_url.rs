//! `base_url`: where a vendor is.

use std::net::{IpAddr, SocketAddr};

use url::{Host, Url};

use super::reader::Reader;
use super::text::Text;

const VALID: &str = "scheme, host, optional port and prefix, such as \"https://vendor.example/prefix\"";

/// Takes a vendor's address and gives it in its one spelling, without a slash at its end.
///
/// The faults do not show the address: it may hold a password.
pub(super) fn base_url(reader: &Reader<'_>, text: &Text, allow_http: bool, added: &[&str]) -> Option<String> {
    let refuse = |wrong: &str, valid: &str| {
        reader.fault(&text.place, wrong, valid);
        None
    };
    // The parser mends what follows, in ways nobody would guess.
    if text.value.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
        return refuse("holds a space, a control character or a backslash", VALID);
    }
    let Ok(url) = Url::parse(&text.value) else { return refuse("is not a URL", VALID) };
    let Some(host) = url.host().filter(|_| matches!(url.scheme(), "https" | "http")) else {
        return refuse("is not an http or https URL", VALID);
    };
    if !text.value.to_ascii_lowercase().starts_with(&format!("{}://", url.scheme())) {
        return refuse("does not have two slashes after its scheme", VALID);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("holds credentials", "an address without a user; credentials have keys of their own");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("has a query or a fragment", VALID);
    }
    if url.port() == Some(0) {
        return refuse("has the port 0", VALID);
    }
    let prefix = url.path().trim_end_matches('/');
    if prefix.contains("//") {
        return refuse("has an empty path segment", VALID);
    }
    let lower = prefix.to_ascii_lowercase();
    if let Some(repeated) = added.iter().find(|path| lower.ends_with(&path.to_ascii_lowercase())) {
        return refuse(&format!("ends in {repeated:?}, which the gateway adds by itself"), VALID);
    }
    if url.scheme() == "http" && !allow_http && !is_loopback(&host) {
        return refuse("sends secrets in clear text over http", "https, or a loopback host, or allow_http = true");
    }
    Some(url.as_str().trim_end_matches('/').to_owned())
}

/// Whether an address leads back to the gateway itself (RFC 9110, section 7.6: no loops).
pub(super) fn is_self_address(base_url: &str, bind: SocketAddr) -> bool {
    let Ok(url) = Url::parse(base_url) else { return false };
    let host = match url.host() {
        Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
        Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip).to_canonical()),
        Some(Host::Domain(name)) if is_localhost(name) => None,
        _ => return false,
    };
    let bound = bind.ip().to_canonical();
    let is_same_host = match host {
        Some(ip) => ip == bound || (bound.is_unspecified() && ip.is_loopback()),
        None => bound.is_unspecified() || bound.is_loopback(),
    };
    is_same_host && url.port_or_known_default() == Some(bind.port())
}

pub(super) fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.to_canonical().is_loopback(),
        Host::Domain(name) => is_localhost(name),
    }
}

fn is_localhost(name: &str) -> bool {
    name.trim_end_matches('.') == "localhost"
}
