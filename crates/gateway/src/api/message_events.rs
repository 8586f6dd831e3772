//! A stream of Anthropic's events: translated from an engine's, kept alive with pings while there is nothing to say.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http::StatusCode;
use http_body::{Body as HttpBody, Frame};
use remora_protocol::anthropic::{Asked, Failure, MessageStream};
use remora_service::ApiError;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::away::is_as_it_is;
use super::messages::whole;

/// Time between two pings; clients give up after some tens of seconds of silence.
const PING: Duration = Duration::from_secs(10);

/// An answer as Anthropic's events.
pub(super) struct Events {
    source: Source,
    stream: MessageStream,
    pings: Interval,
    out: BytesMut,
}

/// Where an answer comes from.
pub(super) enum Source {
    /// Nobody has answered yet.
    Asking(BoxFuture<'static, Result<Response, ApiError>>),
    /// A refusal that came after the status line.
    Refused(BoxFuture<'static, Result<Bytes, ApiError>>),
    /// An engine's events.
    Answer(Body),
    /// Anthropic's own.
    Passed(Passed),
    Over,
}

/// Anthropic's own events, behind what was begun here.
pub(super) struct Passed {
    body: Body,
    /// The first event, as far as it has come, where another `message_start` has gone out already.
    first: Option<BytesMut>,
}

impl Events {
    pub(super) fn new(source: Source, asked: Asked) -> Self {
        let mut pings = tokio::time::interval_at(Instant::now() + PING, PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { source, stream: MessageStream::new(asked), pings, out: BytesMut::new() }
    }

    /// What there is to send.
    fn take(&mut self) -> Option<Result<Frame<Bytes>, axum::Error>> {
        (!self.out.is_empty()).then(|| Ok(Frame::data(self.out.split().freeze())))
    }

    fn fail(&mut self, error: &ApiError) {
        self.source = Source::Over;
        self.stream.fail(&Failure::of_status(error.status().as_u16(), error.message()), &mut self.out);
    }

    /// Moves on by one step; ready when something may have been written.
    fn advance(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.source {
            Source::Asking(asking) => match ready!(asking.as_mut().poll(context)) {
                Ok(response) if response.status() == StatusCode::OK => {
                    let as_it_is = is_as_it_is(&response);
                    let body = response.into_body();
                    let first = self.stream.is_started().then(BytesMut::new);
                    self.source = if as_it_is { Source::Passed(Passed { body, first }) } else { Source::Answer(body) };
                }
                Ok(response) => self.source = Source::Refused(Box::pin(whole(response))),
                Err(error) => self.fail(&error),
            },
            Source::Refused(refused) => match ready!(refused.as_mut().poll(context)) {
                Ok(_) => self.source = Source::Over,
                Err(error) => self.fail(&error),
            },
            Source::Answer(body) => match ready!(Pin::new(body).poll_frame(context)) {
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.stream.feed(bytes, &mut self.out);
                    }
                }
                Some(Err(error)) => {
                    let message = format!("the engine stopped answering: {error}");
                    self.fail(&ApiError::new(StatusCode::BAD_GATEWAY, "upstream_failed", message));
                }
                None => {
                    self.source = Source::Over;
                    self.stream.finish(&mut self.out);
                }
            },
            Source::Passed(passed) => match ready!(Pin::new(&mut passed.body).poll_frame(context)) {
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref() {
                        passed.take(bytes, &mut self.out);
                    }
                }
                Some(Err(_)) | None => self.source = Source::Over,
            },
            Source::Over => {}
        }
        Poll::Ready(())
    }
}

impl Passed {
    /// Passes on what came but a second `message_start`.
    fn take(&mut self, bytes: &[u8], out: &mut BytesMut) {
        let Some(first) = &mut self.first else { return out.extend_from_slice(bytes) };
        first.extend_from_slice(bytes);
        let Some(end) = first.windows(2).position(|window| window == b"\n\n") else { return };
        let rest = first.split_off(end + 2);
        if !first.starts_with(b"event: message_start") {
            out.extend_from_slice(first);
        }
        out.extend_from_slice(&rest);
        self.first = None;
    }
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        loop {
            if let Some(frame) = this.take() {
                return Poll::Ready(Some(frame));
            }
            if matches!(this.source, Source::Over) {
                return Poll::Ready(None);
            }
            if this.advance(context).is_pending() {
                ready!(this.pings.poll_tick(context));
                // Anthropic pings itself, and between its events only it knows where one ends.
                if !matches!(this.source, Source::Passed(_)) {
                    this.stream.ping(&mut this.out);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "event: message_start\ndata: {}\n\n";
    const REST: &str = "event: ping\ndata: {}\n\nevent: message_start\n\n";

    fn passed(text: &str, cut: usize, begun: bool) -> String {
        let mut passed = Passed { body: Body::empty(), first: begun.then(BytesMut::new) };
        let mut out = BytesMut::new();
        for piece in [&text.as_bytes()[..cut], &text.as_bytes()[cut..]] {
            passed.take(piece, &mut out);
        }
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn a_second_start_is_left_out_wherever_it_is_cut() {
        let whole = format!("{START}{REST}");
        for cut in 0..whole.len() {
            assert_eq!(passed(&whole, cut, true), REST);
            assert_eq!(passed(&whole, cut, false), whole);
            assert_eq!(passed(REST, cut.min(REST.len()), true), REST);
        }
    }
}
