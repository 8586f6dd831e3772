//! A Messages request as a chat request.

mod history;
mod tools;

use serde_json::{Map, Value, json};

use self::history::History;
use super::content::Content;
use super::note::{Note, Translated};
use super::request::{InputMessage, MessagesRequest, Thinking};
use crate::openai::{ChatMessage, ChatRequest, ResponseFormat, SamplingFields, Stop, StreamOptions};

/// What the caller decides about a translation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChatOptions {
    /// Drops Claude Code's `x-anthropic-billing-header: …` line from system prompts. It stands before everything else
    /// and differs between requests, so that with it no engine finds a prompt in its cache.
    pub drop_billing_line: bool,
    /// Where system turns in the middle of a conversation go.
    pub inline_system: InlineSystem,
    /// What becomes of the thinking in earlier turns.
    pub past_thinking: PastThinking,
    /// Leaves pictures out, for models that see none; a line of text stands where each was.
    pub omit_images: bool,
    /// The variable of the model's chat template that turns thinking on and off: `enable_thinking` for Qwen and GLM,
    /// `thinking` for `DeepSeek` and Granite. Set only where the client says what it wants.
    pub thinking_variable: Option<String>,
    /// Most tokens that the model can answer; what clients ask beyond it is cut.
    pub max_tokens_limit: Option<i64>,
    /// Has every chunk of a stream carry the usage so far, so that the first tells how long the prompt is.
    pub continuous_usage: bool,
}

/// Where system turns in the middle of a conversation go. Few chat templates take them where they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InlineSystem {
    /// Behind the system prompt. A new one changes the head of the prompt, so the engine's cache is of no use then.
    #[default]
    Hoist,
    /// Into the user's turn at the same place; behind the last tool result where that turn has nothing else. Earlier
    /// turns stay as they were, and the engine's cache with them. Those before the first turn are hoisted.
    Fold,
}

/// What becomes of the thinking in earlier turns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PastThinking {
    /// Left out, as most templates do anyway.
    #[default]
    Dropped,
    /// Sent as `reasoning`: vLLM, Remora's engine.
    Reasoning,
    /// Sent as `reasoning_content`: `SGLang`, llama.cpp, older vLLM.
    ReasoningContent,
}

impl MessagesRequest {
    /// The same question for the engine's chat API. Never fails: what cannot be carried over is noted.
    #[must_use]
    pub fn into_chat(self, options: &ChatOptions) -> Translated<ChatRequest> {
        let mut notes = Vec::new();
        let response_format = self.response_format();
        let effort = self.output_config.and_then(|config| config.effort);
        let tools = tools::tools(self.tools, &mut notes);
        let (tool_choice, parallel_tool_calls) = match (&tools, self.tool_choice) {
            (Some(_), Some(choice)) => tools::choice(choice, &mut notes),
            _ => (None, None),
        };
        let template_variables = template_variables(self.chat_template_kwargs, self.thinking.as_ref(), options);
        let Conversation { messages, prefilled } = conversation(self.system, self.messages, options, &mut notes);
        let stream = self.stream.unwrap_or(false);
        let value = ChatRequest {
            model: Some(self.model),
            messages,
            stream: Some(stream),
            stream_options: stream.then(|| StreamOptions {
                include_usage: Some(true),
                continuous_usage_stats: options.continuous_usage.then_some(true),
            }),
            max_tokens: Some(cut(self.max_tokens, options.max_tokens_limit, &mut notes)),
            tools,
            tool_choice,
            parallel_tool_calls,
            reasoning_effort: effort.map(known_effort),
            add_generation_prompt: prefilled.then_some(false),
            continue_final_message: prefilled.then_some(true),
            chat_template_kwargs: template_variables,
            sampling: SamplingFields {
                temperature: self.temperature,
                top_p: self.top_p,
                top_k: self.top_k,
                stop: self.stop_sequences.filter(|stops| !stops.is_empty()).map(Stop::Many),
                response_format,
                ..SamplingFields::default()
            },
            ..ChatRequest::default()
        };
        Translated { value, notes }
    }

    fn response_format(&self) -> Option<ResponseFormat> {
        let format =
            self.output_config.as_ref().and_then(|config| config.format.as_ref()).or(self.output_format.as_ref())?;
        let schema = format.get("schema").filter(|_| format["type"] == "json_schema")?;
        Some(ResponseFormat {
            kind: "json_schema".to_owned(),
            json_schema: Some(json!({"name": "answer", "schema": schema})),
        })
    }
}

/// A conversation as the engine takes it.
pub(super) struct Conversation {
    /// The system prompt first.
    pub(super) messages: Vec<ChatMessage>,
    /// Whether the last message is the beginning of the answer.
    pub(super) prefilled: bool,
}

/// The messages alone: a count needs no more.
pub(super) fn conversation(
    system: Option<Content>,
    messages: Vec<InputMessage>,
    options: &ChatOptions,
    notes: &mut Vec<Note>,
) -> Conversation {
    let mut history = History::new(options, notes);
    if let Some(system) = system {
        history.system(system);
    }
    for message in messages {
        history.turn(message);
    }
    let messages = history.finish();
    let prefilled = messages.last().is_some_and(|last| {
        last.role == "assistant" && last.tool_calls.is_none() && last.content != Some(history::text(String::new()))
    });
    Conversation { messages, prefilled }
}

pub(super) use tools::tools;

/// The client's own variables, and the switch for thinking.
pub(super) fn template_variables(
    own: Option<Map<String, Value>>,
    thinking: Option<&Thinking>,
    options: &ChatOptions,
) -> Option<Map<String, Value>> {
    let mut variables = own.unwrap_or_default();
    if let (Some(thinking), Some(name)) = (thinking, &options.thinking_variable) {
        variables.entry(name.as_str()).or_insert(thinking.is_on().into());
    }
    (!variables.is_empty()).then_some(variables)
}

/// Anthropic knows steps above `high`, engines mostly do not.
pub(super) fn known_effort(effort: String) -> String {
    match effort.as_str() {
        "xhigh" | "max" => "high".to_owned(),
        _ => effort,
    }
}

fn cut(asked: i64, limit: Option<i64>, notes: &mut Vec<Note>) -> i64 {
    match limit {
        Some(given) if asked > given => {
            notes.push(Note::MaxTokensCut { asked, given });
            given
        }
        _ => asked,
    }
}
