//! What engines send, read with as few demands as can be: every field may be absent or null. Texts are borrowed from
//! the bytes where they hold no escapes.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::message::MessageUsage;

/// A chunk of a stream, a whole answer, or a failure.
#[derive(Debug, Deserialize)]
pub(super) struct Upstream<'a> {
    #[serde(borrow, default)]
    pub(super) choices: Option<Vec<Choice<'a>>>,
    #[serde(default)]
    pub(super) usage: Option<Usage>,
    #[serde(borrow, default)]
    pub(super) error: Option<&'a RawValue>,
    /// `error` on failures of older vLLM, whose details stand beside it.
    #[serde(borrow, default)]
    pub(super) object: Option<Text<'a>>,
}

impl<'a> Upstream<'a> {
    /// The one choice that is asked for.
    pub(super) fn choice(&mut self) -> Option<Choice<'a>> {
        let choices = self.choices.take()?;
        choices.into_iter().find(|choice| choice.index.unwrap_or(0) == 0)
    }

    pub(super) fn is_error(&self) -> bool {
        self.error.is_some() || self.object.as_ref().is_some_and(|object| object.0 == "error")
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(default)]
    pub(super) index: Option<u64>,
    /// In streams.
    #[serde(borrow, default)]
    pub(super) delta: Option<Saying<'a>>,
    /// In whole answers.
    #[serde(borrow, default)]
    pub(super) message: Option<Saying<'a>>,
    #[serde(borrow, default)]
    pub(super) finish_reason: Option<Text<'a>>,
    /// vLLM's own: the stop that ended the answer, a text or a token's number.
    #[serde(borrow, default)]
    pub(super) stop_reason: Option<&'a RawValue>,
}

/// What the model says, whole or in part.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Saying<'a> {
    #[serde(borrow, default)]
    pub(super) content: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) reasoning: Option<Text<'a>>,
    /// The same on other engines; some send both.
    #[serde(borrow, default)]
    pub(super) reasoning_content: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) refusal: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) tool_calls: Option<Vec<Call<'a>>>,
}

impl Saying<'_> {
    pub(super) fn thinking(&self) -> &str {
        let thinking = self.reasoning.as_ref().filter(|text| !text.0.is_empty());
        thinking.or(self.reasoning_content.as_ref()).map_or("", |text| &text.0)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Call<'a> {
    #[serde(default)]
    pub(super) index: Option<u64>,
    #[serde(borrow, default)]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) function: Option<Function<'a>>,
}

impl Call<'_> {
    pub(super) fn id(&self) -> &str {
        or_empty(self.id.as_ref())
    }

    pub(super) fn name(&self) -> &str {
        or_empty(self.function.as_ref().and_then(|function| function.name.as_ref()))
    }

    /// JSON text by the API's rule; some engines send the object itself.
    pub(super) fn arguments(&self) -> Cow<'_, str> {
        match self.function.as_ref().and_then(|function| function.arguments) {
            Some(raw) => string(raw).unwrap_or(Cow::Borrowed(raw.get())),
            None => Cow::Borrowed(""),
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Function<'a> {
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Usage {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Debug, Deserialize)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

impl Usage {
    /// The same in Anthropic's shape; what this does not tell stays as it was.
    pub(super) fn after(&self, before: MessageUsage) -> MessageUsage {
        let Some(prompt) = self.prompt_tokens else {
            return MessageUsage { output_tokens: self.completion_tokens.unwrap_or(before.output_tokens), ..before };
        };
        let cached = self.prompt_tokens_details.as_ref().and_then(|details| details.cached_tokens);
        MessageUsage::new(prompt, cached.unwrap_or(0), self.completion_tokens.unwrap_or(before.output_tokens))
    }
}

/// A string, borrowed where it can be. Serde borrows inside an `Option` only through a type like this.
#[derive(Debug, Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

pub(super) fn or_empty<'t>(text: Option<&'t Text<'_>>) -> &'t str {
    text.map_or("", |text| &text.0)
}

/// The string that a JSON text is, if it is one.
pub(super) fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|text| text.0)
}
