//! What comes back.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{ResponsesReasoning, TextConfig};

/// A whole answer, or as much as there is of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Response {
    /// `resp_…`.
    pub id: String,
    /// Seconds since 1970.
    pub created_at: u64,
    /// `{"reason": "max_output_tokens"}` where the status is `incomplete`.
    #[schema(value_type = Option<Object>)]
    pub incomplete_details: Option<Value>,
    /// As asked.
    pub instructions: Option<String>,
    /// As asked.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// The model's first served name.
    pub model: String,
    /// `response`.
    pub object: String,
    /// What the model did, in order.
    pub output: Vec<OutputItem>,
    /// As asked.
    pub parallel_tool_calls: bool,
    /// As it was used.
    pub temperature: f64,
    /// As asked.
    #[schema(value_type = Object)]
    pub tool_choice: Value,
    /// As asked.
    #[schema(value_type = Vec<Object>)]
    pub tools: Vec<Value>,
    /// As it was used.
    pub top_p: f64,
    /// Always false.
    pub background: bool,
    /// As it was used.
    pub max_output_tokens: u32,
    /// As asked.
    pub max_tool_calls: Option<i64>,
    /// Always null.
    pub previous_response_id: Option<String>,
    /// Always null.
    #[schema(value_type = Option<Object>)]
    pub prompt: Option<Value>,
    /// As asked.
    pub reasoning: Option<ResponsesReasoning>,
    /// As asked, or `auto`.
    pub service_tier: String,
    /// How far it is.
    pub status: ResponseStatus,
    /// As asked.
    pub text: Option<TextConfig>,
    /// Always null.
    pub top_logprobs: Option<i64>,
    /// As asked, or `disabled`.
    pub truncation: String,
    /// How many tokens it took, once it is whole.
    pub usage: Option<ResponseUsage>,
    /// As asked.
    pub user: Option<String>,
    /// As it was used.
    pub presence_penalty: f64,
    /// As it was used.
    pub frequency_penalty: f64,
    /// Always null.
    #[schema(value_type = Option<Object>)]
    pub kv_transfer_params: Option<Value>,
    /// Always null.
    #[schema(value_type = Option<Object>)]
    pub ec_transfer_params: Option<Value>,
    /// Always null.
    #[schema(value_type = Option<Object>)]
    pub input_messages: Option<Value>,
    /// Always null.
    #[schema(value_type = Option<Object>)]
    pub output_messages: Option<Value>,
}

/// How far something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResponseStatus {
    /// It is being generated.
    InProgress,
    /// It is whole.
    Completed,
    /// It was cut off by the limit on tokens.
    Incomplete,
}

/// Something that the model did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutputItem {
    /// It thought.
    Reasoning {
        /// `rs_…`.
        id: String,
        /// Always empty.
        #[schema(value_type = Vec<Object>)]
        summary: Vec<Value>,
        /// The thinking.
        content: Option<Vec<ReasoningText>>,
        /// Always null.
        encrypted_content: Option<String>,
        /// How far it is; null in a whole answer.
        status: Option<ResponseStatus>,
    },
    /// It said something.
    Message {
        /// `msg_…`.
        id: String,
        /// The text, in one part; none while it begins.
        content: Vec<OutputText>,
        /// `assistant`.
        role: String,
        /// How far it is.
        status: ResponseStatus,
    },
    /// It calls a function.
    FunctionCall {
        /// `fc_…`.
        id: String,
        /// Ties the function's output to the call.
        call_id: String,
        /// The function.
        name: String,
        /// What it is given, as JSON text.
        arguments: String,
        /// Always null.
        namespace: Option<String>,
        /// How far it is.
        status: ResponseStatus,
    },
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OutputText {
    /// `output_text`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text.
    pub text: String,
    /// Always empty.
    #[schema(value_type = Vec<Object>)]
    pub annotations: Vec<Value>,
    /// None.
    #[schema(value_type = Option<Vec<Object>>)]
    pub logprobs: Option<Vec<Value>>,
}

impl OutputText {
    /// A part with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self { kind: "output_text".to_owned(), text: text.into(), annotations: Vec::new(), logprobs: None }
    }
}

/// A part of thinking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReasoningText {
    /// The text.
    pub text: String,
    /// `reasoning_text`.
    #[serde(rename = "type")]
    pub kind: String,
}

impl ReasoningText {
    /// A part with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), kind: "reasoning_text".to_owned() }
    }
}

/// How many tokens an answer took.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResponseUsage {
    /// Tokens of the prompt.
    pub input_tokens: u32,
    /// What part of them was already known.
    pub input_tokens_details: InputTokensDetails,
    /// Tokens of the answer.
    pub output_tokens: u32,
    /// What part of them was thinking.
    pub output_tokens_details: OutputTokensDetails,
    /// Both together.
    pub total_tokens: u32,
}

/// What part of a prompt was already known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InputTokensDetails {
    /// Tokens taken from the prefix cache.
    pub cached_tokens: u32,
    /// Always 0.
    pub cache_write_tokens: u32,
    /// Always empty.
    pub input_tokens_per_turn: Vec<u32>,
    /// Always empty.
    pub cached_tokens_per_turn: Vec<u32>,
}

/// What part of an answer was thinking.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OutputTokensDetails {
    /// Tokens of thinking.
    pub reasoning_tokens: u32,
    /// Always 0.
    pub tool_output_tokens: u32,
    /// Always empty.
    pub output_tokens_per_turn: Vec<u32>,
    /// Always empty.
    pub tool_output_tokens_per_turn: Vec<u32>,
}
