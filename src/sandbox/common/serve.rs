//! Handles one request: logs it, injects a fault or lets the model respond.

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

use super::context::{ServerContext, Socket};
use super::control;
use super::faults::InjectedFault;
use super::http::{FakeRequest, FakeResponse};
use super::model::VendorModel;

/// Size of the chunks of padding, in bytes.
const PADDING_CHUNK_BYTES: usize = 64 << 10;

/// Handles every request to a fake vendor.
pub(super) async fn handle<M: VendorModel>(
    request: HttpRequest,
    body: Bytes,
    context: web::Data<ServerContext<M>>,
) -> HttpResponse {
    if let Some(path) = request.uri().path().strip_prefix("/_sandbox/") {
        return control::handle_control_request(path, &request, &body, &context).into_response();
    }
    let fake_request = FakeRequest::new(&request, &body);
    let call = context.state.call_kind(&fake_request);
    // Subscribed before the request is logged: a test may release it as soon as the log shows it.
    let releases = context.faults.subscribe_to_releases();
    let fault = context.faults.next_for(call, fake_request.header("traceparent"));
    context.log.record(call, &fake_request);
    match fault {
        None => context.state.respond(&fake_request).into_response(),
        Some(fault) => inject(fault, request.clone(), body.clone(), context, releases).await,
    }
}

async fn inject<M: VendorModel>(
    fault: InjectedFault,
    request: HttpRequest,
    body: Bytes,
    context: web::Data<ServerContext<M>>,
    mut releases: watch::Receiver<u64>,
) -> HttpResponse {
    let apply = || context.state.respond(&FakeRequest::new(&request, &body));
    match fault {
        InjectedFault::Response { status, headers, body } => {
            let response = FakeResponse::raw(status, "", body);
            headers.iter().fold(response, |response, (name, value)| response.with_header(name, value)).into_response()
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
            let response = apply();
            drop(releases.changed().await);
            response.into_response()
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
        InjectedFault::HalfBody => send_truncated(&request, &apply()),
        InjectedFault::HugeBody { bytes } => send_oversized(apply(), bytes),
        InjectedFault::Rewrite { from, to } => {
            let mut response = apply();
            response.body = String::from_utf8_lossy(&response.body).replace(&from, &to).into();
            response.into_response()
        }
        InjectedFault::SlowDrip { pause } => slow_drip(apply(), pause),
        InjectedFault::Delay { pause } => run_detached(request, body, context, async move { sleep(pause).await }).await,
        InjectedFault::Hold => {
            run_detached(request, body, context, async move { drop(releases.changed().await) }).await
        }
    }
}

/// Applies the request after `wait` in a task of its own, which a disconnecting client does not
/// stop.
async fn run_detached<M: VendorModel>(
    request: HttpRequest,
    body: Bytes,
    context: web::Data<ServerContext<M>>,
    wait: impl Future<Output = ()> + 'static,
) -> HttpResponse {
    let work = actix_web::rt::spawn(async move {
        wait.await;
        context.state.respond(&FakeRequest::new(&request, &body))
    });
    work.await.unwrap_or_else(|_| FakeResponse::empty(500)).into_response()
}

/// Closes the connection. The returned response cannot be sent any more.
fn reset(request: &HttpRequest) -> HttpResponse {
    if let Some(socket) = request.conn_data::<Arc<Socket>>() {
        socket.reset();
    }
    HttpResponse::InternalServerError().finish()
}

/// Writes half a response past actix, which does not send a body that violates its own length.
fn send_truncated(request: &HttpRequest, response: &FakeResponse) -> HttpResponse {
    let filler = Bytes::from_static(br#"{"result":"this response was never finished"}"#);
    let body = if response.body.is_empty() { &filler } else { &response.body };
    // A 204 has no body to truncate.
    let status = if response.status.as_u16() == 204 { 200 } else { response.status.as_u16() };
    let mut text =
        format!("HTTP/1.1 {status} Cut\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len())
            .into_bytes();
    text.extend(body.iter().take(body.len() / 2));
    if let Some(socket) = request.conn_data::<Arc<Socket>>() {
        // The socket is non-blocking and its buffer is empty: the text fits, or the peer has
        // disconnected.
        (&socket.0).write_all(&text).ok();
    }
    reset(request)
}

fn send_oversized(response: FakeResponse, bytes: u64) -> HttpResponse {
    let blanks = Bytes::from(vec![b' '; PADDING_CHUNK_BYTES]);
    let first = response.body.clone();
    let chunks = stream::unfold(bytes, move |left| {
        let size = usize::try_from(left).unwrap_or(PADDING_CHUNK_BYTES).min(PADDING_CHUNK_BYTES);
        let chunk = blanks.slice(..size);
        async move { (left > 0).then(|| (Ok::<_, Infallible>(chunk), left.saturating_sub(size as u64))) }
    });
    let all = stream::iter([Ok(first)]).chain(chunks);
    let mut response = response.into_response().set_body(BodyStream::new(Box::pin(all)));
    if response.status() == StatusCode::NO_CONTENT {
        *response.status_mut() = StatusCode::OK;
    }
    response.map_into_boxed_body()
}

fn slow_drip(response: FakeResponse, pause: Duration) -> HttpResponse {
    let body = response.body.clone();
    let size = body.len() as u64;
    let bytes = stream::unfold(0_usize, move |at| {
        let chunk = (at < body.len()).then(|| body.slice(at..=at));
        async move {
            let chunk = chunk?;
            sleep(pause).await;
            Some((Ok::<_, io::Error>(chunk), at.saturating_add(1)))
        }
    });
    if size == 0 {
        return response.into_response();
    }
    response.into_response().set_body(SizedStream::new(size, Box::pin(bytes))).map_into_boxed_body()
}
