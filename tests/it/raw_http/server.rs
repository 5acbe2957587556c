//! A gateway with the limits of a default configuration and two API keys, and raw requests to it.

use records_gateway::sandbox::{matrix42, pretectum};

use super::{RawConnection, RawResponse};
use crate::support::{FIXTURES, TestConfig, TestServer};

/// A record of `crm` that exists.
pub(crate) const ADA: &str = pretectum::ADA_ID;
/// A record of `itsm` that exists.
pub(crate) const FACILITY: &str = matrix42::FACILITY_ID;

/// A gateway whose callers are `admin`, who may do everything, and `reader`, who may read `crm`.
pub(crate) fn start_server() -> TestServer {
    start_server_with(|config| config)
}

/// The same, with what the closure changes.
pub(crate) fn start_server_with(configure: impl FnOnce(TestConfig) -> TestConfig) -> TestServer {
    TestServer::start_with(|config| {
        let config = config.server("shutdown_timeout", "1s").system("itsm", "collection", matrix42::CATEGORY_CLASS);
        configure(config.api_keys(&[("admin", "admin", "*:*"), ("reader", "reader", "crm:read")]))
    })
}

impl TestServer {
    /// A connection of its own.
    pub(crate) fn connect(&self) -> RawConnection {
        RawConnection::open(self.address()).expect("a connection")
    }

    /// One request over a connection of its own, and its response.
    pub(crate) fn exchange(&self, request: impl AsRef<[u8]>) -> RawResponse {
        self.try_exchange(request).expect("a response")
    }

    /// One request over a connection of its own, which the server may close without a response.
    pub(crate) fn try_exchange(&self, request: impl AsRef<[u8]>) -> Option<RawResponse> {
        let request = request.as_ref();
        let mut connection = self.connect();
        connection.send(request);
        connection.read_response_to(request)
    }

    /// Every request that the vendors received, sign-ins included.
    pub(crate) fn vendor_calls(&self) -> Vec<String> {
        FIXTURES.iter().flat_map(|fixture| fixture.log(&self.vendors).request_lines()).collect()
    }

    /// Fails if a vendor has received a request.
    pub(crate) fn assert_no_vendor_calls(&self, after: &str) {
        assert_eq!(self.vendor_calls(), Vec::<String>::new(), "after {after}");
    }

    /// The request is rejected with this problem, and no vendor receives a request.
    pub(crate) fn assert_rejected(&self, request: &str, name: &str) -> RawResponse {
        let response = self.exchange(request);
        response.assert_problem(name, request);
        self.assert_no_vendor_calls(request);
        response
    }
}

/// A request's head: `line` without the version, each of `headers` with its line end. `Host` and
/// the key of `admin` are added.
pub(crate) fn request_head(line: &str, headers: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer admin\r\n{headers}\r\n")
}

/// A whole request with a body of known length.
pub(crate) fn request_with_body(line: &str, headers: &str, body: &str) -> String {
    request_head(line, &format!("{headers}Content-Length: {}\r\n", body.len())) + body
}

/// The path of [`ADA`].
pub(crate) fn ada_path() -> String {
    format!("/records/crm/{ADA}")
}

/// The headers of a complete PATCH.
pub(crate) const PATCH_HEADERS: &str = "If-Match: *\r\nContent-Type: application/merge-patch+json\r\n";
