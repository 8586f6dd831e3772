//! Collecting a request's body.
//!
//! It must be whole before it is forwarded: `model` may be its last key. A body that arrives in one piece, as nearly
//! all do, is taken without a copy.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, EXPECT};
use http_body::Body as _;
use http_body_util::BodyExt;
use remora_service::discard;
use thiserror::Error;
use tokio::time::timeout;

/// Longest pause between two pieces of a body.
const STALL: Duration = Duration::from_mins(1);

/// Most that is reserved on the word of a `Content-Length` alone, in bytes.
const RESERVE: usize = 1 << 20;

/// A body that was not received.
#[derive(Debug, Error)]
pub(crate) enum CollectError {
    /// It is larger than allowed.
    #[error("the request body is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Nothing came for too long.
    #[error("the request body stopped arriving")]
    Stalled,
    /// The client went away, or broke HTTP's framing.
    #[error("the request body ended early or could not be read")]
    Unreadable(#[source] axum::Error),
}

/// Receives a whole body of at most `limit` bytes.
pub(crate) async fn collect(headers: &HeaderMap, mut body: Body, limit: usize) -> Result<Bytes, CollectError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > limit as u64) {
        // Whoever waits for leave to send has not begun to.
        if !headers.contains_key(EXPECT) {
            discard(body).await;
        }
        return Err(CollectError::TooLarge { limit });
    }
    let first = next(&mut body).await?.unwrap_or_default();
    if body.is_end_stream() && first.len() <= limit {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(usize::try_from(announced.unwrap_or(0)).unwrap_or(RESERVE).min(RESERVE));
    let mut piece = Some(first);
    while let Some(bytes) = piece {
        if whole.len() + bytes.len() > limit {
            discard(body).await;
            return Err(CollectError::TooLarge { limit });
        }
        whole.extend_from_slice(&bytes);
        piece = next(&mut body).await?;
    }
    Ok(whole.freeze())
}

/// The next piece of data; `None` at the end.
async fn next(body: &mut Body) -> Result<Option<Bytes>, CollectError> {
    loop {
        match timeout(STALL, body.frame()).await {
            Err(_) => return Err(CollectError::Stalled),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(CollectError::Unreadable(error)),
            // Trailers say nothing that an engine should hear.
            Ok(Some(Ok(frame))) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;

    use super::*;

    fn pieces(of: &[&'static str]) -> Body {
        let of: Vec<Result<Bytes, Infallible>> = of.iter().map(|p| Ok(Bytes::from_static(p.as_bytes()))).collect();
        Body::from_stream(stream::iter(of))
    }

    async fn collected(body: Body, limit: usize) -> Result<Bytes, CollectError> {
        collect(&HeaderMap::new(), body, limit).await
    }

    #[tokio::test]
    async fn pieces_become_whole() {
        assert_eq!(collected(pieces(&["ab", "", "c"]), 3).await.unwrap(), "abc");
        assert_eq!(collected(pieces(&[]), 3).await.unwrap(), "");
        assert_eq!(collected(Body::from("abc"), 3).await.unwrap(), "abc");
    }

    #[tokio::test]
    async fn one_byte_too_many_is_too_many() {
        for body in [Body::from("abcd"), pieces(&["abc", "d"]), pieces(&["abcd"])] {
            assert!(matches!(collected(body, 3).await, Err(CollectError::TooLarge { limit: 3 })));
        }
        let announced: HeaderMap = [(CONTENT_LENGTH, "4".parse().unwrap())].into_iter().collect();
        assert!(matches!(collect(&announced, Body::empty(), 3).await, Err(CollectError::TooLarge { .. })));
    }

    #[tokio::test]
    async fn a_single_piece_is_not_copied() {
        let body = Bytes::from(vec![b'x'; 100]);
        let whole = collected(Body::from(body.clone()), 100).await.unwrap();
        assert_eq!(whole.as_ptr(), body.as_ptr());
    }
}
