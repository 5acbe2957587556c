//! Long answers, given out piece by piece: what a caller has not taken yet is held once and not copied into the connection's
//! buffer as well, and a caller who takes next to nothing is not waited for.
//!
//! `app::listener` cuts off a caller who takes nothing at all; this here one who takes a few bytes now and then.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;
use tokio::time::Instant;

/// An answer up to this length goes out in one piece, and a longer one in pieces of it.
const CHUNK_BYTES: usize = 16 * 1024;
/// How long a caller may take for the first pieces, and how many bytes a second it must take after that.
const INITIAL_GRACE: Duration = Duration::from_secs(30);
const MIN_BYTES_PER_SEC: u32 = 8 * 1024;

/// The rest of an answer.
struct ChunkedBody {
    rest: Bytes,
    /// When the next piece must have been asked for: each one given out puts it off.
    deadline: Instant,
}

impl ChunkedBody {
    fn new(rest: Bytes) -> Self {
        Self { rest, deadline: Instant::now() + INITIAL_GRACE }
    }
}

/// The caller was too slow; the connection ends with it.
#[derive(Debug, thiserror::Error)]
#[error("the answer was not taken in time")]
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
        let piece = self.rest.split_to(length);
        self.deadline += Duration::from_secs(1) * u32::try_from(length).unwrap_or(u32::MAX) / MIN_BYTES_PER_SEC;
        Poll::Ready(Some(Ok(piece)))
    }
}

/// The same answer, in pieces if it is long.
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
        next.map(|piece| piece.map_err(|error| error.to_string()))
    }

    fn response_body(length: usize) -> BoxBody {
        let text: Vec<u8> = (0..length).map(|place| u8::try_from(place % 251).expect("small")).collect();
        chunk_large_body(HttpResponse::build(StatusCode::OK).body(text)).into_body()
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_response_is_sent_in_chunks_that_join_to_the_whole() {
        for length in [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let mut body = response_body(length);
            assert_eq!(body.size(), BodySize::Sized(length as u64));
            let mut whole = Vec::new();
            while let Some(piece) = next_chunk(&mut body).await {
                let piece = piece.expect("in time");
                assert!(piece.len() <= CHUNK_BYTES);
                whole.extend_from_slice(&piece);
            }
            assert!(whole.iter().enumerate().all(|(place, byte)| usize::from(*byte) == place % 251), "{length}");
            assert_eq!(whole.len(), length);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_too_slowly_is_disconnected() {
        let mut body = response_body(100 * CHUNK_BYTES);
        next_chunk(&mut body).await.expect("a piece").expect("in time");
        tokio::time::advance(INITIAL_GRACE).await;
        next_chunk(&mut body).await.expect("a piece").expect("the first pieces have time");
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(next_chunk(&mut body).await.expect("an end"), Err(SlowReaderError.to_string()));
        // At twice the slowest pace it comes to its end.
        let mut body = response_body(100 * CHUNK_BYTES);
        while let Some(piece) = next_chunk(&mut body).await {
            piece.expect("in time");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }
}
