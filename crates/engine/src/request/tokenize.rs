//! Counting tokens, and the way back. There is no limit on the length: who counts wants to know by how much it is over.

use remora_protocol::openai::{BodyError, DetokenizeRequest, TokenizeRequest, TokenizeResponse};

use super::RequestError;
use super::chat::{check_template, render, tokens_of};
use super::completion::known_tokens;
use super::tools::check_tools;
use crate::sampling::InvalidParams;
use crate::scheduler::Loaded;
use crate::template::RenderOptions;

/// The tokens of a text or a conversation. Takes time with a long one: not for an async thread.
pub(crate) fn tokenize(request: &TokenizeRequest, loaded: &Loaded) -> Result<TokenizeResponse, RequestError> {
    let tokens = match (&request.messages, &request.prompt) {
        (Some(messages), _) => {
            check_template(request.chat_template.as_deref(), request.chat_template_kwargs.as_ref())?;
            check_tools(request.tools.as_deref())?;
            let continue_final_message = request.continue_final_message.unwrap_or(false);
            if continue_final_message && request.add_generation_prompt == Some(true) {
                let message = "Cannot set both `continue_final_message` and `add_generation_prompt` to True.";
                return Err(InvalidParams::new(None, message).into());
            }
            let options = RenderOptions {
                tools: request.tools.clone(),
                add_generation_prompt: request.add_generation_prompt.unwrap_or(true) && !continue_final_message,
                continue_final_message,
                variables: request.chat_template_kwargs.clone().unwrap_or_default(),
            };
            tokens_of(&render(messages, &options, loaded)?, request.add_special_tokens.unwrap_or(false), loaded)
        }
        (None, Some(text)) => loaded.model.tokenize(text, request.add_special_tokens.unwrap_or(true)),
        (None, None) => {
            return Err(BodyError::missing("body.prompt").into());
        }
    };
    let spell = |tokens: &[u32]| tokens.iter().map(|&token| loaded.model.spelling(token)).collect();
    Ok(TokenizeResponse {
        count: tokens.len(),
        max_model_len: loaded.max_model_len,
        token_strs: request.return_token_strs.unwrap_or(false).then(|| spell(&tokens)),
        tokens,
    })
}

/// The text of tokens, special tokens spelled out.
pub(crate) fn detokenize(request: &DetokenizeRequest, loaded: &Loaded) -> Result<String, RequestError> {
    known_tokens(&request.tokens, loaded).map(|tokens| loaded.model.detokenize(&tokens))
}
