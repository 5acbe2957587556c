//! The byte stream of one connection to a vendor: TCP, with TLS where the base URL is `https`, and
//! with response heads corrected by [`inspect_head`].

use std::io::{self, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_tls::connect::rustls_0_23::reexports::AsyncTlsStream;
use actix_web::rt::net::{ActixStream, Ready, TcpStream};
use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::response_head::{HeadAction, inspect_head};

/// The connection under a [`VendorStream`].
#[derive(Debug)]
pub(super) enum Socket {
    /// `http`.
    Plain(TcpStream),
    /// `https`.
    Tls(Box<AsyncTlsStream<TcpStream>>),
}

/// Which part of a response arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its head, perhaps after interim responses.
    Head,
    /// What follows the head.
    Body {
        /// Whether it ends with the connection.
        until_close: bool,
    },
}

/// One connection to a vendor.
#[derive(Debug)]
pub(super) struct VendorStream {
    socket: Socket,
    phase: Phase,
    /// The part of a head that has arrived.
    received: BytesMut,
    /// Inspected bytes that the reader has not taken.
    inspected: BytesMut,
}

impl From<Socket> for VendorStream {
    fn from(socket: Socket) -> Self {
        Self { socket, phase: Phase::Head, received: BytesMut::new(), inspected: BytesMut::new() }
    }
}

impl VendorStream {
    /// The TCP connection.
    pub(super) fn tcp(&self) -> &TcpStream {
        match &self.socket {
            Socket::Plain(tcp) => tcp,
            Socket::Tls(tls) => tls.get_ref().0,
        }
    }

    /// Takes what has just been read into `buffer` as a part of a head.
    fn take_head(&mut self, buffer: &mut ReadBuf<'_>, filled_before: usize) {
        let new = buffer.filled().get(filled_before..).unwrap_or_default();
        let is_whole = self.received.is_empty() && !new.is_empty();
        if is_whole && inspect_head(new) == HeadAction::Pass {
            // The usual case: nothing is copied.
            self.phase = Phase::Body { until_close: false };
            return;
        }
        let at_end = new.is_empty();
        self.received.extend_from_slice(new);
        buffer.set_filled(filled_before);
        loop {
            match inspect_head(&self.received) {
                HeadAction::ReadMore if !at_end => return,
                HeadAction::Skip(length) => self.received.advance(length),
                HeadAction::ReadMore | HeadAction::Pass => return self.pass_on(false),
                HeadAction::Replace { head, length, until_close } => {
                    self.received.advance(length);
                    self.inspected.extend_from_slice(&head);
                    return self.pass_on(until_close);
                }
            }
        }
    }

    fn pass_on(&mut self, until_close: bool) {
        self.inspected.unsplit(self.received.split());
        self.phase = Phase::Body { until_close };
    }
}

impl AsyncRead for VendorStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        loop {
            if !this.inspected.is_empty() {
                let length = this.inspected.len().min(buffer.remaining());
                buffer.put_slice(&this.inspected.split_to(length));
                return Poll::Ready(Ok(()));
            }
            let filled_before = buffer.filled().len();
            let read = ready!(this.socket.poll_read(context, buffer));
            match (this.phase, read) {
                // Many servers end a TLS connection without saying so. Whether the body is whole is
                // checked by its content.
                (Phase::Body { until_close: true }, Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Ok(()));
                }
                (Phase::Body { .. }, read) | (Phase::Head, read @ Err(_)) => return Poll::Ready(read),
                (Phase::Head, Ok(())) => {
                    this.take_head(buffer, filled_before);
                    let has_passed = this.phase != Phase::Head && this.inspected.is_empty();
                    if has_passed {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

impl AsyncWrite for VendorStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize>> {
        // A request: the next bytes to read are the head of its response. awc writes the whole
        // request before it reads, and reads the whole response before it reuses the connection.
        self.phase = Phase::Head;
        match &mut self.socket {
            Socket::Plain(tcp) => Pin::new(tcp).poll_write(context, data),
            Socket::Tls(tls) => Pin::new(tls).poll_write(context, data),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.socket {
            Socket::Plain(tcp) => Pin::new(tcp).poll_flush(context),
            Socket::Tls(tls) => Pin::new(tls).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.socket {
            Socket::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Socket::Tls(tls) => Pin::new(tls).poll_shutdown(context),
        }
    }
}

impl Socket {
    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(context, buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(context, buffer),
        }
    }
}

impl ActixStream for VendorStream {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<Result<Ready>> {
        ActixStream::poll_read_ready(self.tcp(), context)
    }

    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<Result<Ready>> {
        ActixStream::poll_write_ready(self.tcp(), context)
    }
}
