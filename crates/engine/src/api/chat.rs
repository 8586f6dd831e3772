//! `POST /v1/chat/completions`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use remora_protocol::openai::{
    ChatChoice, ChatChunk, ChatChunkChoice, ChatCompletion, ChatDelta, ChatRequest, ErrorBody,
};
use remora_service::ApiError;

use super::answer::{Envelope, Telling, TokenFields, UsageTelling, Whole};
use super::extract::{VllmJson, blocking};
use super::logprobs;
use super::reply::{ReplyStream, reply};
use super::state::ApiState;
use super::stream::{Chunks, Events, respond};
use crate::output::Reading;
use crate::request::{PreparedChat, prepare_chat};
use crate::scheduler::{Delta, GeneratedToken};

/// Continues a conversation. With `stream`, an event stream of `ChatChunk`s that ends with `data: [DONE]`.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "generation", request_body = ChatRequest,
    responses((status = 200, body = ChatCompletion), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 429, body = ErrorBody), (status = 500, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(super) async fn chat_completions(
    State(state): State<ApiState>,
    headers: HeaderMap,
    VllmJson(request): VllmJson<ChatRequest>,
) -> Result<Response, ApiError> {
    let loaded = state.loaded()?;
    let target = state.target(request.model.as_deref())?;
    let (streams, options) = (request.stream == Some(true), request.stream_options);
    let fields = TokenFields::from(&request.sampling);
    let PreparedChat { generate, reading } = {
        let (loaded, parser) = (loaded.clone(), state.tool_parser);
        blocking(move || prepare_chat(&request, parser, &loaded)).await?
    };
    let telling = Telling::new(loaded, &generate, fields);
    let envelope = Envelope::new("chatcmpl-", &headers, &target.name);
    let generation = state.engine.submit(target.aim(generate))?;
    if streams {
        return Ok(respond(generation, ChatStream::new(envelope, telling.with_options(options), reading)));
    }
    let whole = Whole::of(generation).await?;
    Ok(Json(completion(envelope, &telling, reading, whole)).into_response())
}

fn completion(envelope: Envelope, telling: &Telling, reading: Reading, whole: Whole) -> ChatCompletion {
    let (usage, ids) = (telling.usage_of(whole.len()), telling.token_ids.then(|| whole.ids()));
    let (message, finish_reason) = reply(whole.text, reading, whole.finish.reason);
    let choice = ChatChoice {
        index: 0,
        logprobs: logprobs::chat(telling, &whole.tokens),
        finish_reason: Some(finish_reason),
        stop_reason: whole.finish.stop,
        token_ids: ids,
        routed_experts: None,
        message,
    };
    ChatCompletion {
        id: envelope.id,
        object: "chat.completion".to_owned(),
        created: envelope.created,
        model: envelope.model,
        choices: vec![choice],
        service_tier: None,
        system_fingerprint: Some(envelope.fingerprint),
        usage,
        prompt_logprobs: None,
        prompt_token_ids: telling.prompt_ids.clone(),
        prompt_text: None,
        kv_transfer_params: None,
        ec_transfer_params: None,
        metrics: None,
    }
}

/// A chat answer in chunks.
struct ChatStream {
    envelope: Envelope,
    telling: Telling,
    reply: ReplyStream,
    begun: bool,
    generated: u32,
}

impl ChatStream {
    fn new(envelope: Envelope, telling: Telling, reading: Reading) -> Self {
        Self { envelope, telling, reply: ReplyStream::new(reading), begun: false, generated: 0 }
    }

    fn chunk(&self, choices: Vec<ChatChunkChoice>) -> ChatChunk {
        let always = self.telling.usage == UsageTelling::Always;
        let usage = always.then(|| self.telling.usage_of(self.generated).into());
        ChatChunk {
            id: self.envelope.id.clone(),
            object: "chat.completion.chunk".to_owned(),
            created: self.envelope.created,
            model: self.envelope.model.clone(),
            choices,
            usage,
            system_fingerprint: None,
            prompt_token_ids: None,
            prompt_text: None,
        }
    }

    /// The chunk that says who speaks.
    fn opening(&self) -> ChatChunk {
        let (role, content) = (Some("assistant".to_owned()), Some(String::new()));
        let choice = choice(ChatDelta { role, content, ..ChatDelta::default() });
        ChatChunk {
            prompt_token_ids: Some(self.telling.prompt_ids.clone()),
            prompt_text: Some(None),
            ..self.chunk(vec![choice])
        }
    }
}

impl Chunks for ChatStream {
    fn step(&mut self, Delta { text, token, finish }: Delta, events: &mut Events) {
        if !self.begun {
            self.begun = true;
            events.push(&self.opening());
        }
        self.generated += 1;
        if text.is_empty() && finish.is_none() && !self.telling.tells_tokens() {
            return;
        }
        let (mut deltas, finish_reason) = self.reply.add(text, finish.as_ref().map(|finish| finish.reason));
        if deltas.is_empty() && finish.is_none() && !self.telling.tells_tokens() {
            return;
        }
        // A token may add several things: it is told with the last of them.
        let delta = deltas.pop().unwrap_or_default();
        for delta in deltas {
            events.push(&self.chunk(vec![ChatChunkChoice { token_ids: Some(None), ..choice(delta) }]));
        }
        let tokens: &[GeneratedToken] = &[token];
        let choice = ChatChunkChoice {
            logprobs: logprobs::chat(&self.telling, tokens),
            finish_reason,
            token_ids: Some(self.telling.token_ids.then(|| tokens.iter().map(|token| token.id).collect())),
            stop_reason: finish.as_ref().map(|finish| finish.stop.clone()),
            ..choice(delta)
        };
        // The true last chunk carries the fingerprint: this one, unless usage follows.
        let last = finish.is_some() && self.telling.usage == UsageTelling::Never;
        let fingerprint = last.then(|| self.envelope.fingerprint.clone());
        events.push(&ChatChunk { system_fingerprint: fingerprint, ..self.chunk(vec![choice]) });
    }

    fn end(&mut self, events: &mut Events) {
        if self.telling.usage != UsageTelling::Never {
            events.push(&ChatChunk {
                usage: Some(self.telling.usage_of(self.generated).into()),
                system_fingerprint: Some(self.envelope.fingerprint.clone()),
                ..self.chunk(Vec::new())
            });
        }
    }
}

/// A chunk's only choice, without more than what it adds.
fn choice(delta: ChatDelta) -> ChatChunkChoice {
    ChatChunkChoice { index: 0, delta, logprobs: None, finish_reason: None, stop_reason: None, token_ids: None }
}
