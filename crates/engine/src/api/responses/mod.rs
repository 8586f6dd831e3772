//! `POST /v1/responses`: a chat under another name. Nothing is stored, as by a vLLM that was not set up to.

mod items;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response as HttpResponse};
use remora_protocol::openai::{
    ErrorBody, FinishReason, InputTokensDetails, OutputTokensDetails, Response, ResponseEvent, ResponseEventKind,
    ResponseStatus, ResponseUsage, ResponsesRequest,
};
use remora_service::ApiError;
use serde_json::json;

use super::answer::{Telling, TokenFields, Whole, random_id, unix_seconds};
use super::error::stream_error;
use super::extract::{VllmJson, blocking};
use super::reply::{ReplyStream, reply};
use super::state::ApiState;
use super::stream::{Chunks, Events, respond};
use crate::request::{PreparedChat, prepare_response};
use crate::scheduler::{Delta, GenerateError, GenerateRequest};
use items::{Items, of_reply};

/// Answers an input. With `stream`, an event stream of `ResponseEvent`s that ends with `response.completed`.
#[utoipa::path(post, path = "/v1/responses", tag = "generation", request_body = ResponsesRequest,
    responses((status = 200, body = Response), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 429, body = ErrorBody), (status = 500, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(in super::super) async fn responses(
    State(state): State<ApiState>,
    VllmJson(request): VllmJson<ResponsesRequest>,
) -> Result<HttpResponse, ApiError> {
    let loaded = state.loaded()?;
    let target = state.target(request.model.as_deref())?;
    let (streams, request) = (request.stream == Some(true), Arc::new(request));
    let PreparedChat { generate, reading, .. } = {
        let (request, loaded, parser) = (request.clone(), loaded.clone(), state.tool_parser);
        blocking(move || prepare_response(&request, parser, &loaded)).await?
    };
    let prompts = vec![generate];
    let telling = Telling::new(loaded, &prompts, 1, TokenFields::from(&request.sampling));
    let response = begun(&request, &prompts[0], &target.name);
    let generation = state.engine.submit(target.aim(prompts, 1))?;
    if streams {
        return Ok(respond(generation, ResponseStream::new(response, telling, ReplyStream::new(reading))));
    }
    let mut wholes = Whole::all(generation, 1).await?;
    let whole = wholes.pop().ok_or(GenerateError::Stopped)?;
    let (generated, reason) = (whole.len(), whole.finish.reason);
    let (message, _) = reply(whole.text, reading, reason);
    let thinking = message.reasoning.clone().unwrap_or_default();
    let output = of_reply(message, status(reason));
    let usage = usage(&telling, generated, &thinking);
    let response = Response { output, ..ended(response, reason, usage) };
    Ok(Json(response).into_response())
}

/// An answer that has begun.
fn begun(request: &ResponsesRequest, generate: &GenerateRequest, model: &str) -> Response {
    let tools = request.tools.clone().unwrap_or_default();
    let sampling = &generate.sampling;
    Response {
        id: random_id("resp_"),
        created_at: unix_seconds(),
        incomplete_details: None,
        instructions: request.instructions.clone(),
        metadata: request.metadata.clone(),
        model: model.to_owned(),
        object: "response".to_owned(),
        output: Vec::new(),
        parallel_tool_calls: request.parallel_tool_calls.unwrap_or(true),
        temperature: decimal(sampling.temperature),
        tool_choice: request
            .tool_choice
            .clone()
            .filter(|choice| !choice.is_null() && !tools.is_empty())
            .unwrap_or_else(|| if tools.is_empty() { "none".into() } else { "auto".into() }),
        tools,
        top_p: decimal(sampling.top_p),
        background: false,
        max_output_tokens: generate.max_tokens,
        max_tool_calls: request.max_tool_calls,
        previous_response_id: None,
        prompt: None,
        reasoning: request.reasoning.clone(),
        service_tier: request.service_tier.clone().unwrap_or_else(|| "auto".to_owned()),
        status: ResponseStatus::InProgress,
        text: request.text.clone(),
        top_logprobs: None,
        truncation: request.truncation.clone().unwrap_or_else(|| "disabled".to_owned()),
        usage: None,
        user: request.user.clone(),
        presence_penalty: decimal(sampling.presence),
        frequency_penalty: decimal(sampling.frequency),
        kv_transfer_params: None,
        ec_transfer_params: None,
        input_messages: None,
        output_messages: None,
    }
}

/// The same, ended for this reason.
fn ended(response: Response, reason: FinishReason, usage: ResponseUsage) -> Response {
    let status = status(reason);
    let incomplete = status == ResponseStatus::Incomplete;
    Response {
        status,
        incomplete_details: incomplete.then(|| json!({"reason": "max_output_tokens"})),
        usage: Some(usage),
        ..response
    }
}

fn status(reason: FinishReason) -> ResponseStatus {
    match reason {
        FinishReason::Length => ResponseStatus::Incomplete,
        FinishReason::Stop | FinishReason::ToolCalls => ResponseStatus::Completed,
    }
}

/// What an answer of this length took; its thinking is counted anew, since tags are no part of it.
fn usage(telling: &Telling, generated: u32, thinking: &str) -> ResponseUsage {
    let usage = telling.whole_usage(generated);
    let cached = usage.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0);
    let thought = telling.loaded.model.tokenize(thinking, false).len();
    ResponseUsage {
        input_tokens: usage.prompt_tokens,
        input_tokens_details: InputTokensDetails { cached_tokens: cached, ..InputTokensDetails::default() },
        output_tokens: usage.completion_tokens,
        output_tokens_details: OutputTokensDetails {
            reasoning_tokens: u32::try_from(thought).unwrap_or(u32::MAX).min(generated),
            ..OutputTokensDetails::default()
        },
        total_tokens: usage.total_tokens,
    }
}

/// A number as it was written: 0.7 is not 0.699999988079071.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

/// An answer in events.
struct ResponseStream {
    response: Response,
    telling: Telling,
    reply: ReplyStream,
    items: Items,
    generated: u32,
    reason: FinishReason,
    sequence: u32,
}

impl ResponseStream {
    fn new(response: Response, telling: Telling, reply: ReplyStream) -> Self {
        let (items, reason) = (Items::default(), FinishReason::Stop);
        Self { response, telling, reply, items, generated: 0, reason, sequence: 0 }
    }

    fn push(&mut self, kind: ResponseEventKind, events: &mut Events) {
        let name = kind.name();
        events.push_named(name, &ResponseEvent { kind, sequence_number: self.sequence });
        self.sequence += 1;
    }
}

impl Chunks for ResponseStream {
    const LAST: &'static [u8] = b"";

    fn begin(&mut self, events: &mut Events) {
        let response = Box::new(self.response.clone());
        self.push(ResponseEventKind::Created { response: response.clone() }, events);
        self.push(ResponseEventKind::InProgress { response }, events);
    }

    fn step(&mut self, _: usize, Delta { text, finish, .. }: Delta, events: &mut Events) {
        self.generated += 1;
        let reason = finish.map(|finish| finish.reason);
        let (deltas, _) = self.reply.add(text, reason);
        let mut told = Vec::new();
        for delta in deltas {
            self.items.take(delta, &mut told);
        }
        if let Some(reason) = reason {
            self.reason = reason;
            self.items.close(status(reason), &mut told);
        }
        for kind in told {
            self.push(kind, events);
        }
    }

    fn end(&mut self, events: &mut Events) {
        let usage = usage(&self.telling, self.generated, &self.items.thinking());
        let output = self.items.output().to_vec();
        let response = Response { output, ..ended(self.response.clone(), self.reason, usage) };
        // What is not whole is completed too, as vLLM has it: the status tells.
        self.push(ResponseEventKind::Completed { response: Box::new(response) }, events);
    }

    fn fail(&mut self, error: &GenerateError, events: &mut Events) {
        let ErrorBody { error } = stream_error(error);
        let kind = ResponseEventKind::Error {
            code: "server_error".to_owned(),
            message: error.message.clone(),
            param: None,
            error: json!(error),
        };
        self.push(kind, events);
    }
}
