//! `POST /v1/completions`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use remora_protocol::openai::{
    Completion, CompletionChoice, CompletionChunk, CompletionChunkChoice, CompletionRequest, ErrorBody,
};
use remora_service::ApiError;

use super::answer::{Envelope, Telling, TokenFields, UsageTelling, Whole};
use super::extract::{VllmJson, blocking};
use super::logprobs;
use super::state::ApiState;
use super::stream::{Chunks, Events, respond};
use crate::request::prepare_completion;
use crate::scheduler::{Delta, GeneratedToken};

/// Continues a text. With `stream`, an event stream of `CompletionChunk`s that ends with `data: [DONE]`.
#[utoipa::path(post, path = "/v1/completions", tag = "generation", request_body = CompletionRequest,
    responses((status = 200, body = Completion), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 429, body = ErrorBody), (status = 500, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(super) async fn completions(
    State(state): State<ApiState>,
    headers: HeaderMap,
    VllmJson(request): VllmJson<CompletionRequest>,
) -> Result<Response, ApiError> {
    let loaded = state.loaded()?;
    let target = state.target(request.model.as_deref())?;
    let (streams, options) = (request.stream == Some(true), request.stream_options);
    let fields = TokenFields::from(&request.sampling);
    let generate = {
        let loaded = loaded.clone();
        blocking(move || prepare_completion(&request, &loaded)).await?
    };
    let telling = Telling::new(loaded, &generate, fields);
    let envelope = Envelope::new("cmpl-", &headers, &target.name);
    let generation = state.engine.submit(target.aim(generate))?;
    if streams {
        return Ok(respond(generation, CompletionStream::new(envelope, telling.with_options(options))));
    }
    let whole = Whole::of(generation).await?;
    Ok(Json(completion(envelope, &telling, whole)).into_response())
}

fn completion(envelope: Envelope, telling: &Telling, whole: Whole) -> Completion {
    let usage = telling.usage_of(whole.len());
    let choice = CompletionChoice {
        index: 0,
        logprobs: logprobs::completion(telling, &whole.tokens, &mut 0),
        finish_reason: Some(whole.finish.reason),
        stop_reason: whole.finish.stop.clone(),
        token_ids: telling.token_ids.then(|| whole.ids()),
        prompt_logprobs: None,
        prompt_token_ids: telling.prompt_ids.clone(),
        routed_experts: None,
        text: whole.text,
    };
    Completion {
        id: envelope.id,
        object: "text_completion".to_owned(),
        created: envelope.created,
        model: envelope.model,
        choices: vec![choice],
        service_tier: None,
        system_fingerprint: Some(envelope.fingerprint),
        usage,
        kv_transfer_params: None,
        ec_transfer_params: None,
        metrics: None,
    }
}

/// A completion in chunks.
struct CompletionStream {
    envelope: Envelope,
    telling: Telling,
    generated: u32,
    /// Where the next token begins, in characters.
    offset: usize,
}

impl CompletionStream {
    fn new(envelope: Envelope, telling: Telling) -> Self {
        Self { envelope, telling, generated: 0, offset: 0 }
    }

    fn chunk(&self, choices: Vec<CompletionChunkChoice>) -> CompletionChunk {
        let always = self.telling.usage == UsageTelling::Always;
        let usage = always.then(|| self.telling.usage_of(self.generated).into());
        CompletionChunk {
            id: self.envelope.id.clone(),
            object: "text_completion".to_owned(),
            created: self.envelope.created,
            model: self.envelope.model.clone(),
            choices,
            usage,
            system_fingerprint: None,
        }
    }
}

impl Chunks for CompletionStream {
    fn step(&mut self, Delta { text, token, finish }: Delta, events: &mut Events) {
        let first = self.generated == 0;
        self.generated += 1;
        if text.is_empty() && finish.is_none() && !self.telling.tells_tokens() {
            return;
        }
        let tokens: &[GeneratedToken] = &[token];
        let choice = CompletionChunkChoice {
            index: 0,
            text,
            logprobs: logprobs::completion(&self.telling, tokens, &mut self.offset),
            finish_reason: finish.as_ref().map(|finish| finish.reason),
            stop_reason: finish.as_ref().and_then(|finish| finish.stop.clone()),
            prompt_token_ids: self.telling.prompt_ids.clone().filter(|_| first),
            token_ids: self.telling.token_ids.then(|| tokens.iter().map(|token| token.id).collect()),
        };
        // The true last chunk carries the fingerprint: this one, unless usage follows.
        let last = finish.is_some() && self.telling.usage == UsageTelling::Never;
        let fingerprint = last.then(|| self.envelope.fingerprint.clone());
        events.push(&CompletionChunk { system_fingerprint: fingerprint, ..self.chunk(vec![choice]) });
    }

    fn end(&mut self, events: &mut Events) {
        if self.telling.usage != UsageTelling::Never {
            events.push(&CompletionChunk {
                usage: Some(self.telling.usage_of(self.generated).into()),
                system_fingerprint: Some(self.envelope.fingerprint.clone()),
                ..self.chunk(Vec::new())
            });
        }
    }
}
