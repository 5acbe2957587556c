//! Large response bodies in chunks.
//!
//! actix-http copies each chunk into the connection's buffer (`src/h1/dispatcher.rs`), so that a
//! body in one chunk would be held twice until the client has read it. Chunks also show how fast
//! the client reads: one that reads too slowly is disconnected. `app::listener` disconnects a
//! client that reads nothing at all.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;
use tokio::time::Instant;

/// The largest body that is sent in one chunk, and the size of the chunks of a larger one.
const CHUNK_BYTES: usize = 16 * 1024;
/// How long a client may take to read the first chunks, and how many bytes a second it must read
/// after that.
const INITIAL_GRACE: Duration = Duration::from_secs(30);
const MIN_BYTES_PER_SEC: u32 = 8 * 1024;

/// The rest of a body.
struct ChunkedBody {
    rest: Bytes,
    /// When the next chunk must have been polled for. Each chunk extends it.
    deadline: Instant,
}

impl ChunkedBody {
    fn new(rest: Bytes) -> Self {
        Self { rest, deadline: Instant::now() + INITIAL_GRACE }
    }
}

/// The client reads too slowly; the connection ends.
#[derive(Debug, thiserror::Error)]
#[error("the response was not read in time")]
struct SlowReaderError;

impl MessageBody for ChunkedBody {
    type Error = SlowReaderError;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.rest.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, SlowReaderError>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        if Instant::now() > self.deadline {
            return Poll::Ready(Some(Err(SlowReaderError)));
        }
        let length = self.rest.len().min(CHUNK_BYTES);
        let chunk = self.rest.split_to(length);
        self.deadline += Duration::from_secs(1) * u32::try_from(length).unwrap_or(u32::MAX) / MIN_BYTES_PER_SEC;
        Poll::Ready(Some(Ok(chunk)))
    }
}

/// The same response, in chunks if it is large.
pub(super) fn chunk_large_body(response: HttpResponse) -> HttpResponse {
    match response.body().size() {
        BodySize::Sized(length) if length > CHUNK_BYTES as u64 => {
            response.map_body(|_, body| match body.try_into_bytes() {
                Ok(bytes) => BoxBody::new(ChunkedBody::new(bytes)),
                Err(body) => body,
            })
        }
        _ => response,
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use actix_web::http::StatusCode;

    use super::*;

    async fn next_chunk(body: &mut BoxBody) -> Option<Result<Bytes, String>> {
        let next = poll_fn(|context| Pin::new(&mut *body).poll_next(context)).await;
        next.map(|chunk| chunk.map_err(|error| error.to_string()))
    }

    fn response_body(length: usize) -> BoxBody {
        let text: Vec<u8> = (0..length).map(|index| u8::try_from(index % 251).expect("small")).collect();
        chunk_large_body(HttpResponse::build(StatusCode::OK).body(text)).into_body()
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_response_is_sent_in_chunks_that_join_to_the_whole() {
        for length in [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let mut body = response_body(length);
            assert_eq!(body.size(), BodySize::Sized(length as u64));
            let mut whole = Vec::new();
            while let Some(chunk) = next_chunk(&mut body).await {
                let chunk = chunk.expect("in time");
                assert!(chunk.len() <= CHUNK_BYTES);
                whole.extend_from_slice(&chunk);
            }
            assert!(whole.iter().enumerate().all(|(index, byte)| usize::from(*byte) == index % 251), "{length}");
            assert_eq!(whole.len(), length);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_too_slowly_is_disconnected() {
        let mut body = response_body(100 * CHUNK_BYTES);
        next_chunk(&mut body).await.expect("a chunk").expect("in time");
        tokio::time::advance(INITIAL_GRACE).await;
        next_chunk(&mut body).await.expect("a chunk").expect("the first chunks have time");
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(next_chunk(&mut body).await.expect("an end"), Err(SlowReaderError.to_string()));
        // At twice the minimum rate the client reads all of it.
        let mut body = response_body(100 * CHUNK_BYTES);
        while let Some(chunk) = next_chunk(&mut body).await {
            chunk.expect("in time");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }
}
