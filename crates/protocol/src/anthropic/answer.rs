//! A whole answer.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::error::Failure;
use super::message::{LOCAL_SIGNATURE, Message, MessageUsage, OutputBlock, StopReason};
use super::note::{Note, Translated, short};
use super::request::MessagesRequest;
use super::upstream::{Call, Choice, Saying, Upstream, or_empty, string};

/// What an answer's translation must know of its request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// The answer's id, `msg_…`; the caller's to choose.
    pub id: String,
    /// The model, as the client asked for it.
    pub model: String,
    /// The texts that the client wants the answer to stop at.
    pub stop_sequences: Vec<String>,
    /// Whether the client wants to see the model think; thinking is left out of the answer else.
    pub thinking: bool,
    /// How long the prompt is, where that is known before the engine says so.
    pub input_tokens: Option<u64>,
}

impl Asked {
    /// What this request asks for.
    pub fn of(request: &MessagesRequest, id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            model: request.model.clone(),
            stop_sequences: request.stop_sequences.clone().unwrap_or_default(),
            thinking: request.wants_thinking(),
            input_tokens: None,
        }
    }
}

/// Why a body is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// Not JSON, or not of the shape of a chat completion.
    #[error("the engine's answer cannot be read")]
    Unreadable(#[source] serde_json::Error),
    /// A completion without a message in it.
    #[error("the engine's answer holds no message")]
    NoMessage,
    /// An error in place of an answer, or an answer that the engine gave up.
    #[error("the engine answered with an error")]
    Failed(#[source] Failure),
}

impl From<AnswerError> for Failure {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Failed(failure) => failure,
            AnswerError::Unreadable(_) | AnswerError::NoMessage => Self::unreadable(),
        }
    }
}

/// Translates the body of a chat completion.
pub fn answer(body: &[u8], asked: Asked) -> Result<Translated<Message>, AnswerError> {
    let mut upstream: Upstream<'_> = serde_json::from_slice(body).map_err(AnswerError::Unreadable)?;
    if upstream.is_error() {
        return Err(AnswerError::Failed(Failure::of_event(body, asked.input_tokens)));
    }
    let mut choice = upstream.choice().ok_or(AnswerError::NoMessage)?;
    let said = choice.message.take().ok_or(AnswerError::NoMessage)?;
    let mut notes = Vec::new();
    let content = blocks(&said, &asked, &mut notes);
    let called = content.iter().any(|block| matches!(block, OutputBlock::ToolUse { .. }));
    let refused = !or_empty(said.refusal.as_ref()).is_empty();
    let end = End::of(&choice, &asked.stop_sequences);
    let ending = end.ending(called, refused, &mut notes).map_err(AnswerError::Failed)?;
    let known = MessageUsage::new(asked.input_tokens.unwrap_or(0), 0, 0);
    let usage = upstream.usage.map_or(known, |usage| usage.after(known));
    let value = Message {
        id: asked.id,
        kind: "message".to_owned(),
        role: "assistant".to_owned(),
        model: asked.model,
        content,
        stop_reason: Some(ending.reason),
        stop_sequence: ending.sequence,
        usage,
    };
    Ok(Translated { value, notes })
}

fn blocks(said: &Saying<'_>, asked: &Asked, notes: &mut Vec<Note>) -> Vec<OutputBlock> {
    let mut blocks = Vec::new();
    if asked.thinking && !said.thinking().is_empty() {
        let (thinking, signature) = (said.thinking().to_owned(), LOCAL_SIGNATURE.to_owned());
        blocks.push(OutputBlock::Thinking { thinking, signature });
    }
    for text in [or_empty(said.content.as_ref()), or_empty(said.refusal.as_ref())] {
        // Anthropic refuses blank text when it is sent back.
        if !text.trim().is_empty() {
            blocks.push(OutputBlock::Text { text: text.to_owned() });
        }
    }
    let mut ids: Vec<String> = Vec::new();
    for (position, call) in said.tool_calls.iter().flatten().enumerate() {
        if call.name().is_empty() {
            notes.push(Note::CallWithoutName);
            continue;
        }
        let id = call_id(call.id(), &asked.id, position, |id| ids.iter().any(|used| used == id));
        ids.push(id.clone());
        blocks.push(OutputBlock::ToolUse { id, name: call.name().to_owned(), input: input(call, notes) });
    }
    blocks
}

fn input(call: &Call<'_>, notes: &mut Vec<Note>) -> Map<String, Value> {
    let text = call.arguments();
    if text.trim().is_empty() {
        return Map::new();
    }
    serde_json::from_str(&text).unwrap_or_else(|_| {
        notes.push(Note::ArgumentsNotJson { tool: short(call.name()) });
        // Anthropic's own advice for arguments that cannot be parsed.
        Map::from_iter([("INVALID_JSON".to_owned(), Value::String(text.into_owned()))])
    })
}

/// The engine's id for a call, or one made from the answer's where it gave none or gave it twice.
pub(super) fn call_id(own: &str, message: &str, position: usize, used: impl Fn(&str) -> bool) -> String {
    if own.is_empty() || used(own) {
        format!("toolu_{}_{position}", message.strip_prefix("msg_").unwrap_or(message))
    } else {
        own.to_owned()
    }
}

/// Why the engine stopped, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// An end token or a stop text.
    Stop(Option<String>),
    Length,
    Calls,
    Withheld,
    GivenUp,
    Unknown,
}

impl End {
    pub(super) fn of(choice: &Choice<'_>, stops: &[String]) -> Self {
        match or_empty(choice.finish_reason.as_ref()) {
            "stop" => Self::Stop(choice.stop_reason.and_then(|raw| stop_text(raw, stops))),
            "length" => Self::Length,
            "tool_calls" | "function_call" => Self::Calls,
            "content_filter" => Self::Withheld,
            "abort" | "error" => Self::GivenUp,
            _ => Self::Unknown,
        }
    }

    /// The same in Anthropic's words. `called`: whether the answer holds a call; `refused`: whether it is a refusal.
    pub(super) fn ending(self, called: bool, refused: bool, notes: &mut Vec<Note>) -> Result<Ending, Failure> {
        let mut sequence = None;
        let reason = match self {
            Self::GivenUp => return Err(Failure::given_up()),
            Self::Withheld => StopReason::Refusal,
            _ if refused => StopReason::Refusal,
            Self::Length => StopReason::MaxTokens,
            // Engines say `stop` where a tool was forced by name, and `tool_calls` sometimes without one.
            _ if called => StopReason::ToolUse,
            Self::Stop(Some(text)) => {
                sequence = Some(text);
                StopReason::StopSequence
            }
            Self::Stop(None) | Self::Calls => StopReason::EndTurn,
            Self::Unknown => {
                notes.push(Note::FinishUnknown);
                StopReason::EndTurn
            }
        };
        Ok(Ending { reason, sequence })
    }
}

/// Why an answer ended, in Anthropic's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) reason: StopReason,
    pub(super) sequence: Option<String>,
}

/// The stop that vLLM names, if it is one that the client gave: the engine may have others of its own.
fn stop_text(raw: &RawValue, stops: &[String]) -> Option<String> {
    string(raw).filter(|text| stops.iter().any(|stop| stop == text)).map(std::borrow::Cow::into_owned)
}
