//! `POST /v1/messages`: what is asked.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, Visitor};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::content::Content;
use super::error::Failure;
use crate::openai::{RequestBody, parse_body};

/// A conversation to be continued. Unknown fields are accepted; `cache_control` is ignored wherever it stands.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub struct MessagesRequest {
    /// The model.
    pub model: String,
    /// Most tokens to generate.
    pub max_tokens: i64,
    /// The history, oldest first.
    pub messages: Vec<InputMessage>,
    /// Instructions that stand before the conversation; a string or text blocks.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub system: Option<Content>,
    /// Texts that end the answer; they are not part of it.
    #[serde(default)]
    pub stop_sequences: Option<Vec<String>>,
    /// Answers as an event stream.
    #[serde(default)]
    pub stream: Option<bool>,
    /// 0 to 1; 0 always takes the likeliest token.
    #[serde(default)]
    pub temperature: Option<f64>,
    /// Keeps the likeliest tokens that together reach this probability.
    #[serde(default)]
    pub top_p: Option<f64>,
    /// Keeps this many of the likeliest tokens.
    #[serde(default)]
    pub top_k: Option<i64>,
    /// Tools that the model may call.
    #[serde(default)]
    pub tools: Option<Vec<Tool>>,
    /// Which tools must be called.
    #[serde(default)]
    pub tool_choice: Option<ToolChoice>,
    /// Whether the model thinks before it answers.
    #[serde(default)]
    pub thinking: Option<Thinking>,
    /// How much effort to take, and the form that the answer must have.
    #[serde(default)]
    pub output_config: Option<OutputConfig>,
    /// The form under its older name.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub output_format: Option<Value>,
    /// Whom the request is for; not passed on.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Value>,
    /// vLLM's own: further variables for the chat template.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub chat_template_kwargs: Option<Map<String, Value>>,
}

impl RequestBody for MessagesRequest {
    type Inlined = IgnoredAny;
}

impl MessagesRequest {
    /// Reads a body. The failure is a 400 that says where the body is wrong: `messages.0.role: Field required`.
    pub fn parse(body: &[u8]) -> Result<Self, Failure> {
        parse_body(body).map_err(|error| Failure::of_body(&error))
    }

    /// Whether the client asked to see the model think.
    #[must_use]
    pub fn wants_thinking(&self) -> bool {
        self.thinking.as_ref().is_some_and(Thinking::is_on)
    }
}

/// One turn.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub struct InputMessage {
    /// Whose turn it is.
    #[schema(value_type = String)]
    pub role: Role,
    /// A string or content blocks.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub content: Content,
}

/// Whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// `user`.
    User,
    /// `assistant`.
    Assistant,
    /// `system` or `developer`: instructions in the middle of a conversation.
    System,
    /// Anything else.
    Other(String),
}

impl<'de> Deserialize<'de> for Role {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RoleVisitor;

        impl Visitor<'_> for RoleVisitor {
            type Value = Role;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a role")
            }

            fn visit_str<E: Error>(self, role: &str) -> Result<Role, E> {
                Ok(match role {
                    "user" => Role::User,
                    "assistant" => Role::Assistant,
                    "system" | "developer" => Role::System,
                    other => Role::Other(other.to_owned()),
                })
            }
        }

        deserializer.deserialize_str(RoleVisitor)
    }
}

/// A tool. One with a schema is the client's own, whatever its type; one without runs on Anthropic's servers, or is
/// one whose schema only Claude knows.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[schema(as = AnthropicTool)]
pub struct Tool {
    /// Absent or `custom` for the client's own tools.
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    /// What it does and when to use it.
    #[serde(default)]
    pub description: Option<String>,
    /// JSON schema of its arguments.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub input_schema: Option<Map<String, Value>>,
    /// Whether arguments must follow the schema to the letter.
    #[serde(default)]
    pub strict: Option<bool>,
}

/// Which tools must be called.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = AnthropicToolChoice)]
pub struct ToolChoice {
    /// `auto`, `any`, `tool` or `none`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The tool, with `tool`.
    #[serde(default)]
    pub name: Option<String>,
    /// At most one call.
    #[serde(default)]
    pub disable_parallel_tool_use: Option<bool>,
}

/// Whether the model thinks before it answers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
pub struct Thinking {
    /// `enabled`, `adaptive` or `disabled`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Most tokens to think with; engines know no such limit.
    #[serde(default)]
    pub budget_tokens: Option<i64>,
}

impl Thinking {
    /// Whether it does.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.kind != "disabled"
    }
}

/// How much effort to take, and the form that the answer must have.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, ToSchema)]
#[serde(default)]
pub struct OutputConfig {
    /// `low` to `max`.
    pub effort: Option<String>,
    /// `{"type": "json_schema", "schema": {…}}`.
    #[schema(value_type = Option<Object>)]
    pub format: Option<Value>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anthropic::ErrorKind;

    fn refusal(body: &str) -> String {
        let failure = MessagesRequest::parse(body.as_bytes()).unwrap_err();
        assert_eq!((failure.status, failure.kind), (400, ErrorKind::InvalidRequest));
        failure.message
    }

    #[test]
    fn everything_that_new_clients_send_is_accepted() {
        let body = r#"{
            "model": "m", "max_tokens": 5, "stream": true, "thinking": {"type": "adaptive", "display": "omitted"},
            "context_management": {"edits": []}, "output_config": {"effort": "high", "wibble": 1},
            "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
            "tools": [{"name": "t", "input_schema": {}, "strict": true, "defer_loading": true, "eager_input_streaming": true},
                      {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}, {"type": "mcp_toolset"}],
            "tool_choice": {"type": "auto", "novel": 1}, "metadata": {"user_id": "u"}, "betas": ["x"],
            "messages": [{"role": "user", "content": [{"type": "tool_reference", "tool_name": "t"}, {"type": "novel"}]},
                         {"role": "system", "content": "now"}, {"role": "ctx", "content": null}]}"#;
        let request = MessagesRequest::parse(body.as_bytes()).unwrap();
        assert_eq!(request.messages.len(), 3);
        assert_eq!(request.messages[2].role, Role::Other("ctx".into()));
        assert!(request.wants_thinking());
    }

    #[test]
    fn a_fault_is_placed_as_anthropic_places_it() {
        assert_eq!(refusal(r#"{"model": "m", "messages": []}"#), "max_tokens: Field required");
        assert_eq!(
            refusal(r#"{"model": "m", "max_tokens": 1, "messages": [{"content": "a"}]}"#),
            "messages.0.role: Field required"
        );
        assert_eq!(
            refusal(r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":[{"type":"text"}]}]}"#),
            "messages.0.content.0.text: Field required"
        );
        let message = refusal(r#"{"model": "m", "max_tokens": 1, "messages": 5}"#);
        assert!(message.starts_with("messages: invalid type: integer `5`"), "{message}");
        assert!(refusal("{oops").starts_with("The request body is not valid JSON"));
        assert_eq!(refusal(""), "The request body is empty");
    }
}
