//! From what a client asks to what the engine computes: defaults, checks, prompts. Errors are in vLLM's words.

mod chat;
mod completion;
mod embedding;
mod limits;
mod responses;
mod tokenize;
mod tools;

use remora_protocol::openai::{BodyError, InvalidResponses};

use crate::sampling::InvalidParams;
use crate::template::TemplateError;

pub(crate) use chat::{PreparedChat, prepare_chat};
pub(crate) use completion::{Echo, PreparedCompletion, prepare_completion};
pub(crate) use embedding::prepare_embedding;
pub(crate) use responses::prepare_response;
pub(crate) use tokenize::{detokenize, tokenize};

/// Why a request is refused. All of these are the caller's to mend.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// The body, taken for itself, makes no sense.
    #[error("{0}")]
    Body(#[from] BodyError),
    /// A value is out of its range, or does not fit this model.
    #[error("{0}")]
    Invalid(#[from] InvalidParams),
    /// A response that it goes on from is not there.
    #[error("{0}")]
    Missing(InvalidResponses),
    /// The chat template does not take it.
    #[error("{0}")]
    Template(String),
}

impl From<&TemplateError> for RequestError {
    fn from(error: &TemplateError) -> Self {
        Self::Template(error.to_string())
    }
}

/// What the API promises and this engine does not do yet. An answer that ignored the wish would look like it obeyed.
fn not_supported(param: &'static str, what: &str) -> RequestError {
    InvalidParams::new(param, format!("{what} is not supported yet by this engine.")).into()
}
