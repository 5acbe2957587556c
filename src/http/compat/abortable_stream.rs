//! A connection that its requests can end, and of which they know whether the client has ended it.
//!
//! actix-http's HTTP/2 `Dispatcher` (`src/h2/dispatcher.rs`) gives a service no way to end the
//! connection.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::dev::Extensions;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection_state::{Connection, StreamSignals};

/// A connection. It fails at the next read once one of its requests has aborted it.
pub struct AbortableStream<T> {
    io: T,
    signals: Rc<StreamSignals>,
}

impl<T> AbortableStream<T> {
    /// Wraps an open connection.
    pub fn new(io: T) -> Self {
        Self { io, signals: Rc::default() }
    }

    /// Lets the requests of the connection find it.
    pub fn on_connect(&self, is_over_tls: bool, data: &mut Extensions) {
        data.insert(Connection::new(Rc::clone(&self.signals), is_over_tls));
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for AbortableStream<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.signals.aborted.get() {
            return Poll::Ready(Err(ErrorKind::ConnectionAborted.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if let Poll::Ready(result) = &read
            && (result.is_err() || (buffer.filled().len() == before && buffer.remaining() > 0))
        {
            self.signals.ended.set(true);
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for AbortableStream<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
