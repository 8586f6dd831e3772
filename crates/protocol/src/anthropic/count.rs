//! `POST /v1/messages/count_tokens`.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::content::Content;
use super::error::Failure;
use super::note::{Note, Translated};
use super::request::{InputMessage, OutputConfig, Thinking, Tool};
use super::to_chat::{self, ChatOptions, Conversation};
use crate::openai::{MessageContent, RequestBody, TokenizeRequest, parse_body};

/// A conversation to be counted. Unknown fields are accepted, those of a Messages request among them.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub struct CountTokensRequest {
    /// The model.
    pub model: String,
    /// The history, oldest first.
    pub messages: Vec<InputMessage>,
    /// Instructions that stand before the conversation.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub system: Option<Content>,
    /// Tools that the model may call.
    #[serde(default)]
    pub tools: Option<Vec<Tool>>,
    /// Whether the model thinks before it answers.
    #[serde(default)]
    pub thinking: Option<Thinking>,
    /// How much effort to take; some templates write it into the prompt.
    #[serde(default)]
    pub output_config: Option<OutputConfig>,
    /// vLLM's own: further variables for the chat template.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub chat_template_kwargs: Option<Map<String, Value>>,
}

impl RequestBody for CountTokensRequest {
    type Inlined = IgnoredAny;
}

/// How long the conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CountTokensResponse {
    /// In tokens.
    pub input_tokens: u64,
}

impl CountTokensRequest {
    /// Reads a body. The failure is a 400 that says where the body is wrong.
    pub fn parse(body: &[u8]) -> Result<Self, Failure> {
        parse_body(body).map_err(|error| Failure::of_body(&error))
    }

    /// The body for vLLM's `/tokenize`, whose `count` is the answer. It holds what
    /// [`into_chat`](super::MessagesRequest::into_chat) would send under the same options, so the count is the
    /// `prompt_tokens` of that request. Pictures are the exception: `/tokenize` counts their placeholders.
    #[must_use]
    pub fn into_tokenize(self, options: &ChatOptions) -> Translated<TokenizeRequest> {
        let mut notes = Vec::new();
        let tools = to_chat::tools(self.tools, &mut notes);
        let mut variables = to_chat::template_variables(self.chat_template_kwargs, self.thinking.as_ref(), options);
        if let Some(effort) = self.output_config.and_then(|config| config.effort) {
            // A chat request has a field for it, which the engine hands to the template.
            let effort = to_chat::known_effort(effort).into();
            variables.get_or_insert_default().entry("reasoning_effort").or_insert(effort);
        }
        let Conversation { messages, prefilled } =
            to_chat::conversation(self.system, self.messages, options, &mut notes);
        if messages.iter().any(|message| matches!(message.content, Some(MessageContent::Parts(_)))) {
            notes.push(Note::ImagesNotCounted);
        }
        let value = TokenizeRequest {
            model: Some(self.model),
            messages: Some(messages),
            add_special_tokens: Some(false),
            add_generation_prompt: Some(!prefilled),
            continue_final_message: prefilled.then_some(true),
            tools,
            chat_template_kwargs: variables,
            ..TokenizeRequest::default()
        };
        Translated { value, notes }
    }
}
