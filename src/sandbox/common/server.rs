//! One stand-in on a port of its own, that can go down and come back.

use std::any::Any;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::dev::{Extensions, ServerHandle};
use actix_web::rt::net::{TcpSocket, TcpStream as TokioStream};
use actix_web::{App, HttpServer, web};

use super::{Faults, RequestLog, VendorModel, lock, serve};

/// Longest request body taken, in bytes.
const MAX_BODY: usize = 64 << 20;

/// How long idle connections are kept: longer than clients keep theirs, so that it is the client who closes first.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// What the server's thread and the stand-in's owner share.
#[derive(Debug)]
pub(super) struct ServerContext<M> {
    pub(super) state: Arc<M>,
    pub(super) faults: Arc<Faults>,
    pub(super) log: Arc<RequestLog>,
}

/// A second handle to a connection's socket: the only way to close it without an HTTP answer.
#[derive(Debug)]
pub(super) struct Socket(pub(super) TcpStream);

impl Socket {
    /// Closes both directions; what was written before still arrives.
    pub(super) fn reset(&self) {
        // An error says that the other side was faster.
        self.0.shutdown(Shutdown::Both).ok();
    }
}

type Sockets = Arc<Mutex<Vec<Weak<Socket>>>>;

/// A stand-in vendor: its HTTP server on 127.0.0.1, its state, its faults and its log.
///
/// The server has threads of its own, so it runs whatever the caller's runtime is or does to its clock. It ends with the value.
#[derive(Debug)]
pub struct FakeVendor<M: VendorModel> {
    /// The vendor's state, for looking at and for changing behind the gateway's back.
    pub state: Arc<M>,
    /// The faults switched on.
    pub faults: Arc<Faults>,
    /// What was received.
    pub log: Arc<RequestLog>,
    address: SocketAddr,
    sockets: Sockets,
    phase: Mutex<Phase>,
}

#[derive(Debug)]
enum Phase {
    Up(RunningServer),
    /// The socket keeps the port ours: bound and not listening, it refuses connections.
    Down(#[expect(dead_code, reason = "held for its port only")] Option<TcpSocket>),
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
    /// When no port or thread can be had.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let standin = Self {
            state: Arc::default(),
            faults: Arc::default(),
            log: Arc::default(),
            address,
            sockets: Sockets::default(),
            phase: Mutex::new(Phase::Down(None)),
        };
        standin.run(listener)?;
        Ok(standin)
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Goes down: open connections are cut, new ones refused. The state stays.
    pub async fn pause(&self) {
        let Some(RunningServer { handle, thread }) = self.shut_down() else { return };
        handle.stop(false).await;
        reset_all(&self.sockets);
        // The thread has nothing left to do but to return; a panic in it was a failed test's already.
        thread.join().ok();
        *lock(&self.phase) = Phase::Down(reserve_port(self.address).ok());
    }

    /// Comes back on the same port. Does nothing if it is not down.
    ///
    /// # Errors
    /// When the port cannot be had any more.
    pub fn resume(&self) -> io::Result<()> {
        if matches!(*lock(&self.phase), Phase::Up(_)) {
            return Ok(());
        }
        // The reservation ends here: not every system lets two sockets be bound to one port.
        self.shut_down();
        self.run(TcpListener::bind(self.address)?)
    }

    /// Ends every open connection, as servers do with those at rest, and goes on listening.
    pub fn close_connections(&self) {
        reset_all(&self.sockets);
    }

    /// Ends the server.
    pub async fn stop(&self) {
        self.pause().await;
    }

    /// Leaves the phase `Down` without a reservation; gives what was running.
    fn shut_down(&self) -> Option<RunningServer> {
        match std::mem::replace(&mut *lock(&self.phase), Phase::Down(None)) {
            Phase::Up(running) => Some(running),
            Phase::Down(_) => None,
        }
    }

    fn run(&self, listener: TcpListener) -> io::Result<()> {
        let shared = web::Data::new(ServerContext {
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
                        .app_data(web::Data::clone(&shared))
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
            // The command is sent by the call itself; the future would only wait for it to be done.
            drop(running.handle.stop(false));
            reset_all(&self.sockets);
        }
    }
}

fn track_socket(io: &dyn Any, data: &mut Extensions, sockets: &Sockets) {
    let Some(stream) = io.downcast_ref::<TokioStream>() else { return };
    if let Ok(copy) = stream.as_fd().try_clone_to_owned() {
        let socket = Arc::new(Socket(TcpStream::from(copy)));
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
