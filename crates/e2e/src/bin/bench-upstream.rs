//! An OpenAI-like engine that costs next to nothing, for `scripts/bench`: what is measured in front of it is the proxy.
//!
//! One thread, no routing library, answers prepared beforehand. `remora_testing`'s fake engine is not used: it records
//! every request, which is what a test wants and a measurement does not.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

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
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

#[derive(Parser)]
#[command(about = "A fake engine for scripts/bench")]
struct Args {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// Name of the one model it lists.
    #[arg(long, default_value = "bench")]
    model: String,
    /// Events of a streamed answer, before the closing ones.
    #[arg(long, default_value_t = 50)]
    chunks: usize,
    /// Time between two events, in milliseconds; 0 sends them as fast as they are taken.
    #[arg(long, default_value_t = 0)]
    gap_ms: u64,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Everything it ever sends.
struct Answers {
    completion: Bytes,
    chunk: Bytes,
    last: Bytes,
    models: Bytes,
    chunks: usize,
    gap: Duration,
}

/// What is read of a request.
#[derive(Deserialize)]
struct Chat {
    #[serde(rename = "messages")]
    _messages: serde::de::IgnoredAny,
    #[serde(default)]
    stream: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let listener = TcpListener::bind(args.listen).await?;
    let answers = Arc::new(Answers::new(&args));
    let connections = TaskTracker::new();
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let answers = Arc::clone(&answers);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&answers), request));
            // A client that goes away in the middle is everyday business here.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn answer(answers: Arc<Answers>, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(match (parts.method, parts.uri.path()) {
        (Method::POST, "/v1/chat/completions") => match serde_json::from_slice(&body) {
            Ok(Chat { stream: true, .. }) => event_stream(&answers),
            Ok(Chat { stream: false, .. }) => json_answer(StatusCode::OK, answers.completion.clone()),
            Err(error) => json_answer(StatusCode::BAD_REQUEST, refusal(&error.to_string())),
        },
        (Method::GET, "/v1/models") => json_answer(StatusCode::OK, answers.models.clone()),
        (Method::GET, "/version") => json_answer(StatusCode::OK, Bytes::from_static(br#"{"version":"0.32.0"}"#)),
        (Method::GET, "/health") => Response::new(Full::default().boxed_unsync()),
        _ => json_answer(StatusCode::NOT_FOUND, refusal("Not Found")),
    })
}

fn json_answer(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn event_stream(answers: &Arc<Answers>) -> Response<Body> {
    let mut response = Response::new(StreamBody::new(events(Arc::clone(answers))).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The first event at once, each further one after the gap, the closing ones with the last.
fn events(answers: Arc<Answers>) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
    let last = answers.last.clone();
    let pieces = stream::iter(0..answers.chunks).then(move |nr| {
        let answers = Arc::clone(&answers);
        async move {
            if nr > 0 && !answers.gap.is_zero() {
                tokio::time::sleep(answers.gap).await;
            }
            Ok(Frame::data(answers.chunk.clone()))
        }
    });
    pieces.chain(stream::iter([Ok(Frame::data(last))]))
}

impl Answers {
    fn new(args: &Args) -> Self {
        let model = &args.model;
        let completion = json!({
            "id": "chatcmpl-bench", "object": "chat.completion", "created": 1_767_225_600, "model": model,
            "choices": [{
                "index": 0,
                "message": { "role": "assistant", "content": "Hello from the bench: this answer never changes." },
                "finish_reason": "stop",
            }],
            "usage": { "prompt_tokens": 12, "completion_tokens": 10, "total_tokens": 22 },
        });
        let models = json!({ "object": "list", "data": [{ "id": model, "object": "model", "owned_by": "bench" }] });
        let chunk = chunk(model, &json!({ "content": "token " }), &Value::Null);
        let last = chunk_end(model);
        Self {
            completion: completion.to_string().into(),
            chunk: chunk.into(),
            last: last.into(),
            models: models.to_string().into(),
            chunks: args.chunks,
            gap: Duration::from_millis(args.gap_ms),
        }
    }
}

/// One event of a streamed answer.
fn chunk(model: &str, delta: &Value, finish_reason: &Value) -> String {
    let data = json!({
        "id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1_767_225_600, "model": model,
        "choices": [{ "index": 0, "delta": delta, "finish_reason": finish_reason }],
    });
    format!("data: {data}\n\n")
}

/// The two events that close a streamed answer.
fn chunk_end(model: &str) -> String {
    chunk(model, &json!({}), &"stop".into()) + "data: [DONE]\n\n"
}

/// OpenAI's error body.
fn refusal(message: &str) -> Bytes {
    json!({ "error": { "message": message, "type": "BadRequestError", "param": null, "code": 400 } }).to_string().into()
}
