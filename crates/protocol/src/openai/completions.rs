//! `POST /v1/completions`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    CompletionLogprobs, FinishReason, RequestBody, SamplingFields, StopReason, StreamOptions, StreamUsage, Usage,
};

/// A text to be continued. Unknown fields are accepted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CompletionRequest {
    /// The model; a server that serves one may be asked without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The text, or its tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Prompt>,
    /// Answers as an event stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// What the stream tells beside its tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
    /// Most tokens to generate. Default 16; 0 with `echo` gives the prompt alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<i64>,
    /// Returns log probabilities, with this many candidates per token; at most 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<i64>,
    /// Begins a text prompt with the tokenizer's own special tokens. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_special_tokens: Option<bool>,
    /// Repeats the prompt before the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo: Option<bool>,
    /// Chooses among this many answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_of: Option<i64>,
    /// Text that follows the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
    /// The prompt as embeddings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub prompt_embeds: Option<Value>,
    /// How tokens are chosen.
    #[serde(flatten)]
    pub sampling: SamplingFields,
}

impl RequestBody for CompletionRequest {
    type Inlined = SamplingFields;
}

/// The four forms of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Prompt {
    /// A text.
    Text(String),
    /// Its tokens.
    Tokens(Vec<i64>),
    /// Several texts.
    Texts(Vec<String>),
    /// Several lists of tokens.
    TokenLists(Vec<Vec<i64>>),
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Completion {
    /// `cmpl-…`.
    pub id: String,
    /// `text_completion`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model's first served name.
    pub model: String,
    /// As many as `n` says, for each prompt in turn.
    pub choices: Vec<CompletionChoice>,
    /// Always null.
    #[serde(default)]
    pub service_tier: Option<String>,
    /// The engine and its version.
    #[serde(default)]
    pub system_fingerprint: Option<String>,
    /// How many tokens it took.
    pub usage: Usage,
    /// Always null.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub kv_transfer_params: Option<Value>,
    /// Always null.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub ec_transfer_params: Option<Value>,
    /// Always null.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub metrics: Option<Value>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CompletionChoice {
    /// The answer's place, from 0.
    pub index: u32,
    /// The text.
    pub text: String,
    /// With `logprobs`.
    pub logprobs: Option<CompletionLogprobs>,
    /// Why it ended.
    pub finish_reason: Option<FinishReason>,
    /// The stop that ended it.
    #[serde(default)]
    pub stop_reason: Option<StopReason>,
    /// With `return_token_ids`.
    #[serde(default)]
    pub token_ids: Option<Vec<u32>>,
    /// Always null.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    pub prompt_logprobs: Option<Vec<Value>>,
    /// With `return_token_ids`.
    #[serde(default)]
    pub prompt_token_ids: Option<Vec<u32>>,
    /// Always null.
    #[serde(default)]
    pub routed_experts: Option<String>,
}

/// One event of a streamed answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CompletionChunk {
    /// `cmpl-…`, the same in every chunk.
    pub id: String,
    /// `text_completion`.
    pub object: String,
    /// Seconds since 1970, the same in every chunk.
    pub created: u64,
    /// The model's first served name.
    pub model: String,
    /// One choice, or, in the usage chunk, none.
    pub choices: Vec<CompletionChunkChoice>,
    /// With `stream_options`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<StreamUsage>,
    /// On the last chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_fingerprint: Option<String>,
}

/// What a chunk adds to the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CompletionChunkChoice {
    /// The answer's place, from 0.
    pub index: u32,
    /// Further text.
    pub text: String,
    /// With `logprobs`.
    pub logprobs: Option<CompletionLogprobs>,
    /// Set on the last chunk.
    pub finish_reason: Option<FinishReason>,
    /// On the last chunk.
    #[serde(default)]
    pub stop_reason: Option<StopReason>,
    /// On the first chunk, with `return_token_ids`.
    #[serde(default)]
    pub prompt_token_ids: Option<Vec<u32>>,
    /// With `return_token_ids`.
    #[serde(default)]
    pub token_ids: Option<Vec<u32>>,
}
