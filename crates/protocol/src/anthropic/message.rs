//! `POST /v1/messages`: what is answered.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The signature of thinking that a local engine did. Anthropic signs its own and refuses others': whoever forwards a
/// conversation there must take blocks with this signature out.
pub const LOCAL_SIGNATURE: &str = "remora-local";

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Message {
    /// `msg_…`.
    pub id: String,
    /// `message`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `assistant`.
    pub role: String,
    /// The model, as the client asked for it.
    pub model: String,
    /// The answer.
    pub content: Vec<OutputBlock>,
    /// Why it ended.
    pub stop_reason: Option<StopReason>,
    /// The text of `stop_sequences` that ended it.
    pub stop_sequence: Option<String>,
    /// How many tokens it took.
    pub usage: MessageUsage,
}

/// One block of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutputBlock {
    /// The model's thinking.
    Thinking {
        /// In plain words.
        thinking: String,
        /// [`LOCAL_SIGNATURE`].
        signature: String,
    },
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// A call of a tool.
    ToolUse {
        /// Ties the result to the call.
        id: String,
        /// The tool.
        name: String,
        /// Its arguments. Under the one key `INVALID_JSON` stands what the model wrote where that is no object.
        #[schema(value_type = Object)]
        input: Map<String, Value>,
    },
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model was done.
    EndTurn,
    /// The limit on tokens, or the end of the context.
    MaxTokens,
    /// A text of `stop_sequences`.
    StopSequence,
    /// The model called tools.
    ToolUse,
    /// The engine withheld the answer.
    Refusal,
}

impl StopReason {
    /// As it stands on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EndTurn => "end_turn",
            Self::MaxTokens => "max_tokens",
            Self::StopSequence => "stop_sequence",
            Self::ToolUse => "tool_use",
            Self::Refusal => "refusal",
        }
    }
}

/// How many tokens an answer took. The whole prompt is the sum of the three `input` counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessageUsage {
    /// Tokens of the prompt that were not in the cache.
    pub input_tokens: u64,
    /// Tokens written to the cache: always 0, engines do not tell.
    pub cache_creation_input_tokens: u64,
    /// Tokens of the prompt that were in the cache.
    pub cache_read_input_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
}

impl MessageUsage {
    /// The usage of a prompt of which `cached` tokens were known, and an answer.
    #[must_use]
    pub fn new(prompt_tokens: u64, cached: u64, output_tokens: u64) -> Self {
        let cached = cached.min(prompt_tokens);
        Self {
            input_tokens: prompt_tokens - cached,
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: cached,
            output_tokens,
        }
    }
}
