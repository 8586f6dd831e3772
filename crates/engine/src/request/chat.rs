//! Chat requests.

use remora_protocol::openai::{ChatMessage, ChatRequest, MessageContent};
use serde_json::{Map, Value};

use super::RequestError;
use super::limits::{Wishes, check_supported, check_text_length, finish, guide};
use super::tools::{Calls, calls, forced_guide};
use crate::llama::Token;
use crate::output::{Reading, ToolFormat, ToolParser};
use crate::sampling::InvalidParams;
use crate::scheduler::{GenerateRequest, Loaded};
use crate::template::{Piece, RenderOptions};

/// A chat request that can be answered.
#[derive(Debug)]
pub(crate) struct PreparedChat {
    pub(crate) generate: GenerateRequest,
    /// What to look for in the answer.
    pub(crate) reading: Reading,
    /// What stands before the answer; nothing unless it was asked for.
    pub(crate) echo: String,
}

/// Checks a chat request and makes its prompt. Takes time with a long one: not for an async thread.
pub(crate) fn prepare_chat(
    request: &ChatRequest,
    parser: Option<ToolParser>,
    loaded: &Loaded,
) -> Result<PreparedChat, RequestError> {
    let calls = check(request)?;
    let options = RenderOptions {
        tools: request.tools.clone(),
        add_generation_prompt: request.add_generation_prompt.unwrap_or(true) && !continues(request),
        continue_final_message: continues(request),
        variables: variables(request),
    };
    let pieces = render(&request.messages, &options, loaded)?;
    check_text_length(pieces.iter().map(String::as_str), loaded)?;
    let prompt = tokens_of(&pieces, request.add_special_tokens.unwrap_or(false), loaded);
    let (max_tokens, max_tokens_param) = match request.max_completion_tokens {
        Some(wanted) => (Some(wanted), "max_completion_tokens"),
        None => (request.max_tokens, "max_tokens"),
    };
    let wants_logprobs = request.logprobs.unwrap_or(false);
    let logprobs = wants_logprobs.then(|| request.top_logprobs.unwrap_or(0));
    let end = pieces.last().map_or("", String::as_str);
    let (reading, guide) = match reading(request, &calls, parser, end, loaded)? {
        reading if reading.forced.is_some() => {
            let (reading, guide) = forced_guide(request, &calls, reading, end, loaded)?;
            (reading, Some(guide))
        }
        reading => match guide(&request.sampling, loaded)? {
            // The answer has the form that was asked for, from its first character on.
            Some(guide) => (Reading::default(), Some(guide)),
            None => (reading, None),
        },
    };
    let wishes = Wishes { max_tokens, max_tokens_param, logprobs, guide };
    let mut generate = finish(prompt, &request.sampling, &wishes, loaded)?;
    generate.shown = loaded.template.as_ref()?.shown(reading);
    generate.stops.extend(reading.tools.and_then(ToolFormat::stop).map(str::to_owned));
    Ok(PreparedChat { generate, reading, echo: echo(request) })
}

/// What to look for in the answer to a prompt that ends with this.
fn reading(
    request: &ChatRequest,
    calls: &Calls,
    parser: Option<ToolParser>,
    end: &str,
    loaded: &Loaded,
) -> Result<Reading, RequestError> {
    let template = loaded.template.as_ref()?;
    let written = parser.map_or(template.tools(), ToolParser::format);
    let forced = calls.forced();
    let tools = match calls {
        Calls::None => None,
        Calls::Auto => written,
        Calls::Required | Calls::Named(_) => Some(written.unwrap_or(ToolFormat::Hermes)),
    };
    let thinking = template.thinking();
    Ok(Reading {
        tools,
        one_call: request.parallel_tool_calls == Some(false),
        forced,
        thinking,
        thinking_opened: thinking.is_some_and(|tags| tags.opened_by(end)),
        hide_thinking: request.include_reasoning == Some(false),
    })
}

/// The text of a conversation.
pub(super) fn render(
    messages: &[ChatMessage],
    options: &RenderOptions,
    loaded: &Loaded,
) -> Result<Vec<Piece>, RequestError> {
    let template = loaded.template.as_ref()?;
    template.render(messages, options, loaded.model.vocabulary().controls()).map_err(|error| (&error).into())
}

/// The tokens of a conversation's text.
pub(super) fn tokens_of(pieces: &[Piece], add_special: bool, loaded: &Loaded) -> Vec<Token> {
    let tokenize = |(index, piece): (usize, &Piece)| {
        // The template writes the special tokens itself; the tokenizer's own would double them.
        loaded.model.tokenize(piece, add_special && index == 0)
    };
    pieces.iter().enumerate().flat_map(tokenize).collect()
}

/// Refuses a template in the request: it is a program, and the caller's.
pub(super) fn check_template(template: Option<&str>, kwargs: Option<&Map<String, Value>>) -> Result<(), RequestError> {
    if template.is_none() && kwargs.is_none_or(|kwargs| kwargs.get("chat_template").is_none_or(Value::is_null)) {
        return Ok(());
    }
    let message = "Chat template is passed with request, but --trust-request-chat-template is not set. Refused request \
                   with untrusted chat template.";
    Err(RequestError::Template(message.into()))
}

/// With `echo`, the last message that is the assistant's own.
fn echo(request: &ChatRequest) -> String {
    let last = request.messages.last().filter(|last| request.echo == Some(true) && last.role == "assistant");
    match last.and_then(|message| message.content.as_ref()) {
        Some(MessageContent::Text(text)) => text.clone(),
        Some(MessageContent::Parts(parts)) => {
            parts.iter().filter_map(|part| part.text.as_deref()).collect::<Vec<_>>().join("\n")
        }
        None => String::new(),
    }
}

fn continues(request: &ChatRequest) -> bool {
    request.continue_final_message.unwrap_or(false)
}

fn check(request: &ChatRequest) -> Result<Calls, RequestError> {
    let refuse = |param: Option<&'static str>, message: &str| Err(InvalidParams::new(param, message).into());
    check_supported(&request.sampling)?;
    if request.messages.is_empty() {
        let message = "Cannot apply chat template to an empty conversation. Provide at least one message.";
        return refuse(None, message);
    }
    if continues(request) && request.add_generation_prompt == Some(true) {
        let message = "Cannot set both `continue_final_message` and `add_generation_prompt` to True.";
        return refuse(None, message);
    }
    if request.stream_options.is_some() && request.stream != Some(true) {
        return refuse(Some("stream_options"), "Stream options can only be defined when `stream=True`.");
    }
    check_template(request.chat_template.as_deref(), request.chat_template_kwargs.as_ref())?;
    check_logprobs(request)?;
    calls(request)
}

fn check_logprobs(request: &ChatRequest) -> Result<(), RequestError> {
    let Some(top) = request.top_logprobs else { return Ok(()) };
    if top < -1 {
        let message = "`top_logprobs` must be a positive value or -1.";
        return Err(InvalidParams::new("top_logprobs", message).with_value(top).into());
    }
    if top != 0 && request.logprobs != Some(true) {
        let message = "when using `top_logprobs`, `logprobs` must be set to true.";
        return Err(InvalidParams::new("top_logprobs", message).into());
    }
    Ok(())
}

/// Variables of the template: the request's own fields, then what it says outright.
fn variables(request: &ChatRequest) -> Map<String, Value> {
    let mut variables = Map::new();
    if let Some(documents) = &request.documents {
        variables.insert("documents".into(), documents.clone().into());
    }
    if let Some(effort) = &request.reasoning_effort {
        variables.insert("reasoning_effort".into(), effort.clone().into());
        variables.insert("enable_thinking".into(), (effort != "none").into());
    }
    variables.extend(request.chat_template_kwargs.clone().unwrap_or_default());
    variables
}
