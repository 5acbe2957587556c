//! `base_url`: the address of a vendor.

use std::net::{IpAddr, SocketAddr};

use url::{Host, Url};

const EXPECTED: &str = "scheme, host, optional port and prefix, such as \"https://vendor.example/prefix\"";

/// The one spelling of a vendor's address, without a slash at its end; or what is wrong and what
/// would be valid.
///
/// The errors do not show the address: it may hold a password.
pub(super) fn normalize(text: &str, allow_http: bool, added_paths: &[&str]) -> Result<String, (String, &'static str)> {
    let invalid = |message: &str| Err((message.to_owned(), EXPECTED));
    // The parser would silently repair what follows.
    if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
        return invalid("holds a space, a control character or a backslash");
    }
    let Ok(url) = Url::parse(text) else { return invalid("is not a URL") };
    let Some(host) = url.host().filter(|_| matches!(url.scheme(), "https" | "http")) else {
        return invalid("is not an http or https URL");
    };
    if !text.to_ascii_lowercase().starts_with(&format!("{}://", url.scheme())) {
        return invalid("does not have two slashes after its scheme");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(("holds credentials".to_owned(), "an address without a user; credentials have their own keys"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return invalid("has a query or a fragment");
    }
    if url.port() == Some(0) {
        return invalid("has the port 0");
    }
    let prefix = url.path().trim_end_matches('/');
    if prefix.contains("//") {
        return invalid("has an empty path segment");
    }
    let lower = prefix.to_ascii_lowercase();
    if let Some(repeated) = added_paths.iter().find(|path| lower.ends_with(&path.to_ascii_lowercase())) {
        return invalid(&format!("ends in {repeated:?}, which the gateway adds itself"));
    }
    if url.scheme() == "http" && !allow_http && !is_loopback(&host) {
        let expected = "https, or a loopback host, or allow_http = true";
        return Err(("sends secrets in clear text over http".to_owned(), expected));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Whether an address is the gateway's own (RFC 9110, section 7.6: no loops).
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
