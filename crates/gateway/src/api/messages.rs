//! Anthropic's Messages API over engines that speak `OpenAI`'s chat.
//!
//! A request is translated, sent as a chat request, and its answer translated back piece by piece
//! ([`remora_protocol::anthropic`]). Refusals that are known before the first byte are real statuses in Anthropic's
//! words; from then on pings keep the client, and a failure is an `error` event.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::{Body as HttpBody, Frame};
use remora_protocol::anthropic::{
    Asked, ChatOptions, CountTokensRequest, CountTokensResponse, ErrorBody, Failure, InlineSystem, Message,
    MessageStream, MessagesRequest, answer,
};
use remora_service::{ApiError, Caller, RequestId, RequestSpan};
use serde_json::Value;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::inference::Question;
use crate::body::collect;
use crate::endpoint::Endpoint;
use crate::state::GatewayState;

/// Time between two pings; clients give up after some tens of seconds of silence.
const PING: Duration = Duration::from_secs(10);

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
    converse(state, id, request, false).await
}

/// The same, always streamed.
#[utoipa::path(post, path = "/v1/messages/stream", tag = "messages", request_body = Value,
    responses((status = 200, body = String, content_type = "text/event-stream"), (status = 400, body = ErrorBody)))]
pub(super) async fn stream(
    State(state): State<GatewayState>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    converse(state, id, request, true).await
}

/// How many tokens a message's prompt has, by the engine's own tokenizer and template.
#[utoipa::path(post, path = "/v1/messages/count_tokens", tag = "messages", request_body = Value,
    responses((status = 200, body = CountTokensResponse), (status = 400, body = ErrorBody)))]
pub(super) async fn count_tokens(
    State(state): State<GatewayState>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Json<CountTokensResponse>, ApiError> {
    let (head, body) = request.into_parts();
    let body = collect(&head.headers, body, state.body_limit()).await.map_err(super::error::IntoApi::into_api)?;
    let tokenize = CountTokensRequest::parse(&body).map_err(refusal)?.into_tokenize(&options()).value;
    let question = question(state, Endpoint::Tokenize, id, &head.extensions);
    let response = question.ask(encoded(&tokenize)).await?;
    let body = whole(response).await?;
    let counted: Value = serde_json::from_slice(&body).map_err(ApiError::internal)?;
    let missing = || ApiError::internal("the engine's answer to /tokenize holds no count");
    Ok(Json(CountTokensResponse { input_tokens: counted["count"].as_u64().ok_or_else(missing)? }))
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
    let body = collect(&head.headers, body, state.body_limit()).await.map_err(super::error::IntoApi::into_api)?;
    let mut request = MessagesRequest::parse(&body).map_err(refusal)?;
    if always_streams {
        request.stream = Some(true);
    }
    let streams = request.stream == Some(true);
    let asked = Asked::of(&request, format!("msg_{}", id.as_str()));
    let chat = encoded(&request.into_chat(&options()).value);
    let question = question(state, Endpoint::ChatCompletions, id, &head.extensions);
    if !streams {
        let body = whole(question.ask(chat).await?).await?;
        let message = answer(&body, asked).map_err(|error| refusal(error.into()))?;
        return Ok(Json(message.value).into_response());
    }
    let mut asking: BoxFuture<'static, _> = Box::pin(question.ask(chat));
    let source = match tokio::time::timeout(SILENT, &mut asking).await {
        Ok(response) => {
            let response = response?;
            if response.status() != StatusCode::OK {
                return whole(response).await.map(IntoResponse::into_response);
            }
            Source::Answer(response.into_body())
        }
        Err(_) => Source::Asking(asking),
    };
    let mut pings = tokio::time::interval_at(Instant::now() + PING, PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let events = Events { source, stream: MessageStream::new(asked), pings, out: BytesMut::new() };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok((headers, Body::new(events)).into_response())
}

/// What holds for every engine.
fn options() -> ChatOptions {
    ChatOptions {
        drop_billing_line: true,
        // Hoisting would change the head of the prompt in the middle of a conversation, and lose the engine's cache.
        inline_system: InlineSystem::Fold,
        continuous_usage: true,
        ..ChatOptions::default()
    }
}

fn question(state: GatewayState, endpoint: Endpoint, id: RequestId, extensions: &http::Extensions) -> Question {
    // None of the client's headers are the engine's business: the request is the gateway's own.
    let (caller, span) = (extensions.get::<Caller>().cloned(), extensions.get::<RequestSpan>().cloned());
    Question { state, endpoint, id, headers: HeaderMap::new(), caller, span }
}

fn encoded(request: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(request).expect("a request is plain data").into()
}

/// A whole answer of the engine, or its refusal in Anthropic's words.
async fn whole(response: Response) -> Result<Bytes, ApiError> {
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), ANSWER_LIMIT).await.map_err(|error| {
        ApiError::new(StatusCode::BAD_GATEWAY, "upstream_failed", "the engine broke off before its answer was whole")
            .with_source(error)
    })?;
    if status == StatusCode::OK {
        return Ok(body);
    }
    Err(refusal(Failure::of_engine(status.as_u16(), &body, None)))
}

/// A failure on its way to the dialect that renders it.
fn refusal(failure: Failure) -> ApiError {
    let status = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    ApiError::new(status, "upstream_refused", failure.message)
}

/// Renders a failure as Anthropic does.
pub(crate) fn anthropic(error: &ApiError, id: &str) -> Response {
    let failure = Failure::of_status(error.status().as_u16(), error.message());
    let status = StatusCode::from_u16(failure.status).unwrap_or(error.status());
    (status, Json(failure.body(Some(id)))).into_response()
}

/// An answer as Anthropic's events.
struct Events {
    source: Source,
    stream: MessageStream,
    pings: Interval,
    out: BytesMut,
}

enum Source {
    Asking(BoxFuture<'static, Result<Response, ApiError>>),
    Refused(BoxFuture<'static, Result<Bytes, ApiError>>),
    Answer(Body),
    Over,
}

impl Events {
    /// What there is to send.
    fn take(&mut self) -> Option<Result<Frame<Bytes>, axum::Error>> {
        (!self.out.is_empty()).then(|| Ok(Frame::data(self.out.split().freeze())))
    }

    fn fail(&mut self, error: &ApiError) {
        self.source = Source::Over;
        self.stream.fail(&Failure::of_status(error.status().as_u16(), error.message()), &mut self.out);
    }

    /// Moves on by one step; ready when something may have been written.
    fn advance(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.source {
            Source::Asking(asking) => match ready!(asking.as_mut().poll(context)) {
                Ok(response) if response.status() == StatusCode::OK => {
                    self.source = Source::Answer(response.into_body());
                }
                Ok(response) => self.source = Source::Refused(Box::pin(whole(response))),
                Err(error) => self.fail(&error),
            },
            Source::Refused(refused) => match ready!(refused.as_mut().poll(context)) {
                Ok(_) => self.source = Source::Over,
                Err(error) => self.fail(&error),
            },
            Source::Answer(body) => match ready!(Pin::new(body).poll_frame(context)) {
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.stream.feed(bytes, &mut self.out);
                    }
                }
                Some(Err(error)) => {
                    let message = format!("the engine stopped answering: {error}");
                    self.fail(&ApiError::new(StatusCode::BAD_GATEWAY, "upstream_failed", message));
                }
                None => {
                    self.source = Source::Over;
                    self.stream.finish(&mut self.out);
                }
            },
            Source::Over => {}
        }
        Poll::Ready(())
    }
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        loop {
            if let Some(frame) = this.take() {
                return Poll::Ready(Some(frame));
            }
            if matches!(this.source, Source::Over) {
                return Poll::Ready(None);
            }
            if this.advance(context).is_pending() {
                ready!(this.pings.poll_tick(context));
                this.stream.ping(&mut this.out);
            }
        }
    }
}
