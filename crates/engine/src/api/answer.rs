//! What every answer of a request has in common.

use std::sync::Arc;

use http::HeaderMap;
use remora_protocol::openai::{PromptTokensDetails, SamplingFields, StreamOptions, Usage};

use crate::llama::Token;
use crate::scheduler::{CachedTokens, Finish, GenerateError, GenerateRequest, GeneratedToken, Generation, Loaded};

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
    /// The prompts, in order; each has as many answers as the others.
    prompts: Vec<PromptTelling>,
    /// How many answers each has.
    times: usize,
    pub(super) usage: UsageTelling,
    /// With log probabilities.
    pub(super) logprobs: bool,
    /// With the ids of the answer.
    pub(super) token_ids: bool,
    /// With `token_id:N` for tokens in log probabilities.
    pub(super) tokens_as_ids: bool,
}

/// What is told of a prompt.
#[derive(Debug, Clone)]
struct PromptTelling {
    tokens: u32,
    /// How much of it was in memory.
    cached: CachedTokens,
    /// Its tokens, when the client wants them back.
    ids: Option<Vec<Token>>,
}

impl PromptTelling {
    fn usage_of(&self, generated: u32) -> Usage {
        usage(self.tokens, generated, self.cached.get())
    }
}

impl Telling {
    /// As this request asks, without a stream's options: `times` answers to each of its prompts.
    pub(super) fn new(loaded: Arc<Loaded>, prompts: &[GenerateRequest], times: usize, fields: TokenFields) -> Self {
        let prompt = |generate: &GenerateRequest| PromptTelling {
            tokens: u32::try_from(generate.prompt.len()).unwrap_or(u32::MAX),
            cached: generate.cached.clone(),
            ids: fields.ids.then(|| generate.prompt.clone()),
        };
        Self {
            loaded,
            prompts: prompts.iter().map(prompt).collect(),
            times,
            usage: UsageTelling::Never,
            logprobs: prompts.iter().any(|generate| generate.logprobs.is_some()),
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

    /// How many answers there are.
    pub(super) fn answers(&self) -> usize {
        self.prompts.len() * self.times
    }

    /// The tokens of an answer's prompt, when the client wants them back.
    pub(super) fn prompt_ids(&self, answer: usize) -> Option<Vec<Token>> {
        self.prompt(answer)?.ids.clone()
    }

    /// What an answer of this length and its prompt took.
    pub(super) fn usage_of(&self, answer: usize, generated: u32) -> Usage {
        self.prompt(answer).map_or_else(Usage::default, |prompt| prompt.usage_of(generated))
    }

    /// What everything took; each prompt counts once, however many answers it has.
    pub(super) fn whole_usage(&self, generated: u32) -> Usage {
        let sum = |count: fn(&PromptTelling) -> u32| self.prompts.iter().map(count).fold(0, u32::saturating_add);
        usage(sum(|prompt| prompt.tokens), generated, sum(|prompt| prompt.cached.get()))
    }

    /// Which prompt an answer is to.
    pub(super) fn prompt_of(&self, answer: usize) -> usize {
        answer / self.times
    }

    fn prompt(&self, answer: usize) -> Option<&PromptTelling> {
        self.prompts.get(self.prompt_of(answer))
    }

    /// Whether a step has something to tell even without text.
    pub(super) fn tells_tokens(&self) -> bool {
        self.logprobs || self.token_ids
    }
}

/// Usage, which says nothing of cached tokens where there are none, as that of a vLLM that was not asked to tell them.
fn usage(prompt: u32, generated: u32, cached: u32) -> Usage {
    let details = (cached > 0).then_some(PromptTokensDetails { cached_tokens: Some(cached) });
    Usage { prompt_tokens_details: details, ..Usage::new(prompt, generated) }
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) text: String,
    pub(super) tokens: Vec<GeneratedToken>,
    pub(super) finish: Finish,
}

impl Whole {
    /// Waits for the ends of all answers.
    pub(super) async fn all(mut generation: Generation, answers: usize) -> Result<Vec<Self>, GenerateError> {
        let mut parts = vec![(String::new(), Vec::new(), None); answers];
        while let Some(step) = generation.next().await {
            let (answer, delta) = step?;
            let (text, tokens, finish) = &mut parts[answer];
            text.push_str(&delta.text);
            tokens.push(delta.token);
            *finish = delta.finish;
        }
        // Every answer has a last step: else there would be a failure.
        let whole = |(text, tokens, finish): (_, _, Option<Finish>)| Some(Self { text, tokens, finish: finish? });
        Ok(parts.into_iter().filter_map(whole).collect())
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

/// How many answers to each prompt are asked for; checked before any of it is used.
pub(super) fn answers(fields: &SamplingFields) -> usize {
    fields.n.and_then(|n| usize::try_from(n).ok()).unwrap_or(1)
}

/// An answer's place as it is told.
pub(super) fn number(answer: usize) -> u32 {
    u32::try_from(answer).unwrap_or(u32::MAX)
}

/// An id that nobody else has.
pub(super) fn random_id(prefix: &str) -> String {
    format!("{prefix}{:032x}", rand::random::<u128>())
}

/// Now.
pub(super) fn unix_seconds() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0)
}
