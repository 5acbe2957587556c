//! A host that requests go to, as its configured address names it.

use std::path::Path;
use std::sync::Arc;

use actix_web::http::Uri;
use actix_web::http::header::HeaderValue;
use actix_web::http::uri::{Authority, PathAndQuery, Scheme};

use super::connector::stream_url;
use crate::transport::settings::StackError;
use crate::transport::tls;

/// A host, and the prefix of the paths there.
pub(super) struct Host {
    authority: Authority,
    /// Scheme and authority of the URLs that awc gets.
    stream_url: Uri,
    /// The path of the configured address without a trailing slash.
    prefix: String,
    /// The value of `Host`.
    pub(super) header: HeaderValue,
    /// `None` for plain HTTP.
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
}

impl Host {
    /// Parses scheme, host, optional port and prefix. `ca_certificate` replaces the system's roots.
    pub(super) fn parse(url: &str, ca_certificate: Option<&Path>) -> Result<Self, StackError> {
        let invalid_url = |why: &str| StackError::BaseUrl { url: url.to_owned(), why: why.to_owned() };
        let base: Uri = url.parse().map_err(|_| invalid_url("it is not an absolute URL"))?;
        let parts = base.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(invalid_url("it needs a scheme and a host"));
        };
        if scheme != Scheme::HTTPS && scheme != Scheme::HTTP {
            return Err(invalid_url("its scheme must be https or http"));
        }
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(invalid_url("it needs a host and must not hold user information"));
        }
        let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        if path.query().is_some() {
            return Err(invalid_url("it must not have a query"));
        }
        let tls = if scheme == Scheme::HTTPS { Some(tls::client_config(ca_certificate)?) } else { None };
        let header = HeaderValue::from_str(authority.as_str())
            .map_err(|_| invalid_url("its host is not a valid header value"))?;
        let origin = Uri::builder().scheme(scheme).authority(authority.clone()).path_and_query("/").build();
        let stream_url =
            origin.ok().and_then(stream_url).ok_or_else(|| invalid_url("its host cannot be connected to"))?;
        Ok(Self { authority, stream_url, prefix: path.path().trim_end_matches('/').to_owned(), header, tls })
    }

    /// Host and port.
    pub(super) fn address(&self) -> (String, u16) {
        (self.authority.host().to_owned(), self.stream_url.port_u16().unwrap_or_default())
    }

    /// The URL for awc of a path and query below the configured address.
    pub(super) fn url(&self, path: &str) -> Option<Uri> {
        let path = PathAndQuery::try_from([self.prefix.as_str(), path].concat()).ok()?;
        let mut parts = self.stream_url.clone().into_parts();
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).ok()
    }
}
