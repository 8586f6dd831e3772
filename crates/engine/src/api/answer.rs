//! What every answer of a request has in common.

use std::sync::Arc;

use http::HeaderMap;
use remora_protocol::openai::{PromptTokensDetails, SamplingFields, StreamOptions, Usage};

use crate::llama::Token;
use crate::scheduler::{
    CachedTokens, Delta, Finish, GenerateError, GenerateRequest, GeneratedToken, Generation, Loaded,
};

/// Id, time and model: the same in every chunk of an answer.
#[derive(Debug, Clone)]
pub(super) struct Envelope {
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) model: String,
    pub(super) fingerprint: String,
}

impl Envelope {
    /// A new answer's. Its id ends as the request's own does, if it brought one.
    pub(super) fn new(prefix: &str, headers: &HeaderMap, model: &str) -> Self {
        let own =
            headers.get("x-request-id").and_then(|id| id.to_str().ok()).filter(|id| (1..=128).contains(&id.len()));
        Self {
            id: own.map_or_else(|| random_id(prefix), |own| format!("{prefix}{own}")),
            created: unix_seconds(),
            model: model.to_owned(),
            fingerprint: format!("remora-{}", remora_service::VERSION),
        }
    }
}

/// What a request says about the ids of tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct TokenFields {
    ids: bool,
    as_ids: bool,
}

impl From<&SamplingFields> for TokenFields {
    fn from(fields: &SamplingFields) -> Self {
        let wanted = |field: Option<bool>| field == Some(true);
        Self { ids: wanted(fields.return_token_ids), as_ids: wanted(fields.return_tokens_as_token_ids) }
    }
}

/// When a stream tells its usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UsageTelling {
    /// Not at all.
    Never,
    /// In a last chunk of its own.
    AtEnd,
    /// With every chunk, and in a last one.
    Always,
}

/// How the client wants its answer told.
#[derive(Debug, Clone)]
pub(super) struct Telling {
    pub(super) loaded: Arc<Loaded>,
    /// Length of the prompt.
    pub(super) prompt_tokens: u32,
    /// How much of it was in memory.
    cached: CachedTokens,
    /// Its tokens, when the client wants them back.
    pub(super) prompt_ids: Option<Vec<Token>>,
    pub(super) usage: UsageTelling,
    /// With log probabilities.
    pub(super) logprobs: bool,
    /// With the ids of the answer.
    pub(super) token_ids: bool,
    /// With `token_id:N` for tokens in log probabilities.
    pub(super) tokens_as_ids: bool,
}

impl Telling {
    /// As this request asks, without a stream's options.
    pub(super) fn new(loaded: Arc<Loaded>, generate: &GenerateRequest, fields: TokenFields) -> Self {
        Self {
            loaded,
            prompt_tokens: u32::try_from(generate.prompt.len()).unwrap_or(u32::MAX),
            cached: generate.cached.clone(),
            prompt_ids: fields.ids.then(|| generate.prompt.clone()),
            usage: UsageTelling::Never,
            logprobs: generate.logprobs.is_some(),
            token_ids: fields.ids,
            tokens_as_ids: fields.as_ids,
        }
    }

    /// With a stream's options; usage with every chunk needs usage at the end too, as in vLLM.
    pub(super) fn with_options(self, options: Option<StreamOptions>) -> Self {
        let usage = match options {
            Some(StreamOptions { include_usage: Some(true), continuous_usage_stats: Some(true) }) => {
                UsageTelling::Always
            }
            Some(StreamOptions { include_usage: Some(true), .. }) => UsageTelling::AtEnd,
            _ => UsageTelling::Never,
        };
        Self { usage, ..self }
    }

    /// What the prompt and an answer of this length took. Nothing is said of cached tokens where there are none, as in
    /// a vLLM that was not asked to tell them.
    pub(super) fn usage_of(&self, generated: u32) -> Usage {
        let cached = Some(self.cached.get()).filter(|&cached| cached > 0);
        let details = cached.map(|cached| PromptTokensDetails { cached_tokens: Some(cached) });
        Usage { prompt_tokens_details: details, ..Usage::new(self.prompt_tokens, generated) }
    }

    /// Whether a step has something to tell even without text.
    pub(super) fn tells_tokens(&self) -> bool {
        self.logprobs || self.token_ids
    }
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) text: String,
    pub(super) tokens: Vec<GeneratedToken>,
    pub(super) finish: Finish,
}

impl Whole {
    /// Waits for the end of an answer.
    pub(super) async fn of(mut generation: Generation) -> Result<Self, GenerateError> {
        let (mut text, mut tokens) = (String::new(), Vec::new());
        while let Some(step) = generation.next().await {
            let Delta { text: more, token, finish } = step?;
            text.push_str(&more);
            tokens.push(token);
            if let Some(finish) = finish {
                return Ok(Self { text, tokens, finish });
            }
        }
        Err(GenerateError::Stopped)
    }

    /// How many tokens it has.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.tokens.len()).unwrap_or(u32::MAX)
    }

    /// Their ids.
    pub(super) fn ids(&self) -> Vec<Token> {
        self.tokens.iter().map(|token| token.id).collect()
    }
}

/// An id that nobody else has.
pub(super) fn random_id(prefix: &str) -> String {
    format!("{prefix}{:032x}", rand::random::<u128>())
}

/// Now.
pub(super) fn unix_seconds() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0)
}
