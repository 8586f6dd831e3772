//! The paths that engines answer.
//!
//! All are alike: the body is collected, its `model` read, an engine chosen, and the bytes sent on ([`Question`]).
//! Answers come back as the engine sends them.

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use remora_protocol::openai;
use remora_service::{ApiError, RequestId};
use remora_types::error::ErrorBody;
use utoipa::IntoResponses;

use super::question::{First, Question};
use crate::endpoint::Endpoint;
use crate::hold::kept_alive;
use crate::state::GatewayState;
use crate::upstream::EventTail;

/// What can go wrong on every one of these paths; see `error.rs` for the codes.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "speaks to the API document only")]
enum Failures {
    /// The body is not a JSON object with one model, or the engine cannot do this.
    #[response(status = 400)]
    Invalid(ErrorBody),
    /// No engine has the model.
    #[response(status = 404)]
    UnknownModel(ErrorBody),
    /// The body is larger than the settings allow.
    #[response(status = 413)]
    TooLarge(ErrorBody),
    /// Too many requests wait already, or the key's minute is used up; `Retry-After` says when to try again.
    #[response(status = 429)]
    TooMany(ErrorBody),
    /// The engine broke off before it answered.
    #[response(status = 502)]
    Failed(ErrorBody),
    /// The model's engine is not ready, cannot be reached, or had no room in time; `Retry-After` says when to try again.
    #[response(status = 503)]
    NotReady(ErrorBody),
    /// The engine did not begin to answer in time.
    #[response(status = 504)]
    Slow(ErrorBody),
}

/// Chat, streamed where the body says `"stream": true`.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "inference", request_body = openai::ChatRequest,
    responses((status = 200, body = openai::ChatCompletion), Failures))]
pub(super) async fn chat_completions(
    State(state): State<GatewayState>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    pass(&state, Endpoint::ChatCompletions, &id, request).await
}

/// Continues a text, streamed where the body says `"stream": true`.
#[utoipa::path(post, path = "/v1/completions", tag = "inference", request_body = openai::CompletionRequest,
    responses((status = 200, body = openai::Completion), Failures))]
pub(super) async fn completions(
    State(state): State<GatewayState>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    pass(&state, Endpoint::Completions, &id, request).await
}

/// Embeds texts, where the engine can.
#[utoipa::path(post, path = "/v1/embeddings", tag = "inference", request_body = Value,
    responses((status = 200, body = Value), Failures))]
pub(super) async fn embeddings(
    State(state): State<GatewayState>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    pass(&state, Endpoint::Embeddings, &id, request).await
}

/// The Responses API, where the engine has it.
#[utoipa::path(post, path = "/v1/responses", tag = "inference", request_body = Value,
    responses((status = 200, body = Value), Failures))]
pub(super) async fn responses(
    State(state): State<GatewayState>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    pass(&state, Endpoint::Responses, &id, request).await
}

/// A text or conversation as tokens, in vLLM's shape.
#[utoipa::path(post, path = "/tokenize", tag = "inference", request_body = openai::TokenizeRequest,
    responses((status = 200, body = openai::TokenizeResponse), Failures))]
pub(super) async fn tokenize(
    State(state): State<GatewayState>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    pass(&state, Endpoint::Tokenize, &id, request).await
}

/// Tokens as text, in vLLM's shape.
#[utoipa::path(post, path = "/detokenize", tag = "inference", request_body = openai::DetokenizeRequest,
    responses((status = 200, body = openai::DetokenizeResponse), Failures))]
pub(super) async fn detokenize(
    State(state): State<GatewayState>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    pass(&state, Endpoint::Detokenize, &id, request).await
}

async fn pass(
    state: &GatewayState,
    endpoint: Endpoint,
    id: &RequestId,
    request: Request,
) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let question = Question::new(state.clone(), endpoint, id.clone(), head.headers, &head.extensions);
    let body = question.collected(body).await?;
    match question.first_try(body).await? {
        First::Answer(response) => Ok(response),
        First::Wait(waiting) if waiting.streams() => {
            let farewell =
                move |error: &ApiError| EventTail::new(endpoint.events()).farewell(error.code(), error.message());
            kept_alive(Box::pin(waiting.answer()), farewell).await
        }
        First::Wait(waiting) => waiting.answer().await,
    }
}
