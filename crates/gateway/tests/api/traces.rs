//! Spans, as a collector gets them.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use remora_service::telemetry::{self, LogConfig};
use remora_testing::FakeEngine;
use remora_testing::fake_engine::MODEL;

use crate::support::{Gateway, chat};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn attribute(span: &Span, key: &str) -> Option<String> {
    match span.attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_and_its_call_to_the_engine_join_the_callers_trace() {
    let received: Arc<Mutex<Vec<Span>>> = Arc::default();
    let sink = received.clone();
    let take = move |body: Bytes| async move {
        let batch = ExportTraceServiceRequest::decode(body).unwrap();
        let spans = batch.resource_spans.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans);
        sink.lock().unwrap().extend(spans);
    };
    let collector = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", collector.local_addr().unwrap());
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(async move { axum::serve(collector, Router::new().route("/v1/traces", post(take))).await });
    let logs = telemetry::init(&LogConfig { traces: Some(url.parse().unwrap()), ..LogConfig::default() }).unwrap();

    let engine = FakeEngine::start().await;
    let gateway = Gateway::before(&engine.address()).await;
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let request = gateway.request("/v1/chat/completions", chat(MODEL, true)).header("traceparent", &parent);
    assert_eq!(gateway.send(request).await.status, 200);
    tokio::task::spawn_blocking(move || drop(logs)).await.unwrap();

    let spans = received.lock().unwrap().clone();
    let ours: Vec<&Span> = spans.iter().filter(|span| hex::encode(&span.trace_id) == TRACE).collect();
    let named = |name: &str| *ours.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name}: {ours:?}"));
    let (request, call) = (named("POST /v1/chat/completions"), named(&format!("chat {MODEL}")));
    assert_eq!(hex::encode(&request.parent_span_id), "b7ad6b7169203331");
    assert_eq!(call.parent_span_id, request.span_id);
    assert_eq!(attribute(request, "http.response.status_code").unwrap(), "200");
    assert_eq!(attribute(request, "enduser.id").unwrap(), "local");
    assert!(attribute(call, "gen_ai.usage.output_tokens").unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(call.events[0].name, "first token");
    let seen = engine.received().last().unwrap().headers["traceparent"].to_str().unwrap().to_owned();
    assert_eq!(seen, format!("00-{TRACE}-{}-01", hex::encode(&call.span_id)));
}
