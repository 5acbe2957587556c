//! Several statements in one round trip.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use futures_util::future::{MaybeDone, maybe_done};
use tokio_postgres::Error;

/// A statement that is sent when it is first polled.
pub(super) type Query<'q, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'q>>;

/// Sends all statements in their order, then waits for all responses. The server executes a later
/// statement although an earlier one failed, so each result must be checked.
pub(super) async fn pipeline<T>(queries: Vec<Query<'_, T>>) -> Vec<Result<T, Error>> {
    let mut waiting: Vec<Pin<Box<MaybeDone<Query<'_, T>>>>> =
        queries.into_iter().map(|query| Box::pin(maybe_done(query))).collect();
    poll_fn(|context| {
        for query in &mut waiting {
            let _ = query.as_mut().poll(context);
        }
        Poll::Ready(())
    })
    .await;
    let mut results = Vec::with_capacity(waiting.len());
    for query in &mut waiting {
        query.as_mut().await;
        results.extend(query.as_mut().take_output());
    }
    results
}
