//! What stands around every request of every service: request id, measurement, rendering of failures.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::FutureExt;
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, EXPECT, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::{Body as HttpBody, SizeHint};
use prometheus_client::metrics::gauge::Gauge;
use tower::Service;

use crate::error::{ApiError, Dialect, remora_body};
use crate::guard::Loan;
use crate::identity::{Connection, Identity};
use crate::linger::discard;
use crate::metrics::{Metrics, RequestLabels, RouteLabels};
use crate::server::{Application, HEADERS_LIMIT};
use crate::traces::RequestSpan;

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
        static PREFIX: LazyLock<String> = LazyLock::new(|| {
            let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            let start = since_epoch.as_secs() << 24
                ^ u64::from(since_epoch.subsec_nanos())
                ^ u64::from(std::process::id()) << 40;
            format!("req-{start:x}-")
        });
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let mut text = Vec::with_capacity(PREFIX.len() + 16);
        text.extend_from_slice(PREFIX.as_bytes());
        // By hand: this is a tenth of what `format!` costs, on every request of every service.
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        for digit in (0..16 - count.leading_zeros() / 4).rev() {
            text.push(b"0123456789abcdef"[(count >> (4 * digit) & 15) as usize]);
        }
        Self(HeaderValue::from_maybe_shared(Bytes::from(text)).expect("hexadecimal digits are a legal header value"))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// A service's router with its frame around it; cheap to clone.
///
/// It stands outside the router, not in it as a layer: axum boxes what passes each layer, request and answer.
#[derive(Clone)]
pub(crate) struct Framed {
    frame: Arc<Frame>,
}

/// What the frame of one service knows.
pub(crate) struct Frame {
    pub(crate) router: Router,
    pub(crate) identity: Identity,
    pub(crate) metrics: Metrics,
    pub(crate) dialects: Vec<(Cow<'static, str>, Dialect)>,
    pub(crate) body_limit: usize,
    pub(crate) quiet: bool,
    pub(crate) service: &'static str,
}

impl From<Frame> for Framed {
    fn from(frame: Frame) -> Self {
        Self { frame: Arc::new(frame) }
    }
}

impl Frame {
    /// The dialect of the longest registered prefix of a path.
    fn dialect(&self, path: &str) -> Dialect {
        let matching = self.dialects.iter().filter(|(prefix, _)| path.starts_with(prefix.as_ref()));
        matching.max_by_key(|(prefix, _)| prefix.len()).map_or(remora_body, |(_, dialect)| *dialect)
    }

    /// What is refused before anybody asks who is calling.
    fn screen(&self, request: &Request) -> Result<(), ApiError> {
        self.identity.browsers().check(request)?;
        let headers: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if headers > HEADERS_LIMIT {
            let message = format!("the request's headers are larger than the {HEADERS_LIMIT} bytes that this takes");
            return Err(ApiError::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", message));
        }
        let length =
            request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > self.body_limit) {
            let message = format!("the body is larger than the {} bytes that this service takes", self.body_limit);
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message));
        }
        Ok(())
    }

    /// The router's answer; a panic is a failure like any other.
    async fn inner(&self, request: Request) -> Response {
        // A router is always ready, so `call` may go without `poll_ready`.
        match AssertUnwindSafe(self.router.clone().call(request)).catch_unwind().await {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(panic) => {
                let text = panic.downcast_ref::<&str>().map(ToString::to_string);
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
                ApiError::internal(text.unwrap_or_else(|| "a handler panicked".into())).into_response()
            }
        }
    }
}

impl Application for Framed {
    type Body = CountedBody;

    async fn answer(&self, mut request: Request, connection: &Arc<Connection>) -> Response<CountedBody> {
        let frame = &*self.frame;
        let started = Instant::now();
        let in_flight = InFlight::enter(&frame.metrics);
        let id = RequestId::of(&request);
        let method = request.method().clone();
        let dialect = frame.dialect(request.uri().path());
        let loan = Arc::new(Loan {
            connection: connection.clone(),
            identity: frame.identity.clone(),
            quiet: frame.quiet,
            route: OnceLock::new(),
        });
        request.extensions_mut().insert(loan.clone());
        request.extensions_mut().insert(id.clone());
        let span = RequestSpan::begin(frame.service, &method, request.headers());
        if let Some(span) = &span {
            request.extensions_mut().insert(span.clone());
        }
        DefaultBodyLimit::max(frame.body_limit).apply(&mut request);

        let browsers = frame.identity.browsers();
        let has_body = !request.body().is_end_stream();
        // Copied only for pages that the settings let in.
        let page = browsers.is_allowed(request.headers()).then(|| request.headers().clone());
        let mut response = match frame.screen(&request) {
            Err(refusal) => {
                // Whoever waits for leave to send has not begun to.
                if refusal.status() == StatusCode::PAYLOAD_TOO_LARGE && !request.headers().contains_key(EXPECT) {
                    discard(request.into_body()).await;
                }
                refusal.into_response()
            }
            Ok(()) => match browsers.preflight(&request) {
                Some(headers) => preflight(headers),
                None => frame.inner(request).await,
            },
        };
        let route = loan.route.get().unwrap_or(&UNMATCHED);
        if let Some(error) = response.extensions_mut().remove::<ApiError>() {
            let _in_span = tracing::info_span!("request", %method, %route, id = id.as_str()).entered();
            error.log();
            let allow = response.headers_mut().remove(ALLOW);
            response = dialect(&error, id.as_str());
            error.decorate(&mut response);
            response.headers_mut().extend(allow.map(|methods| (ALLOW, methods)));
            if error.status() == StatusCode::UNAUTHORIZED {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"Remora\""));
            }
        }
        if has_body && is_early(response.status()) {
            // The rest of the body is not read, so the connection cannot be used again; say so.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(asked) = page {
            browsers.decorate(&asked, response.headers_mut());
        }
        let status = response.status().as_u16();
        tracing::debug!(%method, %route, id = id.as_str(), status, "answered");
        if let Some(span) = &span {
            span.answered(&method, route, id.as_str(), status);
        }
        response.headers_mut().insert(REQUEST_ID, id.0);

        let (metrics, route) = (&frame.metrics, route.clone());
        let labels = RouteLabels { route };
        metrics.duration.get_or_create(&labels).observe(started.elapsed().as_secs_f64());
        metrics.requests.get_or_create(&RequestLabels { method: known(&method), route: labels.route, status }).inc();
        metrics.processed.inc();
        response.map(|body| CountedBody { body, _in_flight: in_flight, _span: span })
    }
}

/// Whether a status is that of a refusal that comes before the body is read.
fn is_early(status: StatusCode) -> bool {
    matches!(status.as_u16(), 401 | 403 | 413 | 421 | 429 | 431)
}

fn preflight(headers: HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    *response.headers_mut() = headers;
    response
}

/// The route of what no route took: metrics must not grow with what clients ask for.
static UNMATCHED: LazyLock<Arc<str>> = LazyLock::new(|| "unmatched".into());

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
pub(crate) struct CountedBody {
    body: Body,
    _in_flight: InFlight,
    _span: Option<RequestSpan>,
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
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
    fn ids_count_in_hexadecimal() {
        let number = |id: RequestId| u64::from_str_radix(id.as_str().rsplit('-').next().unwrap(), 16).unwrap();
        let first = number(RequestId::next());
        for step in 1..70_000 {
            assert_eq!(number(RequestId::next()), first + step);
        }
    }
}
