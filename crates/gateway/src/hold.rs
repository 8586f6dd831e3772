//! Requests that wait for their engine instead of failing: while it starts, loads a model, or comes back from a crash.
//!
//! A request is sent again only where no byte of an answer came back. What it waits for is a change of the directory,
//! and, since the directory learns of a dead engine later than a refused connection does, now and then just for a
//! moment. A stream that waits long is begun, with comments that keep its client from hanging up.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use http_body::{Body as HttpBody, Frame};
use prometheus_client::metrics::gauge::Gauge;
use remora_service::ApiError;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// How long a stream's client is left without a status line.
const SILENT: Duration = Duration::from_secs(5);

/// Time between two comments. Proxies and clients give up after 30 s and more.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Not `: ping`, which some clients take for an event of Anthropic's.
const COMMENT: &[u8] = b": waiting for the engine\n\n";

/// The first pause before an engine is tried that may have died without the directory knowing; it doubles.
const FIRST_REST: Duration = Duration::from_millis(20);
const LONGEST_REST: Duration = Duration::from_secs(1);

/// Most of a late refusal's body that is put into a stream, in bytes.
const REFUSAL_LIMIT: usize = 64 << 10;

/// Where requests wait.
#[derive(Debug)]
pub(crate) struct Hold {
    limit: Duration,
    places: Semaphore,
    waiting: Gauge,
}

/// One request's wait.
pub(crate) struct Place<'a> {
    until: Instant,
    rest: Duration,
    waiting: &'a Gauge,
    _permit: SemaphorePermit<'a>,
}

impl Hold {
    /// Room for so many requests, each for so long.
    pub(crate) fn new(limit: Duration, places: usize, waiting: Gauge) -> Self {
        Self { limit, places: Semaphore::new(places.min(Semaphore::MAX_PERMITS)), waiting }
    }

    /// A place to wait, where waiting is allowed and there is one.
    pub(crate) fn enter(&self) -> Option<Place<'_>> {
        if self.limit.is_zero() {
            return None;
        }
        let permit = self.places.try_acquire().ok()?;
        self.waiting.inc();
        let until = Instant::now() + self.limit;
        Some(Place { until, rest: FIRST_REST, waiting: &self.waiting, _permit: permit })
    }
}

impl Place<'_> {
    /// Waits until it is worth trying again; false when the time is up.
    pub(crate) async fn wait(&mut self, change: impl Future<Output = ()>) -> bool {
        let rest = self.rest;
        self.rest = (rest * 2).min(LONGEST_REST);
        tokio::select! {
            () = change => true,
            () = tokio::time::sleep(rest) => Instant::now() < self.until,
            () = tokio::time::sleep_until(self.until) => false,
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiting.dec();
    }
}

/// The answer of a stream that waits: itself, where it comes soon, else a stream that is kept alive until it does.
/// `farewell` is the event that tells a failure.
pub(crate) async fn kept_alive(
    mut answer: BoxFuture<'static, Result<Response, ApiError>>,
    farewell: impl Fn(&ApiError) -> Bytes + Send + Unpin + 'static,
) -> Result<Response, ApiError> {
    if let Ok(answer) = tokio::time::timeout(SILENT, &mut answer).await {
        return answer;
    }
    let mut comments = tokio::time::interval(KEEP_ALIVE);
    comments.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut response = Response::new(Body::new(KeptAlive { state: State::Waiting(answer), comments, farewell }));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

struct KeptAlive<F> {
    state: State,
    comments: Interval,
    farewell: F,
}

enum State {
    Waiting(BoxFuture<'static, Result<Response, ApiError>>),
    /// A refusal that came after the status line; it is told in an event.
    Refused(BoxFuture<'static, Bytes>),
    Answering(Body),
    Over,
}

impl<F: Fn(&ApiError) -> Bytes + Send + Unpin + 'static> HttpBody for KeptAlive<F> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Waiting(answer) => match answer.as_mut().poll(context) {
                    Poll::Ready(Ok(response)) if response.status() == StatusCode::OK => {
                        this.state = State::Answering(response.into_body());
                    }
                    Poll::Ready(Ok(response)) => this.state = State::Refused(Box::pin(refusal(response))),
                    Poll::Ready(Err(error)) => {
                        this.state = State::Over;
                        return Poll::Ready(Some(Ok(Frame::data((this.farewell)(&error)))));
                    }
                    Poll::Pending => {
                        ready!(this.comments.poll_tick(context));
                        return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(COMMENT)))));
                    }
                },
                State::Refused(event) => {
                    let event = ready!(event.as_mut().poll(context));
                    this.state = State::Over;
                    return Poll::Ready(Some(Ok(Frame::data(event))));
                }
                State::Answering(body) => return Pin::new(body).poll_frame(context),
                State::Over => return Poll::Ready(None),
            }
        }
    }
}

/// An engine's refusal as an event: its JSON on one line.
async fn refusal(response: Response) -> Bytes {
    let body = axum::body::to_bytes(response.into_body(), REFUSAL_LIMIT).await.unwrap_or_default();
    let line: Vec<u8> = body.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect();
    [b"data: ".as_slice(), &line, b"\n\n"].concat().into()
}
