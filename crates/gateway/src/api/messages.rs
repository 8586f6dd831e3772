//! Anthropic's Messages API over engines that speak `OpenAI`'s chat.
//!
//! A request is translated, sent as a chat request, and its answer translated back piece by piece
//! ([`remora_protocol::anthropic`]). Refusals that are known before the first byte are real statuses in Anthropic's
//! words; from then on it is [`Events`]' turn. What goes to Anthropic itself goes as it came.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use remora_protocol::anthropic::{
    Asked, ChatOptions, CountTokensRequest, CountTokensResponse, ErrorBody, Failure, Message, MessagesRequest,
    Translated, answer,
};
use remora_service::{ApiError, RequestId};
use remora_types::engines::Capability;
use serde_json::Value;

use super::away::{Original, is_as_it_is, route_of};
use super::message_events::{Events, Source};
use super::question::Question;
use crate::body::collect;
use crate::endpoint::Endpoint;
use crate::models::estimate;
use crate::state::GatewayState;

/// Where the API is at Anthropic's, without and with its betas.
const MESSAGES: [&str; 2] = ["/v1/messages", "/v1/messages?beta=true"];
const COUNT_TOKENS: [&str; 2] = ["/v1/messages/count_tokens", "/v1/messages/count_tokens?beta=true"];

/// Says that a count is none.
const COUNT: &str = "x-remora-token-count";

/// What Anthropic calls it.
const REQUEST_ID: &str = "request-id";

/// How long a stream that waits for its engine is left without a status line.
const SILENT: Duration = Duration::from_secs(5);

/// Largest whole answer of an engine, in bytes.
const ANSWER_LIMIT: usize = 64 << 20;

/// A message, streamed where the body says `"stream": true`.
#[utoipa::path(post, path = "/v1/messages", tag = "messages", request_body = Value,
    responses((status = 200, body = Message), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(super) async fn messages(
    State(state): State<GatewayState>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    converse(state, id.clone(), request, false).await.map(|response| identified(response, &id))
}

/// The same, always streamed.
#[utoipa::path(post, path = "/v1/messages/stream", tag = "messages", request_body = Value,
    responses((status = 200, body = String, content_type = "text/event-stream"), (status = 400, body = ErrorBody)))]
pub(super) async fn stream(
    State(state): State<GatewayState>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    converse(state, id.clone(), request, true).await.map(|response| identified(response, &id))
}

/// How many tokens a message's prompt has, by the engine's own tokenizer and template. For an engine that has none to ask
/// it is an estimate, and `x-remora-token-count: estimate` says so.
#[utoipa::path(post, path = "/v1/messages/count_tokens", tag = "messages", request_body = Value,
    responses((status = 200, body = CountTokensResponse), (status = 400, body = ErrorBody)))]
pub(super) async fn count_tokens(
    State(state): State<GatewayState>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let body = collect(&head.headers, body, state.body_limit).await.map_err(super::error::IntoApi::into_api)?;
    let request = CountTokensRequest::parse(&body).map_err(refusal)?;
    let model = request.model.clone();
    let tokenize = translated(&state, &id, &model, |options| request.into_tokenize(options));
    if lacks_tokenizer(&state, &model) {
        tracing::debug!(id = id.as_str(), model, "the engine has no tokenizer to ask; its tokens are estimated");
        let input_tokens = estimate(&tokenize);
        return Ok(([(COUNT, "estimate")], Json(CountTokensResponse { input_tokens })).into_response());
    }
    let original = Original { target: target(COUNT_TOKENS, &head), body };
    let question = Question::translated(state, Endpoint::Tokenize, id, Some(original), head);
    let response = question.ask(encoded(&tokenize)).await?;
    if is_as_it_is(&response) {
        return Ok(response);
    }
    let input_tokens = count_of(&whole(response).await?)?;
    Ok(Json(CountTokensResponse { input_tokens }).into_response())
}

/// The count in an engine's answer to `/tokenize`.
fn count_of(body: &[u8]) -> Result<u64, ApiError> {
    let counted: Value = serde_json::from_slice(body).map_err(ApiError::internal)?;
    let missing = || ApiError::internal("the engine's answer to /tokenize holds no count");
    counted["count"].as_u64().ok_or_else(missing)
}

/// What this is, for whoever opens it; Claude Code sends it a HEAD before its first request.
#[utoipa::path(get, path = "/", tag = "messages", responses((status = 200, body = String)))]
pub(super) async fn root() -> &'static str {
    "Remora. OpenAI's API: /v1/chat/completions. Anthropic's: /v1/messages. Models: /v1/models. All of it: /docs\n"
}

/// Claude Code asks whether anybody is there.
#[utoipa::path(get, path = "/api/hello", tag = "messages", responses((status = 200, body = String)))]
pub(super) async fn hello() -> &'static str {
    "Remora"
}

async fn converse(
    state: GatewayState,
    id: RequestId,
    request: Request,
    always_streams: bool,
) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let body = collect(&head.headers, body, state.body_limit).await.map_err(super::error::IntoApi::into_api)?;
    let mut request = MessagesRequest::parse(&body).map_err(refusal)?;
    if always_streams {
        request.stream = Some(true);
    }
    let streams = request.stream == Some(true);
    let asked = Asked::of(&request, format!("msg_{}", id.as_str()));
    let model = request.model.clone();
    let chat = encoded(&translated(&state, &id, &model, |options| request.into_chat(options)));
    // Where the path says that it streams, the body need not.
    let original = (!always_streams).then(|| Original { target: target(MESSAGES, &head), body });
    let question = Question::translated(state, Endpoint::ChatCompletions, id, original, head);
    let length = Length { question: question.about_length(), chat: chat.clone() };
    if !streams {
        let response = question.ask(chat).await?;
        if is_as_it_is(&response) {
            return Ok(response);
        }
        let route = route_of(&response);
        let body = length.whole(response).await?;
        let message = answer(&body, asked).map_err(|error| refusal(error.into()))?;
        return Ok((route, Json(message.value)).into_response());
    }
    let mut asking: BoxFuture<'static, _> = Box::pin(question.ask(chat));
    let (source, mut headers) = match tokio::time::timeout(SILENT, &mut asking).await {
        Ok(response) => {
            let response = response?;
            if is_as_it_is(&response) {
                return Ok(response);
            }
            if response.status() != StatusCode::OK {
                return length.whole(response).await.map(IntoResponse::into_response);
            }
            let route = route_of(&response);
            (Source::Answer(response.into_body()), route)
        }
        Err(_) => (Source::Asking(asking), HeaderMap::new()),
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok((headers, Body::new(Events::new(source, asked))).into_response())
}

/// Anthropic's path, with the one query that Claude Code sends: a query may hold a key of ours.
fn target([plain, beta]: [&'static str; 2], head: &http::request::Parts) -> &'static str {
    let is_beta = head.uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "beta=true"));
    if is_beta { beta } else { plain }
}

/// What is translated for a model, as its engine reads it; what could not be carried over is logged.
fn translated<T>(
    state: &GatewayState,
    id: &RequestId,
    model: &str,
    translate: impl FnOnce(&ChatOptions) -> Translated<T>,
) -> T {
    let options = state.models.options(state.directory.table().known(model, Capability::Chat));
    let Translated { value, notes } = translate(&options);
    for note in notes {
        tracing::debug!(id = id.as_str(), model, %note, "not all of a request could be carried over");
    }
    value
}

/// Whether a model is known whose engine does not tokenize in vLLM's shape.
fn lacks_tokenizer(state: &GatewayState, model: &str) -> bool {
    let table = state.directory.table();
    let known = table.known(model, Capability::Tokenize);
    // An engine that has not been looked at may still turn out to have one.
    known.is_some_and(|(_, can)| !can.0.is_empty() && !can.has(Capability::Tokenize))
}

fn encoded(request: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(request).expect("a request is plain data").into()
}

/// Says which request this was, as Anthropic's SDKs read it.
fn identified(mut response: Response, id: &RequestId) -> Response {
    response.headers_mut().entry(REQUEST_ID).or_insert_with(|| id.0.clone());
    response
}

/// A conversation whose length may have to be told.
struct Length {
    question: Question,
    chat: Bytes,
}

impl Length {
    /// A whole answer of the engine, or its refusal in Anthropic's words. An engine that finds a conversation too long
    /// does not always say how long it is, and clients shorten it by that.
    async fn whole(self, response: Response) -> Result<Bytes, ApiError> {
        let status = response.status();
        let body = collected(response).await?;
        if status == StatusCode::OK {
            return Ok(body);
        }
        let mut failure = Failure::of_engine(status.as_u16(), &body, None);
        if failure.is_uncounted_overflow()
            && let Ok(response) = self.question.ask(self.chat).await
            && let Ok(counted) = whole(response).await
        {
            failure = Failure::of_engine(status.as_u16(), &body, count_of(&counted).ok());
        }
        Err(refusal(failure))
    }
}

/// A whole answer of the engine, or its refusal in Anthropic's words.
pub(super) async fn whole(response: Response) -> Result<Bytes, ApiError> {
    let status = response.status();
    let body = collected(response).await?;
    if status == StatusCode::OK {
        return Ok(body);
    }
    Err(refusal(Failure::of_engine(status.as_u16(), &body, None)))
}

async fn collected(response: Response) -> Result<Bytes, ApiError> {
    axum::body::to_bytes(response.into_body(), ANSWER_LIMIT).await.map_err(|error| {
        ApiError::new(StatusCode::BAD_GATEWAY, "upstream_failed", "the engine broke off before its answer was whole")
            .with_source(error)
    })
}

/// A failure on its way to the dialect that renders it.
pub(super) fn refusal(failure: Failure) -> ApiError {
    let status = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    ApiError::new(status, "upstream_refused", failure.message)
}

/// Renders a failure as Anthropic does.
pub(crate) fn anthropic(error: &ApiError, id: &str) -> Response {
    let failure = Failure::of_status(error.status().as_u16(), error.message());
    let status = StatusCode::from_u16(failure.status).unwrap_or(error.status());
    (status, [(REQUEST_ID, id)], Json(failure.body(Some(id)))).into_response()
}
