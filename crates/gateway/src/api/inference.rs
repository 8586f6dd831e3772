//! The paths that engines answer.
//!
//! All are alike: the body is collected, its `model` read, an engine chosen, and the bytes sent on. Answers come back
//! as the engine sends them.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use remora_protocol::openai;
use remora_service::{Allowance, ApiError, CallSpan, Caller, RequestId, RequestSpan};
use remora_types::ModelId;
use remora_types::error::ErrorBody;
use serde::Deserialize;
use utoipa::IntoResponses;

use super::error::Failure;
use super::meter::Meters;
use crate::body::{ModelField, Pieces, collect};
use crate::directory::Ticket;
use crate::endpoint::Endpoint;
use crate::hold::kept_alive;
use crate::state::GatewayState;
use crate::upstream::{EventTail, Forwarded, forward};

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
    /// The engine broke off before it answered.
    #[response(status = 502)]
    Failed(ErrorBody),
    /// The model's engine is not ready, or cannot be reached; `Retry-After` says when to try again.
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
    let caller = head.extensions.get::<Caller>().cloned();
    let span = head.extensions.get::<RequestSpan>().cloned();
    let asked = Question { state: state.clone(), endpoint, id: id.clone(), headers: head.headers, caller, span };
    match asked.first_answer(body).await {
        Ok(First::Answer(response)) => Ok(response),
        Ok(First::Wait(body, model, failure)) => {
            let streams = wants_stream(&body);
            let answer = Box::pin(async move { asked.held(body, model, failure).await });
            if streams {
                let farewell = move |error: &ApiError| EventTail::new(endpoint).farewell(error.code(), error.message());
                kept_alive(answer, farewell).await
            } else {
                answer.await
            }
        }
        Err(failure) => Err(asked.failed(failure)),
    }
}

/// A request whose body is read apart.
pub(super) struct Question {
    pub(super) state: GatewayState,
    pub(super) endpoint: Endpoint,
    pub(super) id: RequestId,
    /// The client's, of which engines see a few.
    pub(super) headers: HeaderMap,
    pub(super) caller: Option<Caller>,
    /// Where traces are sent.
    pub(super) span: Option<RequestSpan>,
}

/// What the first try brought.
enum First {
    Answer(Response),
    /// Nothing yet: no engine could take it, which may pass.
    Wait(Bytes, ModelField<'static>, Failure),
}

impl Question {
    /// Asks, and waits where that may help.
    pub(super) async fn ask(self, body: Bytes) -> Result<Response, ApiError> {
        match self.first_try(body).await {
            Ok(First::Answer(response)) => Ok(response),
            Ok(First::Wait(body, model, failure)) => self.held(body, model, failure).await,
            Err(failure) => Err(self.failed(failure)),
        }
    }

    async fn first_answer(&self, body: Body) -> Result<First, Failure> {
        self.first_try(collect(&self.headers, body, self.state.body_limit()).await?).await
    }

    async fn first_try(&self, body: Bytes) -> Result<First, Failure> {
        if let Some(allowance) = self.allowance() {
            allowance.has_tokens().map_err(Failure::OutOfTokens)?;
        }
        let model = ModelField::of(&body)?;
        match self.answer(&body, &model).await {
            Ok(response) => Ok(First::Answer(response)),
            Err(failure) if failure.may_pass() => {
                let model = model.into_owned();
                Ok(First::Wait(body, model, failure))
            }
            Err(failure) => Err(failure),
        }
    }

    /// One try.
    async fn answer(&self, body: &Bytes, model: &ModelField<'_>) -> Result<Response, Failure> {
        let ticket = self.state.directory().table().draw(model.name(), self.endpoint.capability(), &self.id)?;
        if let Some(caller) = &self.caller {
            permit(caller, model.name(), ticket.model())?;
        }
        // Engines know their models by their own names only.
        let real = ticket.model().as_str();
        let named = model.name() == Some(real);
        let body = if named { Pieces::whole(body.clone()) } else { model.replaced(body, real) };
        let length = body.len();
        let call = self.span.as_ref().map(|span| self.call(span, &ticket));
        let headers = match &call {
            Some(call) => Cow::Owned(with_trace(&self.headers, call)),
            None => Cow::Borrowed(&self.headers),
        };
        let request = Forwarded { endpoint: self.endpoint, headers: &headers, body, id: &self.id };
        let meters = self.meters(&ticket, length, call);
        let answer = forward(request, ticket, self.state.patience()).await?;
        Ok(match meters {
            Some(meters) => meters.follow(answer),
            None => answer,
        })
    }

    /// What an answer is counted with; none where nothing is generated.
    fn meters(&self, ticket: &Ticket, request_bytes: usize, call: Option<CallSpan>) -> Option<Meters> {
        if !self.endpoint.is_counted() {
            return None;
        }
        Some(Meters {
            account: self.state.usage().account(self.caller.as_ref()?.who(), ticket.model()),
            allowance: self.allowance().cloned(),
            pace: ticket.pace(),
            started: ticket.drawn(),
            request_bytes,
            call,
        })
    }

    /// The span of a call to an engine, with what OpenTelemetry calls these things.
    fn call(&self, span: &RequestSpan, ticket: &Ticket) -> CallSpan {
        let model = ticket.model().to_string();
        if let Some(caller) = &self.caller {
            span.set("enduser.id", caller.who().to_string());
        }
        let operation = self.endpoint.operation();
        let mut call = span.call(format!("{operation} {model}"));
        call.set("gen_ai.operation.name", operation);
        call.set("gen_ai.request.model", model);
        call.set("remora.engine", ticket.engine());
        call
    }

    /// Tries again whenever that may help, as long as requests may wait.
    async fn held(self, body: Bytes, model: ModelField<'static>, mut failure: Failure) -> Result<Response, ApiError> {
        let Some(mut place) = self.state.hold().enter() else { return Err(self.failed(failure)) };
        let mut changes = self.state.directory().changes();
        while failure.may_pass() {
            let change = async {
                // The sender lives as long as the directory.
                let _ = changes.changed().await;
            };
            if !place.wait(change).await {
                break;
            }
            match self.answer(&body, &model).await {
                Ok(response) => return Ok(response),
                Err(next) => failure = next,
            }
        }
        Err(self.failed(failure))
    }

    /// The allowance of the caller's key, where it counts tokens.
    fn allowance(&self) -> Option<&Arc<Allowance>> {
        self.caller.as_ref()?.allowance().filter(|allowance| allowance.counts_tokens())
    }

    /// The failure as the client gets it, counted.
    fn failed(&self, failure: Failure) -> ApiError {
        let refusal = failure.is_refusal();
        let error = ApiError::from(failure);
        if refusal {
            self.state.metrics().refused(error.code());
        }
        error
    }
}

/// The headers with the call's own trace context.
fn with_trace(headers: &HeaderMap, call: &CallSpan) -> HeaderMap {
    let mut headers = headers.clone();
    headers.insert("traceparent", call.traceparent());
    headers
}

/// Whether a body asks for a stream; asked only of requests that wait.
fn wants_stream(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Envelope {
        stream: Option<bool>,
    }
    serde_json::from_slice(body).is_ok_and(|envelope: Envelope| envelope.stream == Some(true))
}

/// Refuses a model that the caller's key does not name, neither as it was asked for nor by its own name.
fn permit(caller: &Caller, asked: Option<&str>, model: &ModelId) -> Result<(), Failure> {
    let by_alias = || asked.and_then(|name| name.parse().ok()).is_some_and(|name| caller.may_ask(&name));
    if caller.may_ask(model) || by_alias() {
        return Ok(());
    }
    Err(Failure::ModelNotAllowed { caller: caller.who().to_string(), model: model.clone() })
}
