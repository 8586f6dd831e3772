//! Embedding requests.

use remora_protocol::openai::{BodyError, EmbeddingRequest, Prompt};

use super::completion::known_tokens;
use super::limits::{check_prompt_length, check_text_length};
use super::{RequestError, not_supported};
use crate::llama::Token;
use crate::sampling::InvalidParams;
use crate::scheduler::Loaded;

/// Checks an embedding request and makes its inputs. Takes time with long ones: not for an async thread.
pub(crate) fn prepare_embedding(
    request: &EmbeddingRequest,
    loaded: &Loaded,
    name: &str,
) -> Result<Vec<Vec<Token>>, RequestError> {
    let input = request.input.as_ref().ok_or_else(|| BodyError::missing("body.input"))?;
    if let Some(dimensions) = request.dimensions {
        let message = format!(
            "Model '{name}' does not support Matryoshka embeddings; dimensions must be unset (received \
             dimensions={dimensions})."
        );
        return Err(InvalidParams::new(None, message).into());
    }
    if request.truncate_prompt_tokens.is_some() {
        return Err(not_supported("truncate_prompt_tokens", "truncate_prompt_tokens"));
    }
    let add_special = request.add_special_tokens.unwrap_or(true);
    let of_text = |text: &String| {
        check_text_length(std::iter::once(text.as_str()), loaded)?;
        Ok(loaded.model.tokenize(text, add_special))
    };
    let of_ids = |ids: &Vec<i64>| known_tokens(ids, loaded);
    let inputs: Vec<Vec<Token>> = match input {
        Prompt::Text(text) => vec![of_text(text)?],
        Prompt::Tokens(ids) if ids.is_empty() => Vec::new(),
        Prompt::Tokens(ids) => vec![of_ids(ids)?],
        Prompt::Texts(texts) => texts.iter().map(of_text).collect::<Result<_, RequestError>>()?,
        Prompt::TokenLists(lists) => lists.iter().map(of_ids).collect::<Result<_, _>>()?,
    };
    if inputs.is_empty() {
        return Err(InvalidParams::new(None, "You must pass at least one prompt").into());
    }
    for tokens in &inputs {
        check_prompt_length(tokens.len(), loaded.max_model_len as usize)?;
    }
    Ok(inputs)
}
