//! Counts the tokens of an answer, for keys that have so many a minute. Answers to anybody else are not looked at.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use remora_service::Allowance;

/// How much of an answer's end is kept: engines put `usage` last, or nearly so.
const TAIL: usize = 4 << 10;

/// Bytes to a token, where an engine does not say how many there were.
const BYTES_PER_TOKEN: u64 = 4;

const TOTAL: &[u8] = b"\"total_tokens\":";

/// A body whose tokens are taken from an allowance when it ends, also when its client goes away in mid-stream.
pub(super) struct Metered {
    body: Body,
    allowance: Arc<Allowance>,
    tail: Vec<u8>,
    /// Bytes of the request and of the answer so far.
    bytes: u64,
}

impl Metered {
    /// An answer to a request of `request_bytes`.
    pub(super) fn new(body: Body, allowance: Arc<Allowance>, request_bytes: usize) -> Self {
        Self { body, allowance, tail: Vec::new(), bytes: request_bytes as u64 }
    }

    fn saw(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        let last = &bytes[bytes.len().saturating_sub(TAIL)..];
        let surplus = (self.tail.len() + last.len()).saturating_sub(TAIL);
        self.tail.drain(..surplus.min(self.tail.len()));
        self.tail.extend_from_slice(last);
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        self.allowance.spend_tokens(total_tokens(&self.tail).unwrap_or(self.bytes / BYTES_PER_TOKEN));
    }
}

/// The last `total_tokens` in a text.
fn total_tokens(tail: &[u8]) -> Option<u64> {
    let at = tail.windows(TOTAL.len()).rposition(|window| window == TOTAL)?;
    let digits = tail[at + TOTAL.len()..].trim_ascii_start();
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&digits[..length]).ok()?.parse().ok()
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(bytes) = frame.data_ref()
        {
            self.saw(bytes);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_total_counts() {
        assert_eq!(total_tokens(br#"{"total_tokens":7} {"usage":{"total_tokens": 42,"x":1}}"#), Some(42));
        assert_eq!(total_tokens(br#"{"total_tokens":null}"#), None);
        assert_eq!(total_tokens(b""), None);
    }

    #[test]
    fn the_tail_is_bounded_and_holds_the_end() {
        let mut metered = Metered::new(Body::empty(), Arc::default(), 10);
        metered.saw(&[b'x'; 10_000]);
        metered.saw(b"\"total_");
        metered.saw(b"tokens\":5}");
        assert!(metered.tail.len() <= TAIL);
        assert_eq!(total_tokens(&metered.tail), Some(5));
        assert_eq!(metered.bytes, 10 + 10_000 + 7 + 10);
    }
}
