//! What the settings say about single models, and how a request of Anthropic's API is put for their engines.
//!
//! No engine says whether its model sees pictures or can call tools, and many quietly leave out what it cannot. So the
//! settings can say it, and the gateway then refuses in words.

mod contents;
mod estimate;

use std::collections::BTreeMap;

use remora_protocol::anthropic::{ChatOptions, InlineSystem, PastThinking};
use remora_types::ModelId;
use remora_types::engines::{Capabilities, Capability};
use serde::Deserialize;

use contents::Contents;
pub(crate) use estimate::estimate;

/// One of `[gateway.models."NAME"]`, by a model's own name.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// What becomes of pictures.
    pub images: Images,
    /// False refuses requests with tools.
    pub tools: Option<bool>,
    /// How thinking of earlier turns is handed to the engine; where it is left out, as its kind of engine reads it.
    pub past_thinking: Option<Thoughts>,
    /// The variable of the chat template that turns thinking on and off: `enable_thinking`, `thinking`.
    pub thinking_variable: Option<String>,
    /// Most tokens of an answer; what clients of Anthropic's API ask beyond it is cut.
    pub max_answer_tokens: Option<i64>,
}

/// What becomes of pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Images {
    /// They go to the engine.
    #[default]
    Pass,
    /// The request is refused.
    Refuse,
    /// A line of text stands in their place, in requests of Anthropic's API; others are refused.
    Omit,
}

/// How thinking of earlier turns is handed to an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Thoughts {
    /// Not at all.
    Dropped,
    /// As `reasoning`.
    Reasoning,
    /// As `reasoning_content`.
    ReasoningContent,
}

/// Something in a request that its model cannot take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    Images,
    Tools,
}

/// What the settings say about every model.
#[derive(Debug, Clone, Default)]
pub(crate) struct Models(BTreeMap<ModelId, ModelConfig>);

impl Models {
    pub(crate) fn new(models: BTreeMap<ModelId, ModelConfig>) -> Self {
        Self(models)
    }

    /// How a request of Anthropic's API is put for a model on an engine that can do this; `None` where nothing is known.
    pub(crate) fn options(&self, known: Option<(&ModelId, &Capabilities)>) -> ChatOptions {
        let own = known.and_then(|(model, _)| self.0.get(model));
        let past_thinking = match (own.and_then(|own| own.past_thinking), known) {
            (Some(Thoughts::Dropped), _) | (None, None) => PastThinking::Dropped,
            (Some(Thoughts::Reasoning), _) => PastThinking::Reasoning,
            // Only vLLM and Remora's engine tokenize in vLLM's shape.
            (None, Some((_, can))) if can.has(Capability::Tokenize) => PastThinking::Reasoning,
            (Some(Thoughts::ReasoningContent), _) | (None, Some(_)) => PastThinking::ReasoningContent,
        };
        ChatOptions {
            drop_billing_line: true,
            // Hoisting would change the head of the prompt in the middle of a conversation, and lose the engine's cache.
            inline_system: InlineSystem::Fold,
            past_thinking,
            omit_images: own.is_some_and(|own| own.images == Images::Omit),
            thinking_variable: own.and_then(|own| own.thinking_variable.clone()),
            max_tokens_limit: own.and_then(|own| own.max_answer_tokens),
            continuous_usage: true,
        }
    }

    /// What of a body its model cannot take. Bodies for models that the settings say nothing about are not read.
    pub(crate) fn unfit(&self, model: &ModelId, body: &[u8]) -> Option<Unfit> {
        let own = self.0.get(model)?;
        let (no_images, no_tools) = (own.images != Images::Pass, own.tools == Some(false));
        if !no_images && !no_tools {
            return None;
        }
        let contents = Contents::of(body);
        if no_tools && contents.tools {
            return Some(Unfit::Tools);
        }
        (no_images && contents.images).then_some(Unfit::Images)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_thinking_is_put_as_the_engine_reads_it() {
        let model: ModelId = "m".parse().unwrap();
        let full: Capabilities = Capability::ALL.into_iter().collect();
        let chat_only: Capabilities = [Capability::Chat].into_iter().collect();
        let models = Models::default();
        assert_eq!(models.options(None).past_thinking, PastThinking::Dropped);
        assert_eq!(models.options(Some((&model, &full))).past_thinking, PastThinking::Reasoning);
        assert_eq!(models.options(Some((&model, &chat_only))).past_thinking, PastThinking::ReasoningContent);
        let own = ModelConfig {
            past_thinking: Some(Thoughts::Dropped),
            thinking_variable: Some("enable_thinking".to_owned()),
            max_answer_tokens: Some(9),
            images: Images::Omit,
            tools: None,
        };
        let options = Models::new([(model.clone(), own)].into()).options(Some((&model, &full)));
        assert_eq!((options.past_thinking, options.max_tokens_limit), (PastThinking::Dropped, Some(9)));
        assert!(options.omit_images && options.thinking_variable.as_deref() == Some("enable_thinking"));
    }
}
