//! `POST /v1/chat/completions`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use remora_protocol::openai::{
    ChatChoice, ChatChunk, ChatChunkChoice, ChatCompletion, ChatDelta, ChatRequest, ErrorBody,
};
use remora_service::ApiError;

use super::answer::{Envelope, Telling, TokenFields, UsageTelling, Whole, answers, number};
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
    let times = answers(&request.sampling);
    let PreparedChat { generate, reading, echo } = {
        let (loaded, parser) = (loaded.clone(), state.tool_parser);
        blocking(move || prepare_chat(&request, parser, &loaded)).await?
    };
    let prompts = vec![generate];
    let telling = Telling::new(loaded, &prompts, times, fields).with_options(options);
    let envelope = Envelope::new("chatcmpl-", &headers, &target.name);
    let generation = state.engine.submit(target.aim(prompts, times))?;
    if streams {
        return Ok(respond(generation, ChatStream::new(envelope, telling, reading, echo)));
    }
    let wholes = Whole::all(generation, times).await?;
    Ok(Json(completion(envelope, &telling, reading, &echo, wholes)).into_response())
}

fn completion(
    envelope: Envelope,
    telling: &Telling,
    reading: Reading,
    echo: &str,
    wholes: Vec<Whole>,
) -> ChatCompletion {
    let usage = telling.whole_usage(wholes.iter().map(Whole::len).sum());
    let choice = |(index, whole): (usize, Whole)| {
        let ids = telling.token_ids.then(|| whole.ids());
        let (mut message, finish_reason) = reply(whole.text, reading, whole.finish.reason);
        if !echo.is_empty() {
            message.content = Some(format!("{echo}{}", message.content.unwrap_or_default()));
        }
        ChatChoice {
            index: number(index),
            logprobs: logprobs::chat(telling, &whole.tokens),
            finish_reason: Some(finish_reason),
            stop_reason: whole.finish.stop,
            token_ids: ids,
            routed_experts: None,
            message,
        }
    };
    ChatCompletion {
        id: envelope.id,
        object: "chat.completion".to_owned(),
        created: envelope.created,
        model: envelope.model,
        choices: wholes.into_iter().enumerate().map(choice).collect(),
        service_tier: None,
        system_fingerprint: Some(envelope.fingerprint),
        usage,
        prompt_logprobs: None,
        prompt_token_ids: telling.prompt_ids(0),
        prompt_text: None,
        kv_transfer_params: None,
        ec_transfer_params: None,
        metrics: None,
    }
}

/// Chat answers in chunks.
struct ChatStream {
    envelope: Envelope,
    telling: Telling,
    /// The answers, and how many tokens each has.
    replies: Vec<(ReplyStream, u32)>,
    begun: bool,
    /// Told before the answers.
    echo: String,
}

impl ChatStream {
    fn new(envelope: Envelope, telling: Telling, reading: Reading, echo: String) -> Self {
        let replies = (0..telling.answers()).map(|_| (ReplyStream::new(reading), 0)).collect();
        Self { envelope, telling, replies, begun: false, echo }
    }

    /// A chunk that adds this to an answer.
    fn chunk(&self, answer: usize, choice: ChatChunkChoice) -> ChatChunk {
        let always = self.telling.usage == UsageTelling::Always;
        let usage = always.then(|| self.telling.usage_of(answer, self.replies[answer].1).into());
        ChatChunk { usage, ..self.bare(vec![ChatChunkChoice { index: number(answer), ..choice }]) }
    }

    fn bare(&self, choices: Vec<ChatChunkChoice>) -> ChatChunk {
        ChatChunk {
            id: self.envelope.id.clone(),
            object: "chat.completion.chunk".to_owned(),
            created: self.envelope.created,
            model: self.envelope.model.clone(),
            choices,
            usage: None,
            system_fingerprint: None,
            prompt_token_ids: None,
            prompt_text: None,
        }
    }

    /// The chunk that says who speaks.
    fn opening(&self, answer: usize) -> ChatChunk {
        let (role, content) = (Some("assistant".to_owned()), Some(String::new()));
        let choice = choice(ChatDelta { role, content, ..ChatDelta::default() });
        ChatChunk {
            prompt_token_ids: Some(self.telling.prompt_ids(answer)),
            prompt_text: Some(None),
            ..self.chunk(answer, choice)
        }
    }

    /// What comes before the first token of any answer.
    fn begin(&mut self, events: &mut Events) {
        self.begun = true;
        for answer in 0..self.replies.len() {
            events.push(&self.opening(answer));
        }
        for answer in (0..self.replies.len()).filter(|_| !self.echo.is_empty()) {
            let delta = ChatDelta { content: Some(self.echo.clone()), ..ChatDelta::default() };
            events.push(&self.chunk(answer, choice(delta)));
        }
    }
}

impl Chunks for ChatStream {
    fn step(&mut self, answer: usize, Delta { text, token, finish }: Delta, events: &mut Events) {
        if !self.begun {
            self.begin(events);
        }
        let (reply, generated) = &mut self.replies[answer];
        *generated += 1;
        if text.is_empty() && finish.is_none() && !self.telling.tells_tokens() {
            return;
        }
        let (mut deltas, finish_reason) = reply.add(text, finish.as_ref().map(|finish| finish.reason));
        if deltas.is_empty() && finish.is_none() && !self.telling.tells_tokens() {
            return;
        }
        // A token may add several things: it is told with the last of them.
        let delta = deltas.pop().unwrap_or_default();
        for delta in deltas {
            events.push(&self.chunk(answer, ChatChunkChoice { token_ids: Some(None), ..choice(delta) }));
        }
        let tokens: &[GeneratedToken] = &[token];
        let choice = ChatChunkChoice {
            logprobs: logprobs::chat(&self.telling, tokens),
            finish_reason,
            token_ids: Some(self.telling.token_ids.then(|| tokens.iter().map(|token| token.id).collect())),
            stop_reason: finish.as_ref().map(|finish| finish.stop.clone()),
            ..choice(delta)
        };
        // An answer's true last chunk carries the fingerprint: this one, unless usage follows.
        let last = finish.is_some() && self.telling.usage == UsageTelling::Never;
        let fingerprint = last.then(|| self.envelope.fingerprint.clone());
        events.push(&ChatChunk { system_fingerprint: fingerprint, ..self.chunk(answer, choice) });
    }

    fn end(&mut self, events: &mut Events) {
        if self.telling.usage != UsageTelling::Never {
            let generated = self.replies.iter().map(|(_, generated)| generated).sum();
            events.push(&ChatChunk {
                usage: Some(self.telling.whole_usage(generated).into()),
                system_fingerprint: Some(self.envelope.fingerprint.clone()),
                ..self.bare(Vec::new())
            });
        }
    }
}

/// A chunk's only choice, that of the first answer, without more than what it adds.
fn choice(delta: ChatDelta) -> ChatChunkChoice {
    ChatChunkChoice { index: 0, delta, logprobs: None, finish_reason: None, stop_reason: None, token_ids: None }
}
