//! The response to a batch: one document, or a line for each item as it ends (contract 4.10).

use std::convert::Infallible;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::time::{Instant, timeout};

use super::outcome::{ItemOutcome, Summary};
use super::run::Runner;
use crate::http::response;
use crate::metrics::Metrics;
use crate::record::JsonObjectWriter;

/// How long a stream is silent at most.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// The interval at which a batch checks that its caller is connected.
const DISCONNECT_POLL: Duration = Duration::from_millis(100);

/// Counts a batch while it runs, and its items as they end.
pub(super) struct BatchProgress {
    metrics: std::sync::Arc<Metrics>,
    summary: Summary,
}

impl BatchProgress {
    fn start(runner: &Runner) -> Self {
        let metrics = runner.metrics();
        metrics.batch_size(runner.len());
        metrics.batches_running(1);
        Self { metrics, summary: Summary::of(runner.len()) }
    }

    /// The same for a batch that was counted when it was stored.
    pub(super) fn resume(runner: &Runner) -> Self {
        let metrics = runner.metrics();
        metrics.batches_running(1);
        Self { metrics, summary: Summary::of(runner.len()) }
    }

    /// The next item that ends.
    pub(super) async fn next(&mut self, runner: &mut Runner) -> Option<(usize, ItemOutcome)> {
        let (item, outcome) = runner.next().await?;
        self.metrics.batch_item(outcome.system, outcome.action, outcome.label());
        self.summary.count(&outcome);
        Some((item, outcome))
    }
}

impl Drop for BatchProgress {
    fn drop(&mut self) {
        self.metrics.batches_running(-1);
    }
}

/// Runs the batch to its end: 200, or 207 where an item failed.
pub(in crate::http) async fn run_to_document(mut runner: Runner, is_disconnected: impl Fn() -> bool) -> HttpResponse {
    let mut progress = BatchProgress::start(&runner);
    let mut items = vec![String::new(); runner.len()];
    loop {
        let Ok(next) = timeout(DISCONNECT_POLL, progress.next(&mut runner)).await else {
            if is_disconnected() {
                runner.stop_for_disconnect();
            }
            continue;
        };
        let Some((item, outcome)) = next else { break };
        if let Some(slot) = items.get_mut(item) {
            *slot = outcome.to_json(runner.id(item));
            runner.keep_in_memory(slot.len());
        }
    }
    batch_document(&progress.summary, &items)
}

/// 200, or 207 where an item failed, with the items in their order.
pub(in crate::http) fn batch_document(summary: &Summary, items: &[String]) -> HttpResponse {
    let size = items.iter().map(|item| item.len() + 1).sum::<usize>() + 160;
    let body = JsonObjectWriter::with_capacity(size).serialized("summary", summary).raw_array("items", items).finish();
    let status = if summary.is_success() { StatusCode::OK } else { StatusCode::MULTI_STATUS };
    response::no_store_json(status, body)
}

/// Runs the batch while its caller reads: a line for each item, and a last one with the summary.
pub(in crate::http) fn stream_lines(runner: Runner, is_disconnected: impl Fn() -> bool + 'static) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(response::NO_STORE)
        .content_type("application/x-ndjson")
        .streaming(line_stream(runner, is_disconnected))
}

fn line_stream(
    runner: Runner,
    is_disconnected: impl Fn() -> bool + 'static,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let progress = BatchProgress::start(&runner);
    stream::unfold(Some((runner, progress, is_disconnected)), |running| async {
        let (mut runner, mut progress, is_disconnected) = running?;
        let silent_until = Instant::now() + PROGRESS_INTERVAL;
        let line = loop {
            match timeout(DISCONNECT_POLL, progress.next(&mut runner)).await {
                Ok(Some((item, outcome))) => break outcome.to_json(runner.id(item)),
                Ok(None) => {
                    let last = JsonObjectWriter::new().serialized("summary", &progress.summary).finish();
                    return Some((Ok((last + "\n").into()), None));
                }
                Err(_) if is_disconnected() => runner.stop_for_disconnect(),
                Err(_) if Instant::now() >= silent_until => {
                    break JsonObjectWriter::new().serialized("progress", &progress.summary).finish();
                }
                Err(_) => {}
            }
        };
        Some((Ok((line + "\n").into()), Some((runner, progress, is_disconnected))))
    })
}
