//! `POST /v1/chat/completions`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    ChatLogprobs, ChatMessage, FinishReason, RequestBody, SamplingFields, StopReason, StreamOptions, StreamUsage,
    ToolCall, ToolCallDelta, Usage,
};

/// A conversation to be continued. Unknown fields are accepted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatRequest {
    /// The model; a server that serves one may be asked without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The history, oldest first.
    pub messages: Vec<ChatMessage>,
    /// Answers as an event stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// What the stream tells beside its tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
    /// Most tokens to generate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_completion_tokens: Option<i64>,
    /// The same under its older name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<i64>,
    /// Whether to return log probabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<bool>,
    /// How many candidates per token; at most 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<i64>,
    /// Tools that the model may call, given to the chat template as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub tools: Option<Vec<Value>>,
    /// Which tools must be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// Whether several tools may be called at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// Whether thinking is told. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_reasoning: Option<bool>,
    /// How long to think, for templates that know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<String>,
    /// Ends the prompt where the assistant's answer begins. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_generation_prompt: Option<bool>,
    /// Goes on with the last message instead of beginning a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continue_final_message: Option<bool>,
    /// Adds the tokenizer's own special tokens to what the template wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_special_tokens: Option<bool>,
    /// Documents for templates that know them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub documents: Option<Vec<Value>>,
    /// A template in the request; refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
    /// Further variables for the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub chat_template_kwargs: Option<Map<String, Value>>,
    /// Repeats the last message, if it is the assistant's, before the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo: Option<bool>,
    /// How tokens are chosen.
    #[serde(flatten)]
    pub sampling: SamplingFields,
}

impl RequestBody for ChatRequest {
    type Inlined = SamplingFields;
}

/// Which tools must be called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum ToolChoice {
    /// `none`, `auto` or `required`.
    Mode(String),
    /// One function by name.
    #[schema(value_type = Object)]
    Named(Map<String, Value>),
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatCompletion {
    /// `chatcmpl-…`.
    pub id: String,
    /// `chat.completion`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model's first served name.
    pub model: String,
    /// As many as `n` says.
    pub choices: Vec<ChatChoice>,
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
    #[schema(value_type = Option<Vec<Object>>)]
    pub prompt_logprobs: Option<Vec<Value>>,
    /// With `return_token_ids`.
    #[serde(default)]
    pub prompt_token_ids: Option<Vec<u32>>,
    /// Always null.
    #[serde(default)]
    pub prompt_text: Option<String>,
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
pub struct ChatChoice {
    /// The answer's place, from 0.
    pub index: u32,
    /// The assistant's message.
    pub message: ChatReply,
    /// With `logprobs`.
    pub logprobs: Option<ChatLogprobs>,
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
    pub routed_experts: Option<String>,
}

/// The assistant's message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatReply {
    /// `assistant`.
    pub role: String,
    /// The text.
    pub content: Option<String>,
    /// Always null.
    #[serde(default)]
    pub refusal: Option<String>,
    /// Always null.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub annotations: Option<Value>,
    /// Always null.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub audio: Option<Value>,
    /// Always null.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub function_call: Option<Value>,
    /// Tools it called; absent when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Its thinking.
    #[serde(default)]
    pub reasoning: Option<String>,
    /// The same under its older name, which many clients read; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
}

/// One event of a streamed answer.
///
/// vLLM leaves out what a chunk does not speak of and sends null for what it speaks of but has not: the double
/// options say which (`None` is left out, `Some(None)` is null).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatChunk {
    /// `chatcmpl-…`, the same in every chunk.
    pub id: String,
    /// `chat.completion.chunk`.
    pub object: String,
    /// Seconds since 1970, the same in every chunk.
    pub created: u64,
    /// The model's first served name.
    pub model: String,
    /// One choice, or, in the usage chunk, none.
    pub choices: Vec<ChatChunkChoice>,
    /// With `stream_options`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<StreamUsage>,
    /// On the last chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_fingerprint: Option<String>,
    /// On the first chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Option<Vec<u32>>>,
    /// Null on the first chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_text: Option<Option<String>>,
}

/// What a chunk adds to the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatChunkChoice {
    /// The answer's place, from 0.
    pub index: u32,
    /// The addition.
    pub delta: ChatDelta,
    /// With `logprobs`.
    pub logprobs: Option<ChatLogprobs>,
    /// Set on the last chunk.
    pub finish_reason: Option<FinishReason>,
    /// On the last chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<Option<StopReason>>,
    /// On every chunk but the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Option<Vec<u32>>>,
}

/// An addition to the assistant's message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatDelta {
    /// `assistant`, on the first chunk only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Further text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Further thinking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// The same under its older name, which many clients read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Additions to calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCallDelta>,
}
