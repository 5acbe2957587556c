//! The way of one request: logged, met by a fault or not, answered.

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BodyStream, SizedStream};
use actix_web::http::StatusCode;
use actix_web::rt::time::sleep;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::sync::watch;

use super::server::{ServerContext, Socket};
use super::{FakeRequest, FakeResponse, InjectedFault, VendorModel, control};

/// Blanks are sent in pieces of this size, in bytes.
const PADDING_CHUNK_BYTES: usize = 64 << 10;

/// Every request of a stand-in comes here.
pub(super) async fn handle<M: VendorModel>(
    request: HttpRequest,
    body: Bytes,
    shared: web::Data<ServerContext<M>>,
) -> HttpResponse {
    if let Some(path) = request.uri().path().strip_prefix("/_sandbox/") {
        return control::handle_control_request(path, &request, &body, &shared).into_response();
    }
    let incoming = FakeRequest::new(&request, &body);
    let call = shared.state.call_kind(&incoming);
    // Taken before the log tells of the call: who has waited for that may release it at once.
    let releases = shared.faults.subscribe_to_releases();
    let fault = shared.faults.next_for(call);
    shared.log.record(call, &incoming);
    match fault {
        None => shared.state.respond(&incoming).into_response(),
        Some(fault) => inject(fault, request.clone(), body.clone(), shared, releases).await,
    }
}

async fn inject<M: VendorModel>(
    fault: InjectedFault,
    request: HttpRequest,
    body: Bytes,
    shared: web::Data<ServerContext<M>>,
    mut releases: watch::Receiver<u64>,
) -> HttpResponse {
    let apply = || shared.state.respond(&FakeRequest::new(&request, &body));
    match fault {
        InjectedFault::Response { status, headers, body } => {
            let answer = FakeResponse::raw(status, "", body);
            headers.iter().fold(answer, |answer, (name, value)| answer.with_header(name, value)).into_response()
        }
        InjectedFault::HtmlPage => {
            FakeResponse::raw(200, "text/html; charset=utf-8", "<!DOCTYPE html><html><body>Sign in</body></html>")
                .into_response()
        }
        InjectedFault::WrongJson => {
            FakeResponse::raw(200, "application/json", r#"{"unexpected":[true]}"#).into_response()
        }
        InjectedFault::Redirect { location } => {
            FakeResponse::empty(302).with_header("location", &location).into_response()
        }
        InjectedFault::Hang => std::future::pending().await,
        InjectedFault::HangAfter => {
            apply();
            std::future::pending().await
        }
        InjectedFault::HoldAfter => {
            let answer = apply();
            drop(releases.changed().await);
            answer.into_response()
        }
        InjectedFault::ResetBefore => reset(&request),
        InjectedFault::ResetAfter => {
            apply();
            reset(&request)
        }
        InjectedFault::ApplyThen500 => {
            apply();
            let text = r#"{"Message":"An error has occurred.","message":"Internal server error"}"#;
            FakeResponse::raw(500, "application/json", text).into_response()
        }
        InjectedFault::HalfBody => truncated(&request, &apply()),
        InjectedFault::HugeBody { bytes } => oversized(apply(), bytes),
        InjectedFault::SlowDrip { pause } => slow_drip(apply(), pause),
        InjectedFault::Delay { pause } => run_detached(request, body, shared, async move { sleep(pause).await }).await,
        InjectedFault::Hold => run_detached(request, body, shared, async move { drop(releases.changed().await) }).await,
    }
}

/// Applies the call after `wait` in a task of its own, so that a caller's hanging up does not stop it.
async fn run_detached<M: VendorModel>(
    request: HttpRequest,
    body: Bytes,
    shared: web::Data<ServerContext<M>>,
    wait: impl Future<Output = ()> + 'static,
) -> HttpResponse {
    let work = actix_web::rt::spawn(async move {
        wait.await;
        shared.state.respond(&FakeRequest::new(&request, &body))
    });
    work.await.unwrap_or_else(|_| FakeResponse::empty(500)).into_response()
}

/// Closes the connection; the answer given back finds no way out.
fn reset(request: &HttpRequest) -> HttpResponse {
    if let Some(socket) = request.conn_data::<Arc<Socket>>() {
        socket.reset();
    }
    HttpResponse::InternalServerError().finish()
}

/// Writes half an answer past actix, which would not send a body that breaks its own length.
fn truncated(request: &HttpRequest, answer: &FakeResponse) -> HttpResponse {
    let filler = Bytes::from_static(br#"{"result":"this answer was never finished"}"#);
    let body = if answer.body.is_empty() { &filler } else { &answer.body };
    // A 204 has no body to be cut in half.
    let status = if answer.status.as_u16() == 204 { 200 } else { answer.status.as_u16() };
    let mut text =
        format!("HTTP/1.1 {status} Cut\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len())
            .into_bytes();
    text.extend(body.iter().take(body.len() / 2));
    if let Some(socket) = request.conn_data::<Arc<Socket>>() {
        // The socket does not block and its buffer is empty: this fits or the other side is gone.
        (&socket.0).write_all(&text).ok();
    }
    reset(request)
}

fn oversized(answer: FakeResponse, bytes: u64) -> HttpResponse {
    let blanks = Bytes::from(vec![b' '; PADDING_CHUNK_BYTES]);
    let first = answer.body.clone();
    let pieces = stream::unfold(bytes, move |left| {
        let size = usize::try_from(left).unwrap_or(PADDING_CHUNK_BYTES).min(PADDING_CHUNK_BYTES);
        let piece = blanks.slice(..size);
        async move { (left > 0).then(|| (Ok::<_, Infallible>(piece), left.saturating_sub(size as u64))) }
    });
    let all = stream::iter([Ok(first)]).chain(pieces);
    let mut response = answer.into_response().set_body(BodyStream::new(Box::pin(all)));
    if response.status() == StatusCode::NO_CONTENT {
        *response.status_mut() = StatusCode::OK;
    }
    response.map_into_boxed_body()
}

fn slow_drip(answer: FakeResponse, pause: Duration) -> HttpResponse {
    let body = answer.body.clone();
    let size = body.len() as u64;
    let bytes = stream::unfold(0_usize, move |at| {
        let piece = (at < body.len()).then(|| body.slice(at..=at));
        async move {
            let piece = piece?;
            sleep(pause).await;
            Some((Ok::<_, io::Error>(piece), at.saturating_add(1)))
        }
    });
    if size == 0 {
        return answer.into_response();
    }
    answer.into_response().set_body(SizedStream::new(size, Box::pin(bytes))).map_into_boxed_body()
}
