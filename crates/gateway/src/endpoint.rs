//! The paths that are forwarded to engines. Nothing else is: an engine's other paths load adapters, run remote calls or
//! put the model to sleep, and most of them ask for no key.

use remora_types::engines::Capability;

use crate::upstream::EventStyle;

/// A path of an engine that clients may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Endpoint {
    /// `POST /v1/chat/completions`
    ChatCompletions,
    /// `POST /v1/completions`
    Completions,
    /// `POST /v1/embeddings`
    Embeddings,
    /// `POST /v1/responses`
    Responses,
    /// `POST /tokenize`
    Tokenize,
    /// `POST /detokenize`
    Detokenize,
}

impl Endpoint {
    /// Every one of them, in the order of their discriminants.
    pub(crate) const ALL: [Self; 6] =
        [Self::ChatCompletions, Self::Completions, Self::Embeddings, Self::Responses, Self::Tokenize, Self::Detokenize];

    /// The path, the same here and on the engine.
    #[must_use]
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Responses => "/v1/responses",
            Self::Tokenize => "/tokenize",
            Self::Detokenize => "/detokenize",
        }
    }

    /// Whether it uses the model, so that its answers are counted for their callers.
    #[must_use]
    pub(crate) fn is_counted(self) -> bool {
        !matches!(self, Self::Tokenize | Self::Detokenize)
    }

    /// What OpenTelemetry calls it.
    #[must_use]
    pub(crate) fn operation(self) -> &'static str {
        match self {
            Self::ChatCompletions | Self::Responses => "chat",
            Self::Completions => "text_completion",
            Self::Embeddings => "embeddings",
            Self::Tokenize | Self::Detokenize => "tokenize",
        }
    }

    /// Whether a request begins with something that an engine may have in its prefix cache.
    #[must_use]
    pub(crate) fn has_beginning(self) -> bool {
        matches!(self, Self::ChatCompletions | Self::Completions | Self::Responses)
    }

    /// How its event streams say that they failed.
    #[must_use]
    pub(crate) fn events(self) -> EventStyle {
        if self == Self::Responses { EventStyle::Responses } else { EventStyle::Chat }
    }

    /// What an engine must be able to do to answer it.
    #[must_use]
    pub(crate) fn capability(self) -> Capability {
        match self {
            Self::ChatCompletions => Capability::Chat,
            Self::Completions => Capability::Completions,
            Self::Embeddings => Capability::Embeddings,
            Self::Responses => Capability::Responses,
            Self::Tokenize | Self::Detokenize => Capability::Tokenize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_discriminants() {
        for (index, endpoint) in Endpoint::ALL.into_iter().enumerate() {
            assert_eq!(endpoint as usize, index);
        }
    }
}
