//! Traces: a span for each request, sent to an OpenTelemetry collector where the settings name one.
//!
//! Spans are made directly and not through `tracing`: without a collector, which is how nearly everybody runs, a request
//! then costs one look at an empty cell.

use std::sync::OnceLock;
use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, Method};
use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer as _,
    TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, Span};
use url::Url;

use crate::lifecycle::BoxError;

const TRACEPARENT: &str = "traceparent";

/// The process's tracer, once a collector is set.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Ends the export; spans that wait are sent first.
pub(crate) struct TracesGuard(SdkTracerProvider);

impl Drop for TracesGuard {
    fn drop(&mut self) {
        // A collector that is gone must not keep the process.
        let _ = self.0.shutdown_with_timeout(std::time::Duration::from_secs(2));
    }
}

/// Begins to export to a collector; `percent` of the traces that begin here, and all that a caller already samples.
pub(crate) fn init(collector: &Url, percent: u8) -> Result<TracesGuard, BoxError> {
    let endpoint = format!("{}/v1/traces", collector.as_str().trim_end_matches('/'));
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .build()?;
    let share = Sampler::TraceIdRatioBased(f64::from(percent.min(100)) / 100.0);
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(share)))
        .with_resource(Resource::builder().with_service_name("remora").build())
        .build();
    // A second call keeps the first's settings, as with logs.
    let _ = TRACER.set(provider.tracer("remora"));
    Ok(TracesGuard(provider))
}

/// A request's span, in the extensions of every request while a collector is set. Cheap to clone; it ends when its last
/// holder lets go.
#[derive(Debug, Clone)]
pub struct RequestSpan(Context);

impl RequestSpan {
    /// Begins the span of a request, under the one that its headers name.
    pub(crate) fn begin(service: &'static str, method: &Method, headers: &HeaderMap) -> Option<Self> {
        let tracer = TRACER.get()?;
        let parent =
            headers.get(TRACEPARENT).and_then(parse).map(|parent| Context::new().with_remote_span_context(parent));
        let span = tracer
            .span_builder(method.to_string())
            .with_kind(SpanKind::Server)
            .with_attributes([KeyValue::new("remora.service", service)])
            .start_with_context(tracer, &parent.unwrap_or_default());
        Some(Self(Context::new().with_span(span)))
    }

    /// Adds what is known.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        self.0.span().set_attribute(KeyValue::new(key, value));
    }

    /// The answer's head went out.
    pub(crate) fn answered(&self, method: &Method, route: &str, id: &str, status: u16) {
        let span = self.0.span();
        span.update_name(format!("{method} {route}"));
        span.set_attribute(KeyValue::new("http.request.method", method.to_string()));
        span.set_attribute(KeyValue::new("http.route", route.to_owned()));
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        span.set_attribute(KeyValue::new("remora.request_id", id.to_owned()));
        if status >= 500 {
            span.set_status(Status::error(""));
        }
    }

    /// Begins a call to another server within the request.
    #[must_use]
    pub fn call(&self, name: String) -> CallSpan {
        let tracer = TRACER.get().expect("a span has a tracer");
        CallSpan(tracer.span_builder(name).with_kind(SpanKind::Client).start_with_context(tracer, &self.0))
    }
}

/// A call to another server; it ends when it is dropped.
#[derive(Debug)]
pub struct CallSpan(Span);

impl CallSpan {
    /// Adds what is known.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.0.set_attribute(KeyValue::new(key, value));
    }

    /// Something happened now.
    pub fn event(&mut self, name: &'static str) {
        self.0.add_event_with_timestamp(name, SystemTime::now(), Vec::new());
    }

    /// The call did not come to its end.
    pub fn fail(&mut self, why: String) {
        self.0.set_status(Status::error(why));
    }

    /// What tells the other server of this span: the `traceparent` of W3C's Trace Context.
    #[must_use]
    pub fn traceparent(&self) -> HeaderValue {
        let context = self.0.span_context();
        let flags = context.trace_flags().to_u8();
        let text = format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id());
        HeaderValue::try_from(text).expect("hexadecimal digits are a legal header value")
    }
}

/// The span that a `traceparent` names; anything that is not one is no parent.
fn parse(header: &HeaderValue) -> Option<SpanContext> {
    let mut parts = header.to_str().ok()?.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version.len() != 2 || version == "ff" || trace.len() != 32 || span.len() != 16 {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::default());
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_read_and_nonsense_is_none() {
        let read = |text: &'static str| parse(&HeaderValue::from_static(text));
        let parent = read("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        assert!(parent.is_sampled() && parent.is_remote());
        assert_eq!(parent.span_id().to_string(), "b7ad6b7169203331");
        for nonsense in [
            "",
            "00-0-0-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
        ] {
            assert!(read(nonsense).is_none(), "{nonsense}");
        }
    }
}
