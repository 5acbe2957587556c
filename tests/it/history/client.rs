//! A caller's HTTP client. It keeps its connection and never repeats a request by itself.

use std::io::{self, ErrorKind};

use serde_json::Value;

use crate::raw_http::{RawConnection, RawResponse};

/// One connection, kept as long as it works.
#[derive(Default)]
pub(crate) struct Client {
    connection: Option<(String, RawConnection)>,
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
    ) -> io::Result<RawResponse> {
        let kept = self.connection.take().filter(|(kept, _)| kept == address);
        let mut connection = match kept {
            Some((_, connection)) => connection,
            None => RawConnection::open(address)?,
        };
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: gateway\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            text.extend([name, ": ", value, "\r\n"]);
        }
        connection.try_send(format!("{text}\r\n{body}"))?;
        let response = connection.try_read_response(false)?.ok_or(ErrorKind::UnexpectedEof)?;
        // The gateway closes a connection whose request did not arrive in time.
        if response.status != 408 {
            self.connection = Some((address.to_owned(), connection));
        }
        Ok(response)
    }

    /// GET.
    pub(crate) fn get(&mut self, address: &str, path: &str) -> io::Result<RawResponse> {
        self.send(address, "GET", path, &[], "")
    }

    /// Every item of all pages.
    pub(crate) fn get_all_pages(&mut self, address: &str, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let response = self.get(address, &format!("{path}?limit=1000{cursor}")).expect("a page");
            assert_eq!(response.status, 200, "{path}: {}", response.text());
            let page = response.json();
            items.extend(page["items"].as_array().expect("items").iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }
}
