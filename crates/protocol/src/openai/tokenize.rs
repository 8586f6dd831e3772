//! vLLM's `POST /tokenize`, `POST /detokenize` and `GET /version`.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{ChatMessage, RequestBody};

/// A text or a conversation to be counted; `messages` decides which. Unknown fields are accepted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct TokenizeRequest {
    /// The model; a server that serves one may be asked without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// A text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// A conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<Vec<ChatMessage>>,
    /// Adds the tokenizer's own special tokens. Default true for a text, false for a conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_special_tokens: Option<bool>,
    /// Returns the tokens as text too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub return_token_strs: Option<bool>,
    /// Ends the prompt where the assistant's answer begins. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_generation_prompt: Option<bool>,
    /// Leaves the last message open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continue_final_message: Option<bool>,
    /// Tools for the chat template.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub tools: Option<Vec<Value>>,
    /// A template in the request; refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
    /// Further variables for the template.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub chat_template_kwargs: Option<Map<String, Value>>,
}

impl RequestBody for TokenizeRequest {
    type Inlined = IgnoredAny;
}

/// The tokens of a text or a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenizeResponse {
    /// How many.
    pub count: usize,
    /// Longest prompt and answer together, in tokens.
    pub max_model_len: u32,
    /// Their ids.
    pub tokens: Vec<u32>,
    /// With `return_token_strs`: each token as the vocabulary spells it.
    #[serde(default)]
    pub token_strs: Option<Vec<String>>,
}

/// Tokens to be made text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DetokenizeRequest {
    /// The model; a server that serves one may be asked without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Their ids.
    pub tokens: Vec<i64>,
}

impl RequestBody for DetokenizeRequest {
    type Inlined = IgnoredAny;
}

/// The text of tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DetokenizeResponse {
    /// The text.
    pub prompt: String,
}

/// `{"version": "…"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionResponse {
    /// The server's version.
    pub version: String,
}
