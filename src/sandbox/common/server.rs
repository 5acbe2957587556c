//! The HTTP server of a fake vendor, which can be paused and resumed.

use std::any::Any;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::dev::{Extensions, ServerHandle};
use actix_web::rt::net::{TcpSocket, TcpStream as TokioStream};
use actix_web::{App, HttpServer, web};

use super::context::{ServerContext, Socket};
use super::faults::Faults;
use super::lock::lock;
use super::log::RequestLog;
use super::model::VendorModel;
use super::serve;

/// Longest accepted request body, in bytes.
const MAX_BODY: usize = 64 << 20;

/// How long idle connections stay open: longer than clients keep theirs, so that clients close
/// first.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

type Sockets = Arc<Mutex<Vec<Weak<Socket>>>>;

/// A fake vendor: an HTTP server on 127.0.0.1 with its state, its faults and its log.
///
/// The server runs on its own threads, independent of the caller's runtime and clock. Dropping the
/// value stops it.
#[derive(Debug)]
pub struct FakeVendor<M: VendorModel> {
    /// The vendor's state, to read and to change behind the gateway's back.
    pub state: Arc<M>,
    /// The injected faults.
    pub faults: Arc<Faults>,
    /// The received requests.
    pub log: Arc<RequestLog>,
    address: SocketAddr,
    sockets: Sockets,
    phase: Mutex<Phase>,
}

#[derive(Debug)]
enum Phase {
    Up(RunningServer),
    /// A bound socket reserves the port: it does not listen, so it refuses connections.
    Down(#[expect(dead_code, reason = "reserves the port")] Option<TcpSocket>),
}

#[derive(Debug)]
struct RunningServer {
    handle: ServerHandle,
    thread: JoinHandle<()>,
}

impl<M: VendorModel> FakeVendor<M> {
    /// Starts on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No free port, or no thread.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let vendor = Self {
            state: Arc::default(),
            faults: Arc::default(),
            log: Arc::default(),
            address,
            sockets: Sockets::default(),
            phase: Mutex::new(Phase::Down(None)),
        };
        vendor.run(listener)?;
        Ok(vendor)
    }

    /// `http://127.0.0.1:PORT`, without a trailing slash.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops the server: closes open connections and refuses new ones. The state stays.
    pub async fn pause(&self) {
        let Some(RunningServer { handle, thread }) = self.shut_down() else { return };
        handle.stop(false).await;
        reset_all(&self.sockets);
        // The thread is about to return; a panic in it has failed the test already.
        thread.join().ok();
        *lock(&self.phase) = Phase::Down(reserve_port(self.address).ok());
    }

    /// Starts the server again on the same port. Does nothing if it is running.
    ///
    /// # Errors
    /// The port is not available any more.
    pub fn resume(&self) -> io::Result<()> {
        if matches!(*lock(&self.phase), Phase::Up(_)) {
            return Ok(());
        }
        // Releases the reserved port: not every system lets two sockets bind to one port.
        self.shut_down();
        self.run(TcpListener::bind(self.address)?)
    }

    /// Closes every open connection, as servers do with idle ones, and keeps listening.
    pub fn close_connections(&self) {
        reset_all(&self.sockets);
    }

    /// Stops the server.
    pub async fn stop(&self) {
        self.pause().await;
    }

    /// Switches to the phase `Down` without a reserved port and returns the server that was
    /// running.
    fn shut_down(&self) -> Option<RunningServer> {
        match std::mem::replace(&mut *lock(&self.phase), Phase::Down(None)) {
            Phase::Up(running) => Some(running),
            Phase::Down(_) => None,
        }
    }

    fn run(&self, listener: TcpListener) -> io::Result<()> {
        let context = web::Data::new(ServerContext {
            state: Arc::clone(&self.state),
            faults: Arc::clone(&self.faults),
            log: Arc::clone(&self.log),
        });
        let sockets = Arc::clone(&self.sockets);
        let (started, start) = mpsc::channel();
        let thread = std::thread::Builder::new().name(format!("sandbox-{}", M::NAME)).spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let server = HttpServer::new(move || {
                    App::new()
                        .app_data(web::Data::clone(&context))
                        .app_data(web::PayloadConfig::new(MAX_BODY))
                        .default_service(web::to(serve::handle::<M>))
                })
                .on_connect(move |io, data| track_socket(io, data, &sockets))
                .keep_alive(KEEP_ALIVE)
                .workers(1)
                .disable_signals()
                .listen(listener);
                let server = match server {
                    Ok(server) => server.run(),
                    Err(error) => return drop(started.send(Err(error))),
                };
                started.send(Ok(server.handle())).ok();
                server.await.ok();
            });
        })?;
        let handle = start.recv().map_err(io::Error::other)??;
        *lock(&self.phase) = Phase::Up(RunningServer { handle, thread });
        Ok(())
    }
}

impl<M: VendorModel> Drop for FakeVendor<M> {
    fn drop(&mut self) {
        if let Some(running) = self.shut_down() {
            // The call itself sends the stop command; the future would only wait for its
            // completion.
            drop(running.handle.stop(false));
            reset_all(&self.sockets);
        }
    }
}

fn track_socket(io: &dyn Any, data: &mut Extensions, sockets: &Sockets) {
    let Some(stream) = io.downcast_ref::<TokioStream>() else { return };
    if let Ok(clone) = stream.as_fd().try_clone_to_owned() {
        let socket = Arc::new(Socket(TcpStream::from(clone)));
        let mut sockets = lock(sockets);
        sockets.retain(|socket| socket.strong_count() > 0);
        sockets.push(Arc::downgrade(&socket));
        data.insert(socket);
    }
}

fn reserve_port(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn reset_all(sockets: &Sockets) {
    for socket in lock(sockets).drain(..).filter_map(|socket| socket.upgrade()) {
        socket.reset();
    }
}
