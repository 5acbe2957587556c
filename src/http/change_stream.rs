//! The feed of changes as a stream of events (Server-Sent Events; contract 4.14).

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::time::{Instant, sleep_until};

use super::change_event::ChangeEvent;
use super::open_streams::StreamPermit;
use super::response;
use super::stream_access::StreamAccess;
use crate::gateway::Gateway;
use crate::journal::{ChangePage, ChangeQuery, ChangeRead, ChangeStart};

/// How long a stream is silent at most.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The least time between two reads of one stream: what comes meanwhile is read at once.
const MIN_PAUSE: Duration = Duration::from_millis(20);

/// A stream and how far it is.
pub(super) struct ChangeStream {
    gateway: Arc<Gateway>,
    access: StreamAccess,
    query: Arc<ChangeQuery>,
    scope: Vec<String>,
    retention: Duration,
    position: i64,
    /// The position that the client has.
    client_position: Option<i64>,
    last_read: Instant,
    heartbeat: Instant,
    _permit: StreamPermit,
}

impl ChangeStream {
    pub(super) fn new(
        gateway: Arc<Gateway>,
        access: StreamAccess,
        query: Arc<ChangeQuery>,
        scope: Vec<String>,
        retention: Duration,
        position: i64,
        permit: StreamPermit,
    ) -> Self {
        let now = Instant::now();
        let heartbeat = now + HEARTBEAT;
        Self {
            gateway,
            access,
            query,
            scope,
            retention,
            position,
            client_position: None,
            last_read: now,
            heartbeat,
            _permit: permit,
        }
    }

    /// The bytes to send. The stream ends when the gateway stops, when the store cannot be read,
    /// when its caller may not read the systems any more, and when the client is too slow for the
    /// retention; the client connects again with its last id. It also ends once the client has hung
    /// up: the connection polls it at that time.
    pub(super) fn into_events(
        self,
        is_disconnected: impl Fn() -> bool,
    ) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
        let mut events = Box::pin(futures_util::stream::unfold(self, |mut stream| async move {
            let bytes = stream.next().await?;
            Some((Ok(bytes), stream))
        }));
        futures_util::stream::poll_fn(move |context| {
            if is_disconnected() { Poll::Ready(None) } else { events.as_mut().poll_next(context) }
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        if self.client_position.is_none() {
            // An id without data: a client that is cut off before its first event knows where to
            // continue.
            return Some(self.encode_position(""));
        }
        loop {
            if self.gateway.is_draining() {
                return None;
            }
            // On the heap for as long as it takes: an idle stream should be small.
            let page = Box::pin(self.read()).await?;
            self.position = page.next;
            let is_silent = page.items.is_empty();
            if is_silent {
                let is_heartbeat_due = page.at_end && !self.wait().await;
                if !is_heartbeat_due {
                    continue;
                }
            }
            if !Box::pin(self.access.can_read(&self.query.systems)).await {
                return None;
            }
            return Some(if is_silent { self.encode_position(":\n") } else { self.encode(&page) });
        }
    }

    async fn read(&mut self) -> Option<ChangePage> {
        sleep_until(self.last_read + MIN_PAUSE).await;
        self.last_read = Instant::now();
        let start = ChangeStart::After(self.position);
        match self.gateway.journal().changes(&self.query, start, self.retention).await {
            Ok(ChangeRead::Page(page)) => Some(page),
            Ok(ChangeRead::Expired(_)) | Err(_) => None,
        }
    }

    /// Waits for a new entry; `false` = it is time for a heartbeat.
    async fn wait(&self) -> bool {
        tokio::select! {
            () = self.gateway.journal().wait_for_entry_after(self.position) => true,
            () = self.gateway.draining() => true,
            () = sleep_until(self.heartbeat) => false,
        }
    }

    /// The events of a page.
    fn encode(&mut self, page: &ChangePage) -> Bytes {
        let mut text = Vec::new();
        for change in &page.items {
            let id = ChangeEvent::encode_cursor(&self.scope, change.seq);
            text.extend_from_slice(format!("id: {id}\nevent: change\ndata: ").as_bytes());
            text.extend_from_slice(&response::to_json(&ChangeEvent::from(change)));
            text.extend_from_slice(b"\n\n");
        }
        self.client_position = page.items.last().map(|change| change.seq);
        self.heartbeat = Instant::now() + HEARTBEAT;
        text.into()
    }

    /// A comment, and the position if the client does not have it. It advances the client's
    /// position past filtered events, so that the cursor does not expire.
    fn encode_position(&mut self, comment: &str) -> Bytes {
        self.heartbeat = Instant::now() + HEARTBEAT;
        let mut text = comment.to_owned();
        if self.client_position != Some(self.position) {
            self.client_position = Some(self.position);
            text.push_str("id: ");
            text.push_str(&ChangeEvent::encode_cursor(&self.scope, self.position));
            text.push('\n');
        }
        text.push('\n');
        text.into()
    }
}
