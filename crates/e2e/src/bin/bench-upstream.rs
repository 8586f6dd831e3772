//! An OpenAI-like engine that costs next to nothing, for `scripts/bench`: what is measured in front of it is the proxy.
//!
//! One thread, no routing library, answers prepared beforehand. `remora_testing`'s fake engine is not used: it records
//! every request, which is what a test wants and a measurement does not.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clap::Parser;
use futures::{Stream, StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// A fake engine for scripts/bench.
#[derive(Parser)]
struct Args {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// A model: its name, how many events a streamed answer has before the closing ones, and the milliseconds between
    /// them, where 0 means as fast as they are taken.
    #[arg(long = "model", value_name = "NAME:EVENTS:GAP_MS", required = true, value_parser = model)]
    models: Vec<Arc<Model>>,
}

/// A model, with everything it ever says.
#[derive(Debug)]
struct Model {
    name: String,
    events: usize,
    gap: Duration,
    whole: Bytes,
    event: Bytes,
    /// The same with the tokens so far, for those who ask for them.
    counted_event: Bytes,
    last_events: Bytes,
}

/// What is read of a request.
#[derive(Deserialize)]
struct Chat<'a> {
    model: &'a str,
    #[serde(rename = "messages")]
    _messages: IgnoredAny,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    stream_options: StreamOptions,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StreamOptions {
    continuous_usage_stats: bool,
}

/// Streams that nobody has closed yet.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Counts a stream for as long as it is open.
struct Open;

impl Open {
    fn new() -> Self {
        OPEN.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let listener = TcpListener::bind(args.listen).await?;
    let models: Arc<[Arc<Model>]> = args.models.into();
    let connections = TaskTracker::new();
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let models = Arc::clone(&models);
        connections.spawn(async move {
            let service = service_fn(|request| answer(&models, request));
            // A client that goes away in the middle is everyday business here.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn answer(models: &[Arc<Model>], request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(match (parts.method, parts.uri.path()) {
        (Method::POST, "/v1/chat/completions") => chat(models, &body),
        (Method::GET, "/open") => json_answer(StatusCode::OK, OPEN.load(Ordering::Relaxed).to_string().into()),
        (Method::GET, "/v1/models") => json_answer(StatusCode::OK, list(models)),
        (Method::GET, "/version") => json_answer(StatusCode::OK, Bytes::from_static(br#"{"version":"0.32.0"}"#)),
        (Method::GET, "/health") => Response::new(Full::default().boxed_unsync()),
        _ => refusal(StatusCode::NOT_FOUND, "Not Found"),
    })
}

fn chat(models: &[Arc<Model>], body: &[u8]) -> Response<Body> {
    let asked: Chat = match serde_json::from_slice(body) {
        Ok(asked) => asked,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match models.iter().find(|model| model.name == asked.model) {
        Some(model) if asked.stream => event_stream(Arc::clone(model), asked.stream_options.continuous_usage_stats),
        Some(model) => json_answer(StatusCode::OK, model.whole.clone()),
        None => refusal(StatusCode::NOT_FOUND, &format!("The model `{}` does not exist.", asked.model)),
    }
}

fn json_answer(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// OpenAI's error body.
fn refusal(status: StatusCode, message: &str) -> Response<Body> {
    let error = json!({ "message": message, "type": "BadRequestError", "param": null, "code": status.as_u16() });
    json_answer(status, json!({ "error": error }).to_string().into())
}

fn event_stream(model: Arc<Model>, counted: bool) -> Response<Body> {
    let mut response = Response::new(StreamBody::new(events(model, counted)).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The first event at once, each further one after the gap, the closing ones with the last.
fn events(model: Arc<Model>, counted: bool) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
    let last = stream::iter([Ok(Frame::data(model.last_events.clone()))]);
    let open = Arc::new(Open::new());
    let events = stream::iter(0..model.events).then(move |nr| {
        let (model, open) = (Arc::clone(&model), Arc::clone(&open));
        async move {
            let _open = open;
            if nr > 0 && !model.gap.is_zero() {
                tokio::time::sleep(model.gap).await;
            }
            let event = if counted { &model.counted_event } else { &model.event };
            Ok(Frame::data(event.clone()))
        }
    });
    events.chain(last)
}

/// Reads `NAME:EVENTS:GAP_MS`.
fn model(text: &str) -> anyhow::Result<Arc<Model>> {
    let mut parts = text.split(':');
    let (name, events, gap_ms) = (parts.next(), parts.next(), parts.next());
    let name = name.context("no name")?;
    let chunk = |delta: Value, finish_reason: Value| {
        json!({
            "id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1_767_225_600, "model": name,
            "choices": [{ "index": 0, "delta": delta, "finish_reason": finish_reason }],
        })
    };
    let event = |chunk: Value| format!("data: {chunk}\n\n");
    let mut counted = chunk(json!({ "content": "token " }), Value::Null);
    counted["usage"] = json!({ "prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19 });
    let whole = json!({
        "id": "chatcmpl-bench", "object": "chat.completion", "created": 1_767_225_600, "model": name,
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": "Hello from the bench: this answer never changes." },
            "finish_reason": "stop",
        }],
        "usage": { "prompt_tokens": 12, "completion_tokens": 10, "total_tokens": 22 },
    });
    Ok(Arc::new(Model {
        name: name.to_owned(),
        events: events.context("no number of events")?.parse()?,
        gap: Duration::from_millis(gap_ms.context("no gap")?.parse()?),
        whole: whole.to_string().into(),
        event: event(chunk(json!({ "content": "token " }), Value::Null)).into(),
        counted_event: event(counted).into(),
        last_events: (event(chunk(json!({}), "stop".into())) + "data: [DONE]\n\n").into(),
    }))
}

fn list(models: &[Arc<Model>]) -> Bytes {
    let models: Vec<Value> = models
        .iter()
        .map(|model| json!({ "id": model.name, "object": "model", "owned_by": "bench", "max_model_len": 8192 }))
        .collect();
    json!({ "object": "list", "data": models }).to_string().into()
}
