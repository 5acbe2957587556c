//! A gateway in front of the fake vendors, and raw sockets to it: what is sent is exactly the bytes a test writes, and what
//! comes back is read by its framing and nothing else.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use records_gateway::app::Application;
use records_gateway::config::Config;
use records_gateway::record::sha256;
use records_gateway::sandbox::{Sandbox, bluedolphin, matrix42, pretectum};
use tokio::sync::oneshot;

use super::raw_http_response::RawResponse;

/// Longer than anything the gateway may take to response or to close; met only by a gateway that hangs.
const SOCKET_TIMEOUT: Duration = Duration::from_secs(20);

/// A record of `crm` that exists.
pub(crate) const ADA: &str = pretectum::ADA_ID;
/// A record of `itsm` that exists.
pub(crate) const FACILITY: &str = matrix42::FACILITY_ID;

/// A gateway that listens, and the vendors behind it.
pub(crate) struct TestServer {
    pub(crate) vendors: Sandbox,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl TestServer {
    /// With the defaults.
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// With more lines in `[server]`.
    pub(crate) fn start_with(server: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let vendors = Sandbox::start().expect("the fake vendors");
        let text = configuration(&vendors, server, &folder.path().join("store.db").display().to_string());
        let config = Config::parse(&text, "connection").expect("a configuration");
        let (stop, stopped) = oneshot::channel();
        let (listening, heard) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let application = Application::build(&config).await.expect("a gateway");
                listening.send(application.address()).expect("somebody waits");
                application
                    .run(async {
                        let _ = stopped.await;
                    })
                    .await;
            });
        });
        let address = heard.recv().expect("it listens");
        Self { vendors, address, stop: Some(stop), thread: Some(thread), _folder: folder }
    }

    /// A connection of its own.
    pub(crate) fn connect(&self) -> RawConnection {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(SOCKET_TIMEOUT)).expect("a timeout");
        stream.set_write_timeout(Some(SOCKET_TIMEOUT)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        RawConnection { stream, unread: Vec::new() }
    }

    /// One request over a connection of its own, and its response.
    pub(crate) fn request(&self, request: impl AsRef<[u8]>) -> RawResponse {
        let request = request.as_ref();
        let mut connection = self.connect();
        connection.send(request);
        connection.read_response_to(request).expect("a response")
    }

    /// One request over a connection of its own, which the server may close without a response.
    pub(crate) fn try_request(&self, request: impl AsRef<[u8]>) -> Option<RawResponse> {
        let mut connection = self.connect();
        connection.send(request.as_ref());
        connection.read_response_to(request.as_ref())
    }

    /// Every call that the vendors received, sign-ins included.
    pub(crate) fn vendor_calls(&self) -> Vec<String> {
        let Sandbox { pretectum, bluedolphin, matrix42 } = &self.vendors;
        [pretectum.log.request_lines(), bluedolphin.log.request_lines(), matrix42.log.request_lines()].concat()
    }

    /// Nothing at all has reached a vendor.
    pub(crate) fn assert_no_vendor_calls(&self, after: &str) {
        assert_eq!(self.vendor_calls(), Vec::<String>::new(), "after {after}");
    }

    /// A refusal by this name, of which no vendor heard.
    pub(crate) fn assert_rejected(&self, request: &str, name: &str) -> RawResponse {
        let response = self.request(request);
        response.assert_problem(name, request);
        self.assert_no_vendor_calls(request);
        response
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed, and the test has failed by it.
            let _ = thread.join();
        }
    }
}

fn configuration(vendors: &Sandbox, server: &str, store: &str) -> String {
    let key = |key: &str| const_hex::encode(sha256([key.as_bytes()]));
    let collection = format!("{}:{}:{}", pretectum::BUSINESS_AREA_ID, pretectum::SCHEMA_ID, pretectum::DATASET_ID);
    format!(
        r#"
        [server]
        bind = "127.0.0.1:0"
        workers = 1
        shutdown_timeout = "1s"
        {server}
        [store]
        url = "sqlite:{store}"
        [access]
        mode = "keys"
        [[access.callers]]
        name = "admin"
        key_sha256 = "{}"
        allow = ["*:*"]
        [[access.callers]]
        name = "reader"
        key_sha256 = "{}"
        allow = ["crm:read"]
        [systems.crm]
        vendor = "pretectum"
        base_url = "{}"
        client_id = "{}"
        client_secret = "{}"
        collection = "{collection}"
        [systems.architecture]
        vendor = "bluedolphin"
        base_url = "{}"
        tenant = "{}"
        api_key = "{}"
        collection = "object-definitions"
        [systems.itsm]
        vendor = "matrix42"
        base_url = "{}"
        api_token = "{}"
        collection = "{}"
        "#,
        key("admin"),
        key("reader"),
        vendors.pretectum.base_url(),
        pretectum::CLIENT_ID,
        pretectum::CLIENT_SECRET,
        vendors.bluedolphin.base_url(),
        bluedolphin::TENANT,
        bluedolphin::API_KEY,
        vendors.matrix42.base_url(),
        matrix42::API_TOKEN,
        matrix42::CATEGORY_CLASS,
    )
}

/// A request's head: `line` without the version, `fields` each with its line end; `Host` and the key of `admin` are added.
pub(crate) fn request_head(line: &str, fields: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer admin\r\n{fields}\r\n")
}

/// A whole request with a body of known length.
pub(crate) fn request_with_body(line: &str, fields: &str, body: &str) -> String {
    request_head(line, &format!("{fields}Content-Length: {}\r\n", body.len())) + body
}

/// The path of [`ADA`].
pub(crate) fn ada_path() -> String {
    format!("/records/crm/{ADA}")
}

/// The fields of a PATCH that lacks nothing.
pub(crate) const PATCH_HEADERS: &str = "If-Match: *\r\nContent-Type: application/merge-patch+json\r\n";

/// One connection.
pub(crate) struct RawConnection {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl RawConnection {
    /// Sends bytes. A server that has closed already is no failure here: what it answered can still be read.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        if let Err(error) = self.stream.write_all(bytes.as_ref()) {
            let closed = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
            assert!(closed.contains(&error.kind()), "cannot send: {error}");
        }
    }

    /// Says that nothing more will come, and goes on listening.
    pub(crate) fn shut_down_write(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The response to a request, which says whether there is a body; `None` if the connection ends before it.
    pub(crate) fn read_response_to(&mut self, request: &[u8]) -> Option<RawResponse> {
        self.read_response(request.starts_with(b"HEAD "))
    }

    /// The next response, read by its framing.
    pub(crate) fn read_response(&mut self, to_head: bool) -> Option<RawResponse> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            if !self.read_more() {
                assert!(self.unread.is_empty(), "half a response: {}", String::from_utf8_lossy(&self.unread));
                return None;
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
                assert!(self.read_more(), "the body ends too early: {text}");
            }
            response.body = self.unread.drain(..length).collect();
        }
        Some(response)
    }

    /// Everything until the server closes, which it must do.
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        while self.read_more() {}
        std::mem::take(&mut self.unread)
    }

    /// Reads something; `false` at the end, orderly or not.
    fn read_more(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => false,
            Ok(length) => {
                self.unread.extend_from_slice(&piece[..length]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("the gateway neither responds nor closes: {error}"),
        }
    }
}
