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
const PIECE: usize = 16 * 1024;
/// How long a caller may take for the first pieces, and how many bytes a second it must take after that.
const GRACE: Duration = Duration::from_secs(30);
const SLOWEST: u32 = 8 * 1024;

/// The rest of an answer.
struct Pieces {
    rest: Bytes,
    /// When the next piece must have been asked for: each one given out puts it off.
    end: Instant,
}

impl Pieces {
    fn new(rest: Bytes) -> Self {
        Self { rest, end: Instant::now() + GRACE }
    }
}

/// The caller was too slow; the connection ends with it.
#[derive(Debug, thiserror::Error)]
#[error("the answer was not taken in time")]
struct NotTaken;

impl MessageBody for Pieces {
    type Error = NotTaken;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.rest.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, NotTaken>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        if Instant::now() > self.end {
            return Poll::Ready(Some(Err(NotTaken)));
        }
        let length = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(length);
        self.end += Duration::from_secs(1) * u32::try_from(length).unwrap_or(u32::MAX) / SLOWEST;
        Poll::Ready(Some(Ok(piece)))
    }
}

/// The same answer, in pieces if it is long.
pub(super) fn in_pieces(response: HttpResponse) -> HttpResponse {
    match response.body().size() {
        BodySize::Sized(length) if length > PIECE as u64 => response.map_body(|_, body| match body.try_into_bytes() {
            Ok(bytes) => BoxBody::new(Pieces::new(bytes)),
            Err(body) => body,
        }),
        _ => response,
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use actix_web::http::StatusCode;

    use super::*;

    async fn next(body: &mut BoxBody) -> Option<Result<Bytes, String>> {
        let next = poll_fn(|context| Pin::new(&mut *body).poll_next(context)).await;
        next.map(|piece| piece.map_err(|error| error.to_string()))
    }

    fn answer(length: usize) -> BoxBody {
        let text: Vec<u8> = (0..length).map(|place| u8::try_from(place % 251).expect("small")).collect();
        in_pieces(HttpResponse::build(StatusCode::OK).body(text)).into_body()
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_answer_comes_in_pieces_that_make_up_the_whole() {
        for length in [0, 1, PIECE, PIECE + 1, 3 * PIECE] {
            let mut body = answer(length);
            assert_eq!(body.size(), BodySize::Sized(length as u64));
            let mut whole = Vec::new();
            while let Some(piece) = next(&mut body).await {
                let piece = piece.expect("in time");
                assert!(piece.len() <= PIECE);
                whole.extend_from_slice(&piece);
            }
            assert!(whole.iter().enumerate().all(|(place, byte)| usize::from(*byte) == place % 251), "{length}");
            assert_eq!(whole.len(), length);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_takes_next_to_nothing_is_not_waited_for() {
        let mut body = answer(100 * PIECE);
        next(&mut body).await.expect("a piece").expect("in time");
        tokio::time::advance(GRACE).await;
        next(&mut body).await.expect("a piece").expect("the first pieces have time");
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(next(&mut body).await.expect("an end"), Err(NotTaken.to_string()));
        // At twice the slowest pace it comes to its end.
        let mut body = answer(100 * PIECE);
        while let Some(piece) = next(&mut body).await {
            piece.expect("in time");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }
}
