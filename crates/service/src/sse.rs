//! Event streams that end when the process stops, and are kept alive until then.

use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, StreamExt};

use crate::lifecycle::{BoxError, Stop};

/// Time between two comments on a silent stream: below the 30 s of the strictest proxies in use.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// An event stream of `events` that ends when the process drains; one that did not would hold the server for ever.
pub fn until_stop<S>(stop: &Stop, events: S) -> Sse<impl Stream<Item = Result<Event, BoxError>> + use<S>>
where
    S: Stream<Item = Event> + Send + 'static,
{
    let draining = stop.draining_token().cancelled_owned();
    Sse::new(events.take_until(draining).map(Ok)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive"))
}
