//! An engine's answer on its way to the client.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::event_tail::EventTail;
use crate::metrics::Outcome;

/// The body of an engine's answer: every frame goes on the moment it comes.
///
/// Where the engine breaks off or falls silent, an event stream is ended with an error event; any other body breaks the
/// client's connection, so that half a JSON text is never taken for a whole one.
pub(crate) struct Answer<T> {
    body: Incoming,
    pub(super) ticket: T,
    pub(super) events: Option<EventTail>,
    silence: Silence,
    over: bool,
    /// What came before anybody asked for it.
    first: Option<Frame<Bytes>>,
}

/// Who is told what becomes of an answer.
pub(crate) trait Track {
    /// It is whole.
    fn complete(&mut self);
    /// It ended like this.
    fn settle(&mut self, outcome: Outcome);
    /// Logs what happened to an answer that had begun; the service's frame has long let go of it.
    fn report(&self, why: &(dyn Error + 'static));
}

/// Why an answer is incomplete.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Interrupted {
    /// The engine closed its connection, or sent something that is not HTTP.
    #[error("the engine stopped answering in mid-stream")]
    BrokeOff(#[source] hyper::Error),
    /// Nothing came for too long.
    #[error("the engine sent nothing for {} s", .0.as_secs_f64())]
    Silent(Duration),
}

impl Interrupted {
    fn code(&self) -> &'static str {
        match self {
            Self::BrokeOff(_) => "upstream_failed",
            Self::Silent(_) => "upstream_timeout",
        }
    }

    fn outcome(&self) -> Outcome {
        match self {
            Self::BrokeOff(_) => Outcome::Broken,
            Self::Silent(_) => Outcome::Timeout,
        }
    }
}

impl<T: Track> Answer<T> {
    /// A body of which `events` says whether it is an event stream that may be ended with an error.
    pub(crate) fn new(body: Incoming, ticket: T, events: Option<EventTail>, silence: Duration) -> Self {
        let mut answer = Self { body, ticket, events, silence: Silence::new(silence), over: false, first: None };
        answer.note_end();
        answer
    }

    /// Waits for the first piece, so that an answer that breaks off before it has begun can be asked for again.
    pub(crate) async fn begun(&mut self) -> Result<(), hyper::Error> {
        match self.body.frame().await {
            Some(Ok(frame)) => self.first = Some(frame),
            Some(Err(error)) => return Err(error),
            None => {}
        }
        Ok(())
    }

    /// The server drops a body whose end is known without polling it once more.
    fn note_end(&mut self) {
        if self.first.is_none() && self.body.is_end_stream() {
            self.ticket.complete();
        }
    }

    fn interrupted(&mut self, why: Interrupted) -> Result<Frame<Bytes>, Interrupted> {
        self.over = true;
        self.ticket.settle(why.outcome());
        self.ticket.report(&why);
        let Some(tail) = self.events.take() else { return Err(why) };
        let message = format!("{why}; what came so far is incomplete");
        Ok(Frame::data(tail.farewell(why.code(), &message)))
    }
}

impl<T: Track + Unpin> Body for Answer<T> {
    type Data = Bytes;
    type Error = Interrupted;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        let polled = match this.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => Pin::new(&mut this.body).poll_frame(context),
        };
        let Poll::Ready(polled) = polled else {
            let why = ready!(this.silence.poll(context));
            return Poll::Ready(Some(this.interrupted(why)));
        };
        this.silence.broken();
        Poll::Ready(match polled {
            Some(Ok(frame)) => {
                if let (Some(tail), Some(bytes)) = (&mut this.events, frame.data_ref()) {
                    tail.saw(bytes);
                }
                this.note_end();
                Some(Ok(frame))
            }
            Some(Err(error)) => Some(this.interrupted(Interrupted::BrokeOff(error))),
            None => {
                this.over = true;
                this.ticket.complete();
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.over || (self.first.is_none() && self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        if self.over { SizeHint::with_exact(0) } else { self.body.size_hint() }
    }
}

/// Watches for an engine that sends nothing for too long. A timer is made only when there is something to wait for.
struct Silence {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    heard: bool,
}

impl Silence {
    fn new(limit: Duration) -> Self {
        Self { limit, timer: None, heard: true }
    }

    /// Something came.
    fn broken(&mut self) {
        self.heard = true;
    }

    /// Completes when nothing has come for the limit.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Interrupted> {
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if std::mem::take(&mut self.heard) {
            timer.as_mut().reset(Instant::now() + limit);
        }
        timer.as_mut().poll(context).map(|()| Interrupted::Silent(limit))
    }
}
