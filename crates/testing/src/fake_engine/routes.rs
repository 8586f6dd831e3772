//! The routes, with vLLM's shapes.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, Stream};
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use remora_types::engines::{Capability, EngineModel};
use serde_json::{Value, json};

use super::{Behaviour, Health, InFlight, Received, Shared};

type Fake = State<Arc<Shared>>;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/v1/models", get(models))
        .route("/metrics", get(metrics))
        .route("/version", get(|| async { Json(json!({ "version": "0.0.0+fake" })) }))
        .route("/v1/chat/completions", post(infer))
        .route("/v1/completions", post(infer))
        .route("/v1/responses", post(infer))
        .route("/v1/embeddings", post(infer))
        .route("/tokenize", post(tokenize))
        .route("/detokenize", post(detokenize))
        .route("/v1/load_lora_adapter", post(load_adapter))
        .route("/v1/unload_lora_adapter", post(unload_adapter))
        .layer(from_fn_with_state(shared.clone(), keep))
        .with_state(shared)
}

/// Records every request, and hides the routes of capabilities that the engine should not have.
async fn keep(State(shared): Fake, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let line = format!("{} {}", parts.method, parts.uri);
    shared.record(Received { line, headers: parts.headers.clone(), body: body.clone() });
    let hidden = capability(&parts.method, parts.uri.path()).is_some_and(|c| !shared.behaviour().capabilities.has(c));
    if hidden {
        return (StatusCode::NOT_FOUND, Json(json!({ "detail": "Not Found" }))).into_response();
    }
    next.run(Request::from_parts(parts, Body::from(body))).await
}

fn capability(method: &Method, path: &str) -> Option<Capability> {
    Some(match (method.as_str(), path) {
        ("POST", "/v1/chat/completions") => Capability::Chat,
        ("POST", "/v1/completions") => Capability::Completions,
        ("POST", "/v1/embeddings") => Capability::Embeddings,
        ("POST", "/v1/responses") => Capability::Responses,
        ("POST", "/tokenize" | "/detokenize") => Capability::Tokenize,
        ("POST", "/v1/load_lora_adapter" | "/v1/unload_lora_adapter") => Capability::LoadAdapters,
        ("GET", "/metrics") => Capability::Metrics,
        _ => return None,
    })
}

async fn health(State(shared): Fake) -> Response {
    let health = shared.behaviour().health.clone();
    match health {
        Health::Ready => StatusCode::OK.into_response(),
        Health::Loading(message) => {
            let body = json!({ "status": "loading", "progress": null, "message": message });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
        Health::Dead => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Health::Silent => std::future::pending().await,
    }
}

async fn models(State(shared): Fake) -> Json<Value> {
    let listed: Vec<Value> = shared.behaviour().models.iter().map(listed).collect();
    Json(json!({ "object": "list", "data": listed }))
}

fn listed(model: &EngineModel) -> Value {
    json!({
        "id": model.id, "object": "model", "created": 1_700_000_000, "owned_by": "fake",
        "root": model.root, "parent": model.parent, "max_model_len": model.max_model_len,
    })
}

async fn metrics(State(shared): Fake) -> String {
    let started = shared.behaviour().started_unix_s.map(|s| format!("process_start_time_seconds {s}.25\n"));
    let running = shared.in_flight.load(std::sync::atomic::Ordering::SeqCst);
    format!("{}vllm:num_requests_running{{engine=\"0\"}} {running}\n", started.unwrap_or_default())
}

/// Chat, completions, responses and embeddings alike: what differs is told by the path.
async fn infer(State(shared): Fake, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap_or_default();
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return refuse(StatusCode::BAD_REQUEST, "Bad Request", "the body is not JSON", None);
    };
    let input = if path == "/v1/chat/completions" { "messages" } else { "input" };
    let input = if path == "/v1/completions" { "prompt" } else { input };
    if body.get(input).is_none() {
        return refuse(StatusCode::BAD_REQUEST, "Bad Request", &format!("{input}: field required"), Some(input));
    }
    let behaviour = shared.behaviour().clone();
    let model = body.get("model").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !model.is_empty() && !behaviour.models.iter().any(|m| m.id.as_str() == model) {
        let message = format!("The model `{model}` does not exist.");
        return refuse(StatusCode::NOT_FOUND, "NotFoundError", &message, Some("model"));
    }
    let in_flight = InFlight::enter(&shared);
    if let Some((status, text)) = behaviour.failure {
        let status = StatusCode::from_u16(status).expect("a legal status");
        return (status, [(CONTENT_TYPE, "application/json")], text).into_response();
    }
    let chat = path == "/v1/chat/completions";
    if body.get("stream").and_then(Value::as_bool) == Some(true) {
        let events = Body::from_stream(pieces(behaviour, model, chat, in_flight));
        return ([(CONTENT_TYPE, "text/event-stream; charset=utf-8")], events).into_response();
    }
    whole(&path, &behaviour, &model, in_flight).await.into_response()
}

/// The answer in one piece, after the time that its pieces would take.
async fn whole(path: &str, behaviour: &Behaviour, model: &str, mut in_flight: InFlight) -> Json<Value> {
    let count = u32::try_from(behaviour.chunks).expect("few pieces");
    tokio::time::sleep(behaviour.delay * count).await;
    in_flight.finish();
    let text: String = (0..behaviour.chunks).map(token).collect();
    let usage = json!({ "prompt_tokens": 1, "completion_tokens": count, "total_tokens": count + 1 });
    Json(match path {
        "/v1/embeddings" => json!({
            "object": "list", "model": model, "usage": { "prompt_tokens": 1, "total_tokens": 1 },
            "data": [{ "object": "embedding", "index": 0, "embedding": [0.25, -0.5] }],
        }),
        "/v1/responses" => json!({
            "id": "resp_fake", "object": "response", "status": "completed", "model": model,
            "output": [{ "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": text }] }],
        }),
        "/v1/completions" => json!({
            "id": "cmpl-fake", "object": "text_completion", "created": 1, "model": model, "usage": usage,
            "choices": [{ "index": 0, "text": text, "finish_reason": "stop", "logprobs": null }],
        }),
        _ => json!({
            "id": "chatcmpl-fake", "object": "chat.completion", "created": 1, "model": model, "usage": usage,
            "choices": [{ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
        }),
    })
}

/// The answer as events, `[DONE]` last.
fn pieces(
    behaviour: Behaviour,
    model: String,
    chat: bool,
    in_flight: InFlight,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let end = behaviour.break_after.unwrap_or(behaviour.chunks + 1);
    stream::unfold((0, in_flight), move |(index, mut in_flight)| {
        let (behaviour, model) = (behaviour.clone(), model.clone());
        async move {
            if index > behaviour.chunks {
                return None;
            }
            if index >= end {
                in_flight.finish();
                return Some((Err(io::Error::other("broken on purpose")), (behaviour.chunks + 1, in_flight)));
            }
            if index == behaviour.chunks {
                in_flight.finish();
                return Some((Ok(Bytes::from_static(b"data: [DONE]\n\n")), (index + 1, in_flight)));
            }
            tokio::time::sleep(behaviour.delay).await;
            let last = index + 1 == behaviour.chunks;
            Some((Ok(piece(index, last, &model, chat)), (index + 1, in_flight)))
        }
    })
    .boxed()
}

fn piece(index: usize, last: bool, model: &str, chat: bool) -> Bytes {
    let finish = last.then_some("stop");
    let body = if chat {
        json!({
            "id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 1, "model": model,
            "choices": [{ "index": 0, "delta": { "content": token(index) }, "finish_reason": finish }],
        })
    } else {
        json!({
            "id": "cmpl-fake", "object": "text_completion", "created": 1, "model": model,
            "choices": [{ "index": 0, "text": token(index), "finish_reason": finish, "logprobs": null }],
        })
    };
    Bytes::from(format!("data: {body}\n\n"))
}

fn token(index: usize) -> String {
    format!("token{index} ")
}

/// One token for each byte.
async fn tokenize(Json(body): Json<Value>) -> Json<Value> {
    let text = body.get("prompt").and_then(Value::as_str).unwrap_or_default();
    let tokens: Vec<u8> = text.bytes().collect();
    Json(json!({ "count": tokens.len(), "max_model_len": 2048, "tokens": tokens, "token_strs": null }))
}

async fn detokenize(Json(body): Json<Value>) -> Json<Value> {
    let tokens = body.get("tokens").and_then(Value::as_array).cloned().unwrap_or_default();
    let bytes: Vec<u8> = tokens.iter().filter_map(|t| u8::try_from(t.as_u64()?).ok()).collect();
    Json(json!({ "prompt": String::from_utf8_lossy(&bytes) }))
}

async fn load_adapter(State(shared): Fake, Json(body): Json<Value>) -> Response {
    let text = |key: &str| body.get(key).and_then(Value::as_str).filter(|v| !v.is_empty()).map(ToOwned::to_owned);
    let (Some(name), Some(path)) = (text("lora_name"), text("lora_path")) else {
        let message = "Both 'lora_name' and 'lora_path' must be provided.";
        return refuse(StatusCode::BAD_REQUEST, "InvalidUserInput", message, None);
    };
    let mut behaviour = shared.behaviour();
    if behaviour.models.iter().any(|m| m.id.as_str() == name) {
        let message = format!("The lora adapter '{name}' has already been loaded.");
        return refuse(StatusCode::BAD_REQUEST, "InvalidUserInput", &message, None);
    }
    let parent = behaviour.models.first().map(|base| base.id.to_string());
    let message = format!("Success: LoRA adapter '{name}' added successfully.");
    let id = name.parse().expect("a legal model id");
    behaviour.models.push(EngineModel { id, root: Some(path), parent, max_model_len: None });
    message.into_response()
}

async fn unload_adapter(State(shared): Fake, Json(body): Json<Value>) -> Response {
    let name = body.get("lora_name").and_then(Value::as_str).unwrap_or_default();
    let mut behaviour = shared.behaviour();
    let before = behaviour.models.len();
    behaviour.models.retain(|m| m.parent.is_none() || m.id.as_str() != name);
    if behaviour.models.len() == before {
        let message = format!("The lora adapter '{name}' cannot be found.");
        return refuse(StatusCode::NOT_FOUND, "NotFoundError", &message, None);
    }
    format!("Success: LoRA adapter '{name}' removed successfully.").into_response()
}

fn refuse(status: StatusCode, kind: &str, message: &str, param: Option<&str>) -> Response {
    let error = json!({ "message": message, "type": kind, "param": param, "code": status.as_u16() });
    (status, Json(json!({ "error": error }))).into_response()
}
