//! A caller's HTTP client that never repeats anything by itself.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::fault_proxy::read_message;

/// Longer than any deadline of the gateway.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// One connection, kept while it is good.
#[derive(Default)]
pub(crate) struct Client {
    connection: Option<(String, TcpStream)>,
}

/// A response.
#[derive(Clone, Debug)]
pub(crate) struct ClientResponse {
    /// HTTP status.
    pub(crate) status: u16,
    head: String,
    /// The body as JSON; `null` if it is none.
    pub(crate) body: Value,
}

impl ClientResponse {
    fn read(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(bytes[..end].to_vec()).expect("text");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Self { status, head, body: serde_json::from_slice(&bytes[end + 4..]).unwrap_or_default() }
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The problem's name.
    pub(crate) fn problem(&self) -> &str {
        self.body["type"].as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default()
    }

    /// The operation that the response names.
    pub(crate) fn operation(&self) -> Option<String> {
        let path = self.header("operation").or_else(|| self.body["operation"].as_str())?;
        Some(path.trim_start_matches("/operations/").to_owned())
    }
}

impl Client {
    /// Sends one request and reads its response.
    pub(crate) fn send(
        &mut self,
        address: &str,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: &str,
    ) -> io::Result<ClientResponse> {
        let kept = self.connection.take().filter(|(kept, _)| kept == address);
        let mut stream = match kept {
            Some((_, stream)) => stream,
            None => TcpStream::connect(address)?,
        };
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        stream.set_nodelay(true)?;
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: gateway\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            text.extend([name, ": ", value, "\r\n"]);
        }
        stream.write_all(format!("{text}\r\n{body}").as_bytes())?;
        let response = ClientResponse::read(&read_message(&stream, &mut Vec::new())?);
        self.connection = Some((address.to_owned(), stream));
        Ok(response)
    }

    /// GET.
    pub(crate) fn get(&mut self, address: &str, path: &str) -> io::Result<ClientResponse> {
        self.send(address, "GET", path, &[], "")
    }

    /// Every item of all pages.
    pub(crate) fn get_all_pages(&mut self, address: &str, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let response = self.get(address, &format!("{path}?limit=1000{cursor}")).expect("a page");
            assert_eq!(response.status, 200, "{path}: {}", response.body);
            items.extend(response.body["items"].as_array().expect("items").iter().cloned());
            match response.body["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }
}
