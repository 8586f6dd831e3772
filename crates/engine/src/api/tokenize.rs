//! vLLM's `POST /tokenize` and `POST /detokenize`.

use axum::Json;
use axum::extract::State;
use remora_protocol::openai::{DetokenizeRequest, DetokenizeResponse, ErrorBody, TokenizeRequest, TokenizeResponse};
use remora_service::ApiError;

use super::extract::{VllmJson, blocking};
use super::state::ApiState;
use crate::request;

/// Counts the tokens of a text or a conversation.
#[utoipa::path(post, path = "/tokenize", tag = "tokens", request_body = TokenizeRequest,
    responses((status = 200, body = TokenizeResponse), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(super) async fn tokenize(
    State(state): State<ApiState>,
    VllmJson(asked): VllmJson<TokenizeRequest>,
) -> Result<Json<TokenizeResponse>, ApiError> {
    let loaded = state.loaded()?;
    state.target(asked.model.as_deref())?;
    blocking(move || request::tokenize(&asked, &loaded)).await.map(Json)
}

/// The text of tokens.
#[utoipa::path(post, path = "/detokenize", tag = "tokens", request_body = DetokenizeRequest,
    responses((status = 200, body = DetokenizeResponse), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(super) async fn detokenize(
    State(state): State<ApiState>,
    VllmJson(asked): VllmJson<DetokenizeRequest>,
) -> Result<Json<DetokenizeResponse>, ApiError> {
    let loaded = state.loaded()?;
    state.target(asked.model.as_deref())?;
    let prompt = blocking(move || request::detokenize(&asked, &loaded)).await?;
    Ok(Json(DetokenizeResponse { prompt }))
}
