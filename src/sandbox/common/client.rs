//! A minimal HTTP client for the tests of the fake vendors: it shows exactly what was on the wire.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::model::VendorModel;
use super::server::FakeVendor;

/// What was received until the connection closed.
pub(in crate::sandbox) struct ClientResponse {
    /// 0 if no byte was received.
    pub(in crate::sandbox) status: u16,
    /// Status line and headers.
    pub(in crate::sandbox) head: String,
    pub(in crate::sandbox) body: String,
}

impl ClientResponse {
    pub(in crate::sandbox) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Sends a request without waiting for the response.
pub(in crate::sandbox) fn send_request(
    address: SocketAddr,
    call: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut text = format!("{call} HTTP/1.1\r\nHost: vendor\r\nConnection: close\r\n");
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    if let Some(body) = body {
        write!(text, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    text += "\r\n";
    text += body.unwrap_or_default();
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

pub(in crate::sandbox) fn receive_response(mut stream: TcpStream) -> ClientResponse {
    let mut bytes = Vec::new();
    // A reset connection may have delivered data before.
    stream.read_to_end(&mut bytes).ok();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap());
    ClientResponse { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

impl<M: VendorModel> FakeVendor<M> {
    /// Sends one request, given as `"METHOD /path"`, and returns the response.
    pub(in crate::sandbox) fn call(&self, call: &str, headers: &[(&str, &str)], body: Option<&str>) -> ClientResponse {
        receive_response(send_request(self.address(), call, headers, body))
    }
}
