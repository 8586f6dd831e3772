//! Completion requests.

use remora_protocol::openai::{CompletionRequest, Prompt};

use super::limits::{Wishes, check_supported, check_text_length, finish};
use super::{RequestError, not_supported};
use crate::llama::Token;
use crate::sampling::InvalidParams;
use crate::scheduler::{GenerateRequest, Loaded};

/// What completions generate when they do not say; `OpenAI`'s default of old.
const MAX_TOKENS: i64 = 16;

/// Checks a completion request and makes its prompt. Takes time with a long one: not for an async thread.
pub(crate) fn prepare_completion(
    request: &CompletionRequest,
    loaded: &Loaded,
) -> Result<GenerateRequest, RequestError> {
    check(request)?;
    let prompt = tokens(request, loaded)?;
    let wishes = Wishes {
        max_tokens: Some(request.max_tokens.unwrap_or(MAX_TOKENS)),
        max_tokens_param: "max_tokens",
        logprobs: request.logprobs,
    };
    finish(prompt, &request.sampling, &wishes, loaded)
}

fn check(request: &CompletionRequest) -> Result<(), RequestError> {
    check_supported(&request.sampling)?;
    if request.stream_options.is_some() && request.stream != Some(true) {
        let message = "Stream options can only be defined when `stream=True`.";
        return Err(InvalidParams::new("stream_options", message).into());
    }
    if let Some(wanted) = request.logprobs.filter(|&wanted| wanted < -1) {
        let message = "`logprobs` must be a positive value or -1.";
        return Err(InvalidParams::new("logprobs", message).with_value(wanted).into());
    }
    if request.echo == Some(true) {
        return Err(not_supported("echo", "echo"));
    }
    if request.best_of.is_some_and(|best_of| best_of > 1) {
        return Err(not_supported("best_of", "best_of greater than 1"));
    }
    if request.suffix.as_ref().is_some_and(|suffix| !suffix.is_empty()) {
        return Err(not_supported("suffix", "suffix"));
    }
    if request.prompt_embeds.as_ref().is_some_and(|embeds| !embeds.is_null()) {
        return Err(not_supported("prompt_embeds", "prompt_embeds"));
    }
    Ok(())
}

fn tokens(request: &CompletionRequest, loaded: &Loaded) -> Result<Vec<Token>, RequestError> {
    let empty = || InvalidParams::new("prompt", "Either prompt or prompt_embeds must be provided and non-empty.");
    let several = || not_supported("prompt", "More than one prompt in a request");
    let add_special = request.add_special_tokens.unwrap_or(true);
    match request.prompt.as_ref().ok_or_else(empty)? {
        Prompt::Text(text) if text.is_empty() => Err(empty().into()),
        Prompt::Text(text) => text_tokens(text, add_special, loaded),
        Prompt::Tokens(ids) if ids.is_empty() => {
            Err(InvalidParams::new(None, "You must pass at least one prompt").into())
        }
        Prompt::Tokens(ids) => known_tokens(ids, loaded),
        Prompt::Texts(texts) => match texts.as_slice() {
            [] => Err(empty().into()),
            [text] => text_tokens(text, add_special, loaded),
            _ => Err(several()),
        },
        Prompt::TokenLists(lists) => match lists.as_slice() {
            [] => Err(empty().into()),
            [ids] => known_tokens(ids, loaded),
            _ => Err(several()),
        },
    }
}

/// The tokens of a text; special tokens that stand in it are read as such, as vLLM does here.
fn text_tokens(text: &str, add_special: bool, loaded: &Loaded) -> Result<Vec<Token>, RequestError> {
    check_text_length(std::iter::once(text), loaded)?;
    Ok(loaded.model.tokenize(text, add_special))
}

/// Ids that the model has.
pub(super) fn known_tokens(ids: &[i64], loaded: &Loaded) -> Result<Vec<Token>, RequestError> {
    let vocabulary = loaded.model.vocabulary();
    ids.iter()
        .map(|&id| {
            vocabulary
                .check(id)
                .ok_or_else(|| InvalidParams::new(None, format!("Token id {id} is out of vocabulary")).into())
        })
        .collect()
}
