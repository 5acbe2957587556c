//! The feed of changes (contract 4.14): pages, long polls and streams of events.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::HeaderMap;
use actix_web::http::{Method, StatusCode};
use actix_web::web::ThinData;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::operations::{authorized_systems, parse_record_filter};
use crate::access::Permission;
use crate::http::change_event::ChangeEvent;
use crate::http::change_stream::ChangeStream;
use crate::http::compat;
use crate::http::context::RequestContext;
use crate::http::error::HandlerResult;
use crate::http::headers::{
    self,
    accept::{self, FeedFormat},
    names,
};
use crate::http::openapi::{ChangeListParams, LastEventId};
use crate::http::query::QueryParams;
use crate::http::response;
use crate::http::state::SharedApiState;
use crate::http::stream_access::StreamAccess;
use crate::journal::{ChangeQuery, ChangeRead, ChangeStart, FeedEvent};
use crate::problem::{Problem, ProblemKind};

/// A part of the feed of changes.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::http) struct ChangePage<'p> {
    /// The events, oldest first.
    items: Vec<ChangeEvent<'p>>,
    /// `since` of the next request.
    next: String,
    /// Whether there is nothing after these events yet.
    at_end: bool,
}

/// `GET` and `HEAD /changes`.
#[utoipa::path(get, path = "/changes", tag = "Operations", operation_id = "listChanges",
    summary = "Follow changes", description = "The writes of this gateway that were applied, oldest first, without values: read the records with \
        `If-None-Match`. With `Accept: text/event-stream` the events come as a stream (Server-Sent Events).",
    params(ChangeListParams, LastEventId),
    responses((status = 200, description = "A part of the feed", content(
        (ChangePage = "application/json"), (String = "text/event-stream")))))]
pub(in crate::http) async fn list(context: RequestContext, shared: ThinData<Arc<SharedApiState>>) -> HandlerResult {
    context.caller()?;
    let params = context.query(&["system", "collection", "record", "since", "limit", "wait"])?;
    let systems = authorized_systems(&context, params.get("system"), Permission::Read)?;
    let representation = accept::json_or_event_stream(context.headers())?;
    let feed = Feed::parse(&context, &params, systems)?;
    match representation {
        FeedFormat::Json => page(&context, &params, feed).await,
        FeedFormat::EventStream => stream(&context, &shared, feed).await,
    }
}

/// What a request follows.
struct Feed {
    query: Arc<ChangeQuery>,
    start: ChangeStart,
    /// What its cursors are bound to.
    scope: Vec<String>,
    retention: Duration,
}

impl Feed {
    fn parse(context: &RequestContext, params: &QueryParams, systems: Vec<String>) -> Result<Self, Problem> {
        let query = ChangeQuery {
            systems,
            collection: params.get("collection").map(str::to_owned),
            record: parse_record_filter(context, params)?,
            limit: params.limit()?,
        };
        let parts = ["system", "collection", "record"].map(|name| params.get(name).unwrap_or_default().to_owned());
        let mut feed = Self {
            query: Arc::new(query),
            start: ChangeStart::First,
            scope: parts.into(),
            retention: context.api().limits.changes_retention,
        };
        let since = params.get("since").map(|since| ("since", since));
        let last_event_id = last_event_id(context.headers())?.map(|id| ("Last-Event-ID", id));
        feed.start = match last_event_id.or(since) {
            None | Some((_, "first")) => ChangeStart::First,
            Some((_, "now")) => ChangeStart::Now,
            Some((name, cursor)) => ChangeStart::After(feed.position_of(name, cursor)?),
        };
        Ok(feed)
    }

    /// `name` is the parameter or header that holds the cursor.
    fn position_of(&self, name: &str, cursor: &str) -> Result<i64, Problem> {
        let position = ChangeEvent::decode_cursor(&self.scope, cursor);
        let detail = || format!("{name} must be first, now, or `next` or an event's id of the same query, unchanged");
        position.ok_or_else(|| ProblemKind::MalformedRequest.with_detail(detail()))
    }

    async fn read(&self, context: &RequestContext, start: ChangeStart) -> Result<ChangeRead, Problem> {
        let read = context.gateway().journal().changes(&self.query, start, self.retention);
        context.read_journal(read).await
    }

    /// 410 with the way back: what changed meanwhile is found by listing, what comes after
    /// `restart` by following.
    fn cursor_expired_problem(&self, context: &RequestContext, now: i64) -> Problem {
        let detail =
            "events after this cursor are not kept any more: take `restart` as the new `since`, then list again";
        let mut problem = ProblemKind::CursorExpired.with_detail(detail);
        problem.restart = Some(ChangeEvent::encode_cursor(&self.scope, now));
        problem.lists = self.query.systems.iter().map(|system| self.list_path(context, system)).collect();
        problem
    }

    fn list_path(&self, context: &RequestContext, system: &str) -> String {
        let configured = context.api().find_system(system).ok().and_then(|system| system.policy.collection.clone());
        match self.query.collection.clone().or(configured) {
            Some(collection) => response::list_path(system, &collection),
            None => format!("/systems/{system}/collections"),
        }
    }
}

/// `Last-Event-ID`, which a browser sends when it connects to a stream again. It says more than the
/// `since` in the address, which is that of the first connection.
fn last_event_id(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(names::LAST_EVENT_ID).filter(|value| !value.is_empty()) else { return Ok(None) };
    let text = value.to_str().map_err(|_| ProblemKind::MalformedRequest.with_detail("Last-Event-ID is not text"))?;
    Ok(Some(text))
}

/// `wait` in seconds; it never holds a response beyond the deadline.
fn wait_until(context: &RequestContext, params: &QueryParams) -> Result<Option<Instant>, Problem> {
    let seconds: Option<i32> = params.parse_param("wait", "a whole number of seconds")?;
    let seconds = seconds.map(u32::try_from).transpose().map_err(|_| {
        ProblemKind::MalformedRequest.with_detail("the query parameter wait must be a whole number of seconds")
    })?;
    Ok(seconds.map(|seconds| context.end_of_wait(Duration::from_secs(seconds.into()))))
}

async fn page(context: &RequestContext, params: &QueryParams, feed: Feed) -> HandlerResult {
    let wait_until = wait_until(context, params)?;
    let mut start = feed.start;
    loop {
        let page = match feed.read(context, start).await? {
            ChangeRead::Page(page) => page,
            ChangeRead::Expired(now) => return Err(feed.cursor_expired_problem(context, now).into()),
        };
        let is_over = wait_until.is_none_or(|until| until <= Instant::now()) || context.gateway().is_draining();
        if !page.items.is_empty() || is_over {
            return Ok(respond(&feed, &page.items, page.next, page.at_end));
        }
        start = ChangeStart::After(page.next);
        if let (true, Some(until)) = (page.at_end, wait_until) {
            let (journal, gateway) = (context.gateway().journal(), context.gateway());
            let changed = async {
                tokio::select! {
                    () = journal.wait_for_entry_after(page.next) => {}
                    () = gateway.draining() => {}
                }
            };
            // Without a change the last read shows none.
            let _ = timeout_at(until, changed).await;
        }
    }
}

fn respond(feed: &Feed, items: &[FeedEvent], next: i64, at_end: bool) -> HttpResponse {
    let body = ChangePage {
        items: items.iter().map(ChangeEvent::from).collect(),
        next: ChangeEvent::encode_cursor(&feed.scope, next),
        at_end,
    };
    response::no_store_json(StatusCode::OK, response::to_json(&body))
}

async fn stream(context: &RequestContext, shared: &Arc<SharedApiState>, feed: Feed) -> HandlerResult {
    let api = context.api();
    let Some(permit) = api.process.streams.acquire(api.limits.max_streams, &api.metrics) else {
        let detail = "as many streams of changes are open as the gateway allows";
        return Err(ProblemKind::Overloaded.with_detail(detail).retry_after(Duration::from_secs(5)).into());
    };
    // An expired position is found here, because a status cannot follow the first event.
    let position = match feed.read(context, feed.start).await? {
        ChangeRead::Expired(now) => return Err(feed.cursor_expired_problem(context, now).into()),
        ChangeRead::Page(page) => match feed.start {
            ChangeStart::After(position) => position,
            _ => page.start,
        },
    };
    let mut response = HttpResponse::Ok();
    response.insert_header(response::NO_STORE).insert_header((names::X_ACCEL_BUFFERING, "no"));
    response.content_type("text/event-stream");
    if context.method() == Method::HEAD {
        return Ok(response.finish());
    }
    let Feed { query, scope, retention, .. } = feed;
    let access = StreamAccess::new(shared, headers::bearer(context.headers()));
    let stream = ChangeStream::new(Arc::clone(context.gateway()), access, query, scope, retention, position, permit);
    let watch = context.http_request().map(compat::disconnect_watch);
    Ok(response.streaming(stream.into_events(move || watch.as_ref().is_some_and(|is_disconnected| is_disconnected()))))
}
