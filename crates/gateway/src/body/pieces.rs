//! A body in up to three pieces.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A request body on its way to an engine: the client's own bytes, with a model's name put between them where it had to
/// change. A prompt of many megabytes is never copied for that.
#[derive(Debug, Clone)]
pub(crate) struct Pieces {
    left: [Bytes; 3],
}

impl Pieces {
    /// A body of these pieces, in this order.
    pub(crate) fn new(pieces: [Bytes; 3]) -> Self {
        Self { left: pieces }
    }

    /// A body as it came.
    pub(crate) fn whole(body: Bytes) -> Self {
        Self { left: [body, Bytes::new(), Bytes::new()] }
    }

    /// Its length, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.left.iter().map(Bytes::len).sum()
    }

    /// What is left of it, in one piece.
    #[cfg(test)]
    pub(crate) fn concat(&self) -> Vec<u8> {
        self.left.concat()
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.left.iter_mut().find(|piece| !piece.is_empty());
        Poll::Ready(next.map(|piece| Ok(Frame::data(std::mem::take(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.iter().all(Bytes::is_empty)
    }

    /// Exact, so that engines get a `Content-Length`: not every small server reads chunks.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.iter().map(|piece| piece.len() as u64).sum())
    }
}
