//! `POST /v1/embeddings`, and which routes a model has: one that generates has no vectors, and the reverse.

use axum::Json;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use remora_protocol::openai::{
    Embedding, EmbeddingRequest, EmbeddingResponse, EmbeddingVector, EncodingFormat, ErrorBody, Usage,
};
use remora_service::ApiError;

use super::answer::Envelope;
use super::extract::{VllmJson, blocking};
use super::state::ApiState;
use crate::request::prepare_embedding;
use crate::scheduler::EngineState;

/// Turns texts into vectors of length 1, with a model that is made for it.
#[utoipa::path(post, path = "/v1/embeddings", tag = "embeddings", request_body = EmbeddingRequest,
    responses((status = 200, body = EmbeddingResponse), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 429, body = ErrorBody), (status = 500, body = ErrorBody),
        (status = 503, body = ErrorBody)))]
pub(super) async fn embeddings(
    State(state): State<ApiState>,
    headers: HeaderMap,
    VllmJson(request): VllmJson<EmbeddingRequest>,
) -> Result<Json<EmbeddingResponse>, ApiError> {
    let loaded = state.loaded()?;
    let target = state.target(request.model.as_deref())?;
    let envelope = Envelope::new("embd-", &headers, &target.name);
    let format = request.encoding_format.unwrap_or_default();
    let name = target.name;
    let inputs = blocking(move || prepare_embedding(&request, &loaded, &name)).await?;
    let tokens = u32::try_from(inputs.iter().map(Vec::len).sum::<usize>()).unwrap_or(u32::MAX);
    let vectors = state.engine.embed(inputs).await?;
    let data = vectors.into_iter().enumerate().map(|(index, vector)| Embedding {
        index,
        object: "embedding".to_owned(),
        embedding: write(vector, format),
    });
    Ok(Json(EmbeddingResponse {
        id: envelope.id,
        object: "list".to_owned(),
        created: envelope.created,
        model: envelope.model,
        data: data.collect(),
        usage: Usage::new(tokens, 0),
    }))
}

fn write(vector: Vec<f32>, format: EncodingFormat) -> EmbeddingVector {
    match format {
        EncodingFormat::Float => EmbeddingVector::Float(vector),
        EncodingFormat::Base64 => {
            let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
            EmbeddingVector::Base64(BASE64_STANDARD.encode(bytes))
        }
    }
}

/// Lets a request through to a route that only models have that generate.
pub(super) async fn generates(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    guard(&state, request, next, false).await
}

/// Lets a request through to a route that only models have that embed.
pub(super) async fn embeds(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    guard(&state, request, next, true).await
}

/// In vLLM the other kind's routes are not there; who looks for them finds the same status here, and is told why. It
/// comes before the body is read, so that an empty one is enough to ask.
async fn guard(state: &ApiState, request: Request, next: Next, embeds: bool) -> Response {
    match state.engine.state() {
        EngineState::Ready(loaded) if loaded.model.embedding().is_some() != embeds => {
            let path = request.uri().path();
            let (kind, routes) = if embeds {
                ("generates text", "/v1/chat/completions")
            } else {
                ("makes embeddings", "/v1/embeddings")
            };
            let message = format!("The model does not support {path}: it {kind}, at {routes}.");
            ApiError::not_found("not_this_kind_of_model", message).with_kind("NotFoundError").into_response()
        }
        _ => next.run(request).await,
    }
}
