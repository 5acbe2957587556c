//! The raw-socket client of the tests: one connection, no repetition, no interpretation beyond the
//! framing.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::RawResponse;

/// Longer than the gateway may take to respond or to close; exceeded only by a gateway that hangs.
const SOCKET_TIMEOUT: Duration = Duration::from_secs(20);

/// One connection.
pub(crate) struct RawConnection {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl RawConnection {
    pub(crate) fn open(address: impl ToSocketAddrs) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(SOCKET_TIMEOUT))?;
        stream.set_write_timeout(Some(SOCKET_TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// Sends bytes. It is no failure if the server has closed already: its response can still be
    /// read.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        if let Err(error) = self.try_send(bytes) {
            let closed = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
            assert!(closed.contains(&error.kind()), "cannot send: {error}");
        }
    }

    /// Sends bytes to a server that may have closed.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Closes the sending direction; responses can still be read.
    pub(crate) fn shut_down_write(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The response to a request, whose method decides whether there is a body; `None` if the
    /// connection ends before it.
    pub(crate) fn read_response_to(&mut self, request: &[u8]) -> Option<RawResponse> {
        self.read_response(request.starts_with(b"HEAD "))
    }

    /// The next response, read by its framing; `None` if the connection ends before it.
    pub(crate) fn read_response(&mut self, to_head: bool) -> Option<RawResponse> {
        let response = self.try_read_response(to_head);
        response.unwrap_or_else(|error| panic!("the gateway neither responds nor closes: {error}"))
    }

    /// The same from a gateway that may be killed meanwhile; half a response is an error.
    pub(crate) fn try_read_response(&mut self, to_head: bool) -> io::Result<Option<RawResponse>> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            if !self.read_more()? {
                if self.unread.is_empty() {
                    return Ok(None);
                }
                return Err(truncated(&String::from_utf8_lossy(&self.unread)));
            }
        };
        let text = std::str::from_utf8(&self.unread[..end]).expect("a head in UTF-8").to_owned();
        self.unread.drain(..end + 4);
        let mut response = RawResponse::from_head(&text);
        let bodiless = to_head || response.status < 200 || [204, 304].contains(&response.status);
        if !bodiless {
            let length = response.header("content-length").unwrap_or_else(|| panic!("no length: {text}"));
            let length: usize = length.parse().expect("a length");
            while self.unread.len() < length {
                if !self.read_more()? {
                    return Err(truncated(&text));
                }
            }
            response.body = self.unread.drain(..length).collect();
        }
        Ok(Some(response))
    }

    /// Everything until the server closes, which it must do.
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        while self.read_more().unwrap_or_else(|error| panic!("the gateway does not close: {error}")) {}
        std::mem::take(&mut self.unread)
    }

    /// Reads something; `false` at the end, orderly or not.
    fn read_more(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Ok(false),
            Ok(length) => {
                self.unread.extend_from_slice(&chunk[..length]);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn truncated(received: &str) -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, format!("a truncated response: {received}"))
}
