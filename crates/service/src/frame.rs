//! What stands around every request of every service: request id, measurement, rendering of failures.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue, Method};
use http_body::{Body as HttpBody, Frame, SizeHint};
use prometheus_client::metrics::gauge::Gauge;
use tracing::Instrument;

use crate::access::Guard;
use crate::error::{ApiError, Dialect, remora_body};
use crate::metrics::{Metrics, RequestLabels, RouteLabels};

/// The header that carries a request's id, from a client or made here, and on to an upstream.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken over from a client.
const REQUEST_ID_LIMIT: usize = 128;

/// A request's id; in the extensions of every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub HeaderValue);

impl RequestId {
    /// A client's own id where it is plain and short, else a new one.
    fn of(request: &Request) -> Self {
        let plain = |id: &&HeaderValue| {
            let printable = |b: &u8| b.is_ascii_graphic();
            (1..=REQUEST_ID_LIMIT).contains(&id.len()) && id.as_bytes().iter().all(printable)
        };
        request.headers().get(REQUEST_ID).filter(plain).cloned().map_or_else(Self::next, Self)
    }

    /// Unique without a system call or a random number per request: the process's start and a counter.
    fn next() -> Self {
        static START: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let start = *START.get_or_init(|| {
            let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            since_epoch.as_secs() << 24 ^ u64::from(since_epoch.subsec_nanos()) ^ u64::from(std::process::id()) << 40
        });
        let text = format!("req-{start:x}-{:x}", COUNT.fetch_add(1, Ordering::Relaxed));
        Self(HeaderValue::try_from(text).expect("hexadecimal digits are a legal header value"))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// What the frame of one service knows.
#[derive(Clone)]
pub(crate) struct FrameState {
    pub(crate) guard: Guard,
    pub(crate) metrics: Metrics,
    pub(crate) dialects: Arc<[(Cow<'static, str>, Dialect)]>,
}

impl FrameState {
    /// The dialect of the longest registered prefix of a path.
    fn dialect(&self, path: &str) -> Dialect {
        let matching = self.dialects.iter().filter(|(prefix, _)| path.starts_with(prefix.as_ref()));
        matching.max_by_key(|(prefix, _)| prefix.len()).map_or(remora_body, |(_, dialect)| *dialect)
    }
}

/// The frame, as middleware around a service's whole router.
pub(crate) async fn frame(State(state): State<FrameState>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let in_flight = InFlight::enter(&state.metrics);
    let id = RequestId::of(&request);
    let method = request.method().clone();
    let route = route_of(&request);
    let dialect = state.dialect(request.uri().path());
    request.extensions_mut().insert(state.guard.clone());
    request.extensions_mut().insert(id.clone());

    let span = tracing::info_span!("request", %method, route = %route, id = id.as_str());
    let mut response = next.run(request).instrument(span.clone()).await;
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        span.in_scope(|| error.log());
        response = dialect(&error, id.as_str());
        error.decorate(&mut response);
    }
    response.headers_mut().insert(REQUEST_ID, id.0);

    let status = response.status().as_u16();
    span.in_scope(|| tracing::debug!(status, "answered"));
    state
        .metrics
        .duration
        .get_or_create(&RouteLabels { route: route.clone() })
        .observe(started.elapsed().as_secs_f64());
    state.metrics.requests.get_or_create(&RequestLabels { method: known(&method), route, status }).inc();
    state.metrics.processed.inc();
    response.map(|body| Body::new(CountedBody { body, _in_flight: in_flight }))
}

/// The route's template, never the path itself: metrics must not grow with what clients ask for.
fn route_of(request: &Request) -> Arc<str> {
    request.extensions().get::<MatchedPath>().map_or_else(|| Arc::from("unmatched"), |path| Arc::from(path.as_str()))
}

/// A method as a label; clients can invent any.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Counts a request as long as it lives, also when its client goes away.
struct InFlight(Gauge<i64>);

impl InFlight {
    fn enter(metrics: &Metrics) -> Self {
        metrics.in_flight.inc();
        Self(metrics.in_flight.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A body that keeps its request counted as in flight until the last byte, or the client, is gone.
struct CountedBody {
    body: Body,
    _in_flight: InFlight,
}

impl HttpBody for CountedBody {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
